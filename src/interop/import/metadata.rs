//! What JSON files beside a checkpoint say of it.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::{Map, Value};

use super::Planned;
use crate::error::Result;
use crate::platform;

/// Largest file that is looked into.
const MOST_BYTES: usize = 16 << 20;
/// Largest value that becomes an attribute, as JSON.
const MOST_ATTRIBUTE: usize = 4 << 10;
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
    for (name, value) in object {
        if ITERATIONS.contains(&name.as_str()) {
            if value
                .as_u64()
                .is_some_and(|number| number != planned.iteration)
            {
                return Ok(Some(format!(
                    "its name says iteration {}, its metadata {name} {value}",
                    planned.iteration
                )));
            }
            continue;
        }
        if let ("metrics", Value::Object(metrics)) = (name.as_str(), &value) {
            for (name, value) in metrics {
                if let Some(number) = value.as_f64() {
                    planned.metrics.insert(name.clone(), number);
                }
            }
        } else if let (true, Some(number)) = (planned.metrics.contains_key(&name), value.as_f64()) {
            planned.metrics.insert(name, number);
        } else if !value.is_null() && value.to_string().len() <= MOST_ATTRIBUTE {
            planned.attributes.insert(name, value);
        }
    }
    Ok(None)
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
            if let (Some(number), false) = (value.as_f64(), name == "step" || name == "epoch") {
                logged.insert(name.clone(), number);
            }
        }
    }
    planned.metrics.extend(logged);
    Ok(())
}

fn object_of(path: &Path) -> Result<Option<Map<String, Value>>> {
    let bytes = platform::read_to_limit(path, MOST_BYTES)?;
    let value = bytes.and_then(|bytes| serde_json::from_slice(&bytes).ok());
    Ok(match value {
        Some(Value::Object(object)) => Some(object),
        _ => None,
    })
}
