//! What the fields of a name say of a checkpoint.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::super::MODEL_ENTRY;
use super::super::template::{EVENT, Field, ITERATION};
use super::Planned;
use crate::event::Event;

/// What ends a checkpoint's name in that of a file which belongs to it, or a word in a name.
pub(super) const JOINTS: [char; 3] = ['_', '.', '-'];

/// The entry that a checkpoint's own file becomes.
pub(super) fn main_entry(path: &Path) -> String {
    match path.extension() {
        Some(extension) => format!("{MODEL_ENTRY}.{}", extension.to_string_lossy()),
        None => MODEL_ENTRY.to_owned(),
    }
}

/// A checkpoint, as far as its name says.
pub(super) fn planned(
    path: &Path,
    job: String,
    iteration: u64,
    files: BTreeMap<String, PathBuf>,
    fields: &BTreeMap<String, Field>,
) -> Planned {
    let mut planned = Planned {
        path: path.to_owned(),
        job,
        iteration,
        events: Vec::new(),
        metrics: BTreeMap::new(),
        attributes: BTreeMap::new(),
        tags: Vec::new(),
        files,
        bytes: 0,
        notes: Vec::new(),
    };
    for (name, field) in fields.iter().filter(|(name, _)| *name != ITERATION) {
        match field {
            Field::Text(text) if name == EVENT => planned.events.push(event_of(text, fields)),
            Field::Float(value) => {
                planned.metrics.insert(name.clone(), *value);
            }
            Field::Integer(number) => {
                planned.attributes.insert(name.clone(), (*number).into());
            }
            Field::Text(text) => {
                planned.attributes.insert(name.clone(), value_of(text));
            }
        }
    }
    if planned.events.is_empty() {
        planned.events.push(Event::Periodic);
    }
    planned
}

/// A number, if the text is one as it would be written.
fn value_of(text: &str) -> Value {
    match text.parse::<i64>() {
        Ok(number) if number.to_string() == text => number.into(),
        _ => text.into(),
    }
}

/// The event that a name has a word for.
fn event_of(text: &str, fields: &BTreeMap<String, Field>) -> Event {
    let metrics = || {
        fields
            .iter()
            .filter(|(_, field)| matches!(field, Field::Float(_)))
    };
    let best = text
        .strip_prefix("best")
        .map(|rest| rest.trim_start_matches(JOINTS));
    match (text.parse(), best) {
        (Ok(event), _) => event,
        (Err(_), Some("")) => match main_metric(fields) {
            Some(metric) => Event::Best(metric),
            None => Event::Custom("best".to_owned()),
        },
        (Err(_), Some(metric)) if metrics().any(|(name, _)| name == metric) => {
            Event::Best(metric.to_owned())
        }
        (Err(_), _) if text == "phase_boundary" => Event::PhaseBoundary("unnamed".to_owned()),
        (Err(_), _) => Event::Custom(text.to_owned()),
    }
}

/// The metric that a bare `best` is by: `val_reward`, or the only one.
fn main_metric(fields: &BTreeMap<String, Field>) -> Option<String> {
    let mut metrics = fields
        .iter()
        .filter(|(_, field)| matches!(field, Field::Float(_)));
    if fields.contains_key("val_reward") {
        return Some("val_reward".to_owned());
    }
    let (name, _) = metrics.next()?;
    metrics.next().is_none().then(|| name.clone())
}
