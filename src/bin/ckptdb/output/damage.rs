//! Damage, as a table and as JSON.

use ckptdb::Damage;
use ckptdb::name::printable;
use serde_json::{Value, json};

use super::{Cell, Table, Tone};

/// Digits of a hash that a table shows.
const HASH_DIGITS: usize = 12;

/// A row for each damage; those of one checkpoint stand together.
pub(crate) fn table(damage: &[Damage]) -> Table {
    let mut sorted: Vec<_> = damage.iter().collect();
    sorted.sort_by_key(|damage| (damage.checkpoint, damage.entry.clone()));
    let mut table = Table::new(0)
        .wrapped("CHECKPOINT")
        .wrapped("ENTRY")
        .wrapped("DAMAGE");
    for damage in sorted {
        let entry = damage.entry.as_deref().map_or("-".to_owned(), printable);
        table.row(vec![
            label(damage).into(),
            entry.into(),
            Cell::new(short_hashes(&damage.what), Tone::Bad),
        ]);
    }
    table
}

/// The text with its hashes cut to what tells them apart; JSON has them whole.
fn short_hashes(text: &str) -> String {
    let is_hash = |word: &str| word.len() == 64 && word.bytes().all(|b| b.is_ascii_hexdigit());
    let mut out = String::new();
    for word in text.split_inclusive(|c: char| !c.is_ascii_alphanumeric()) {
        let bare = word.trim_end_matches(|c: char| !c.is_ascii_alphanumeric());
        match (bare.get(..HASH_DIGITS), word.strip_prefix(bare)) {
            (Some(digits), Some(end)) if is_hash(bare) => out.extend([digits, "..", end]),
            _ => out.push_str(word),
        }
    }
    out
}

/// Whom it concerns.
pub(crate) fn label(damage: &Damage) -> String {
    let id = damage.checkpoint.map(|id| id.to_string());
    match (&damage.job, damage.iteration, id) {
        (Some(job), Some(iteration), Some(id)) => format!("{}@{iteration} ({id})", printable(job)),
        (_, _, Some(id)) => id,
        (Some(job), _, None) => printable(job),
        (None, _, None) => "(store)".to_owned(),
    }
}

/// Damage that concerns the store as a whole, as JSON.
pub(crate) fn of_store(what: &str) -> Value {
    json!({
        "checkpoint": null,
        "job": null,
        "iteration": null,
        "entry": null,
        "what": what,
    })
}

/// The damage as JSON, with whole hashes.
pub(crate) fn json(damage: &[Damage]) -> Value {
    let each = damage.iter().map(|damage| {
        json!({
            "checkpoint": damage.checkpoint.map(ckptdb::CheckpointId::get),
            "job": damage.job,
            "iteration": damage.iteration,
            "entry": damage.entry,
            "what": damage.what,
        })
    });
    each.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_whole_hashes_are_cut() {
        let text = format!("chunk {}: of {} bytes", "c1".repeat(32), "9".repeat(63));
        let expected = format!("chunk c1c1c1c1c1c1..: of {} bytes", "9".repeat(63));
        assert_eq!(short_hashes(&text), expected);
    }
}
