//! What a diff says of two checkpoints beside its table, and all of it as JSON.

use std::collections::BTreeSet;

use ckptdb::name::printable;
use ckptdb::{Change, Checkpoint, Diff};
use serde_json::{Map, Value, json};

use super::rows::Row;
use crate::output::{extend, human, json};

/// Label and value, a line each.
pub(super) fn facts(
    (before, after): (&Checkpoint, &Checkpoint),
    diff: &Diff,
) -> Vec<(&'static str, String)> {
    let count = |change: Change| format!("{} {change}", human::thousands(diff.count(change)));
    let all = human::thousands(diff.entries.len() as u64);
    let entries = format!("{all}: {}", Change::ALL.map(count).join(", "));
    let present = diff.entries.iter().filter_map(|entry| entry.after.as_ref());
    let bytes: u64 = present.map(|info| info.bytes).sum();
    let differ = diff.changed_bytes();
    let bytes = format!(
        "{}: {} shared, {} differ ({})",
        human::size(bytes),
        human::size(bytes.saturating_sub(differ)),
        human::size(differ),
        human::percent(differ, bytes)
    );
    let mut facts = vec![("entries", entries), ("bytes", bytes)];
    let names = union(before.metrics.keys(), after.metrics.keys());
    let metrics = names.into_iter().filter_map(|name| {
        let both = (
            before.metrics.get(name).copied(),
            after.metrics.get(name).copied(),
        );
        metric_line(name, both)
    });
    extend(&mut facts, "metrics", metrics.collect());
    let names = union(before.attributes.keys(), after.attributes.keys());
    let attributes = names.into_iter().filter_map(|name| {
        let both = (before.attributes.get(name), after.attributes.get(name));
        let shown = |text: Option<&String>| text.map_or("-".to_owned(), |text| cut(text));
        let line = format!("{} {} -> {}", printable(name), shown(both.0), shown(both.1));
        (both.0 != both.1).then_some(line)
    });
    extend(&mut facts, "attributes", attributes.collect());
    facts
}

/// `val_loss 0.3 -> 0.25 (-0.05)`, or nothing if it is the same.
fn metric_line(name: &str, (before, after): (Option<f64>, Option<f64>)) -> Option<String> {
    let bits = |value: Option<f64>| value.map(f64::to_bits);
    if bits(before) == bits(after) {
        return None;
    }
    let shown = |value: Option<f64>| value.map_or("-".to_owned(), human::metric);
    let by = match (before, after) {
        (Some(before), Some(after)) => {
            let by = after - before;
            let sign = if by >= 0.0 { "+" } else { "" };
            format!(" ({sign}{})", human::metric_short(by))
        }
        _ => String::new(),
    };
    Some(format!(
        "{} {} -> {}{by}",
        printable(name),
        shown(before),
        shown(after)
    ))
}

fn union<'n>(
    one: impl Iterator<Item = &'n String>,
    other: impl Iterator<Item = &'n String>,
) -> BTreeSet<&'n String> {
    one.chain(other).collect()
}

pub(super) fn document(
    (before, after): (&Checkpoint, &Checkpoint),
    diff: &Diff,
    rows: &[Row],
    is_grouped: bool,
) -> Value {
    let changed = |names: BTreeSet<&String>, of: &dyn Fn(&String) -> (Value, Value)| {
        let both = names.into_iter().map(|name| (name, of(name)));
        both.filter(|(_, (before, after))| before != after)
            .map(|(name, (before, after))| (name.clone(), json!([before, after])))
            .collect::<Map<String, Value>>()
    };
    let metrics = changed(
        union(before.metrics.keys(), after.metrics.keys()),
        &|name| {
            let value = |of: &Checkpoint| {
                of.metrics
                    .get(name)
                    .map_or(Value::Null, |v| json::metric(*v))
            };
            (value(before), value(after))
        },
    );
    let attributes = changed(
        union(before.attributes.keys(), after.attributes.keys()),
        &|name| {
            let value = |of: &Checkpoint| {
                let text = of.attributes.get(name).map(String::as_str);
                text.and_then(|text| serde_json::from_str(text).ok())
                    .unwrap_or(Value::Null)
            };
            (value(before), value(after))
        },
    );
    let documents = diff
        .entries
        .iter()
        .filter(|entry| !entry.document.is_empty());
    let documents = documents.map(|entry| {
        let changes = entry.document.iter().map(|change| {
            json!({"pointer": change.pointer, "before": change.before, "after": change.after})
        });
        (entry.name.clone(), changes.collect())
    });
    let counted = |change: Change| (change.to_string(), diff.count(change).into());
    let name = if is_grouped { "layers" } else { "entries" };
    json!({
        "before": json::checkpoint(before),
        "after": json::checkpoint(after),
        "counts": Change::ALL.map(counted).into_iter().collect::<Map<String, Value>>(),
        "changed_bytes": diff.changed_bytes(),
        "metrics": metrics,
        "attributes": attributes,
        "documents": documents.collect::<Map<String, Value>>(),
        name: rows.iter().map(Row::document).collect::<Vec<_>>(),
    })
}

/// A value that is not too long for a line.
pub(super) fn cut(text: &str) -> String {
    const LONGEST: usize = 60;
    if text.chars().count() <= LONGEST {
        return printable(text);
    }
    let begin: String = text.chars().take(LONGEST - 2).collect();
    format!("{}..", printable(&begin))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_metric_that_is_the_same_has_no_line() {
        assert_eq!(metric_line("x", (Some(1.0), Some(1.0))), None);
        assert_eq!(metric_line("x", (Some(f64::NAN), Some(f64::NAN))), None);
        assert_eq!(metric_line("x", (None, Some(1.5))).unwrap(), "x - -> 1.5");
        let line = metric_line("x", (Some(0.5), Some(0.25))).unwrap();
        assert_eq!(line, "x 0.5 -> 0.25 (-0.25)");
    }
}
