//! What JSON files beside a checkpoint say of it.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::{Map, Value};

use super::Planned;
use crate::error::Result;
use crate::name::check_word;
use crate::platform;

/// Largest file that is looked into.
const MOST_BYTES: usize = 16 << 20;
/// Largest value that becomes an attribute, as JSON.
const MOST_ATTRIBUTE: usize = 4 << 10;
/// All of them together: less than a checkpoint may have.
const MOST_ATTRIBUTES: usize = 32 << 10;
/// Names that mean the iteration.
const ITERATIONS: [&str; 6] = [
    "iteration",
    "timestep",
    "timesteps",
    "num_timesteps",
    "step",
    "global_step",
];

/// Adds what a checkpoint's metadata say. They have more digits than a name, and go before it; only
/// the iteration must be the same. The answer is why it can't be imported, if it can't.
pub(super) fn add(planned: &mut Planned, path: &Path) -> Result<Option<String>> {
    let Some(object) = object_of(path)? else {
        let name = path.file_name().unwrap_or_default().display();
        planned.notes.push(format!("{name} is no JSON object"));
        return Ok(None);
    };
    let told: Vec<(&str, u64)> = ITERATIONS
        .iter()
        .filter_map(|name| Some((*name, object.get(*name)?.as_u64()?)))
        .collect();
    if let Some((name, number)) = told.first()
        && !told.iter().any(|(_, number)| *number == planned.iteration)
    {
        let own = planned.iteration;
        return Ok(Some(format!(
            "its name says iteration {own}, its metadata {name} {number}"
        )));
    }
    let mut left = MOST_ATTRIBUTES;
    for (name, value) in object {
        if told
            .iter()
            .any(|(told, number)| *told == name && *number == planned.iteration)
        {
            continue;
        }
        if let ("metrics", Value::Object(metrics)) = (name.as_str(), &value) {
            for (name, value) in metrics {
                if let Some(number) = number_of(value) {
                    add_metric(planned, name, number);
                }
            }
        } else if let (true, Some(number)) =
            (planned.metrics.contains_key(&name), number_of(&value))
        {
            let own = planned.metrics.get(&name).copied();
            if own.is_some_and(f64::is_finite) && !number.is_finite() {
                let note = format!("`{name}` is {number} in its metadata");
                planned.notes.push(note);
            } else {
                planned.metrics.insert(name, number);
            }
        } else if !value.is_null() {
            let bytes = name.len() + value.to_string().len();
            let is_word = check_word("attribute", &name).is_ok();
            if is_word && bytes <= MOST_ATTRIBUTE && bytes <= left {
                left -= bytes;
                planned.attributes.insert(name, value);
            } else {
                planned
                    .notes
                    .push(format!("`{name}` is in its metadata only"));
            }
        }
    }
    Ok(None)
}

fn add_metric(planned: &mut Planned, name: &str, number: f64) {
    if check_word("metric", name).is_ok() {
        planned.metrics.insert(name.to_owned(), number);
    } else {
        planned
            .notes
            .push(format!("`{name}` can be no metric's name"));
    }
}

/// Adds what Hugging Face's `trainer_state.json` logged at this step.
pub(super) fn add_trainer_state(planned: &mut Planned, path: &Path) -> Result<()> {
    let Some(object) = object_of(path)? else {
        planned
            .notes
            .push("trainer_state.json is no JSON object".to_owned());
        return Ok(());
    };
    if let Some(epoch) = object.get("epoch") {
        planned.attributes.insert("epoch".to_owned(), epoch.clone());
    }
    let history = object.get("log_history").and_then(Value::as_array);
    let is_now = |line: &&Map<String, Value>| {
        line.get("step").and_then(Value::as_u64) == Some(planned.iteration)
    };
    let lines = history.into_iter().flatten().filter_map(Value::as_object);
    let mut logged = BTreeMap::new();
    for line in lines.filter(is_now) {
        for (name, value) in line {
            if let (Some(number), false) = (number_of(value), name == "step" || name == "epoch") {
                logged.insert(name.clone(), number);
            }
        }
    }
    for (name, number) in logged {
        add_metric(planned, &name, number);
    }
    Ok(())
}

fn object_of(path: &Path) -> Result<Option<Map<String, Value>>> {
    let bytes = platform::read_to_limit(path, MOST_BYTES)?;
    let value = bytes.and_then(|bytes| serde_json::from_slice(&as_json(&bytes)).ok());
    Ok(match value {
        Some(Value::Object(object)) => Some(object),
        _ => None,
    })
}

/// What Python writes for numbers that JSON has not.
const ODD: [(&str, f64); 3] = [
    ("-Infinity", f64::NEG_INFINITY),
    ("Infinity", f64::INFINITY),
    ("NaN", f64::NAN),
];

/// A number, whichever; text that is one of Python's odd ones too.
fn number_of(value: &Value) -> Option<f64> {
    match value {
        Value::String(text) => {
            let odd = ODD.iter().find(|(word, _)| word == text)?;
            Some(odd.1)
        }
        other => other.as_f64(),
    }
}

/// Python writes numbers that JSON has not; they become text.
pub(super) fn as_json(bytes: &[u8]) -> Vec<u8> {
    let mut json = Vec::with_capacity(bytes.len());
    let (mut rest, mut is_text) = (bytes, false);
    while let Some((letter, after)) = rest.split_first() {
        let mut odd = ODD.iter().map(|(word, _)| word.as_bytes());
        let odd = odd.find(|word| !is_text && rest.starts_with(word));
        let taken = match (odd, letter) {
            (Some(word), _) => {
                json.extend([b"\"", word, b"\""].concat());
                rest = rest.get(word.len()..).unwrap_or_default();
                continue;
            }
            // What is escaped ends no text.
            (None, b'\\') if is_text => 2,
            (None, letter) => {
                is_text ^= *letter == b'"';
                1
            }
        };
        let taken = rest.get(..taken).unwrap_or(rest);
        json.extend_from_slice(taken);
        rest = after.get(taken.len() - 1..).unwrap_or_default();
    }
    json
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_python_writes_for_no_number_is_read_as_such_and_text_stays() {
        let text = br#"{"a": NaN, "b": [-Infinity, Infinity], "NaN \" NaN": "Infinity"}"#;
        let found: Value = serde_json::from_slice(&as_json(text)).unwrap();
        let odd = ["-Infinity", "Infinity"];
        let expected = serde_json::json!({"a": "NaN", "b": odd, "NaN \" NaN": "Infinity"});
        assert_eq!(found, expected);
        assert!(number_of(&found["a"]).unwrap().is_nan());
        assert_eq!(number_of(&found["b"][0]), Some(f64::NEG_INFINITY));
        assert_eq!(number_of(&Value::from("nan")), None);
        // Where a text ends within an escape, nothing is lost.
        assert_eq!(as_json(b"\"\\"), b"\"\\");
    }
}
