//! The library's plain data as JSON: the same fields in every command.

use std::collections::BTreeMap;

use ckptdb::{CheckpointInfo, EntryInfo, EntryKind, Event, JobInfo};
use serde_json::{Map, Value, json};

use super::human;

/// A checkpoint without its entries.
pub(crate) fn checkpoint(info: &CheckpointInfo) -> Value {
    let events: Vec<_> = info.events.iter().map(Event::to_string).collect();
    json!({
        "reference": reference(info),
        "id": info.id.get(),
        "job": info.job,
        "iteration": info.iteration,
        "saved_at": human::rfc3339(info.saved_at),
        "parent": info.parent.map(ckptdb::CheckpointId::get),
        "forked_from": info.forked_from.map(ckptdb::CheckpointId::get),
        "events": events,
        "metrics": metrics(&info.metrics),
        "attributes": attributes(&info.attributes),
        "tags": info.tags,
        "pinned": info.pinned,
        "abandoned": info.abandoned,
        "deleted_at": info.deleted_at.map(human::rfc3339),
        "content": info.content.to_string(),
        "entries": info.entries,
        "logical_bytes": info.logical_bytes,
        "new_bytes": info.new_bytes,
    })
}

/// The reference without the escapes and cuts that a terminal gets.
fn reference(info: &CheckpointInfo) -> String {
    if info.abandoned || info.deleted_at.is_some() {
        info.id.to_string()
    } else {
        format!("{}@{}", info.job, info.iteration)
    }
}

/// An entry.
pub(crate) fn entry(info: &EntryInfo) -> Value {
    let mut value = json!({
        "name": info.name,
        "kind": info.kind.name(),
        "bytes": info.bytes,
    });
    if let EntryKind::Tensor { dtype, shape } = &info.kind {
        value["dtype"] = dtype.name().into();
        value["shape"] = shape.clone().into();
    }
    value
}

/// A job.
pub(crate) fn job(info: &JobInfo) -> Value {
    let directions = info
        .metrics
        .iter()
        .map(|(name, way)| (name.clone(), way.to_string().into()));
    json!({
        "name": info.name,
        "checkpoints": info.checkpoints,
        "abandoned": info.abandoned,
        "deleted": info.deleted,
        "head": info.head.map(ckptdb::CheckpointId::get),
        "head_iteration": info.head_iteration,
        "metrics": directions.collect::<Map<String, Value>>(),
        "undeclared_metrics": info.undeclared_metrics,
        "main_metric": info.main_metric,
        "logical_bytes": info.logical_bytes,
        "new_bytes": info.new_bytes,
        "created_at": human::rfc3339(info.created_at),
        "last_saved_at": info.last_saved_at.map(human::rfc3339),
    })
}

/// Metric values. JSON has no NaN and no infinities: they are strings, as nothing else would
/// keep them apart from a missing value.
pub(crate) fn metrics(values: &BTreeMap<String, f64>) -> Value {
    values
        .iter()
        .map(|(name, &value)| (name.clone(), metric(value)))
        .collect::<Map<_, _>>()
        .into()
}

/// One of them.
pub(crate) fn metric(value: f64) -> Value {
    if value.is_nan() {
        "NaN".into()
    } else if value.is_infinite() {
        if value > 0.0 {
            "Infinity".into()
        } else {
            "-Infinity".into()
        }
    } else {
        value.into()
    }
}

/// Attributes are stored as JSON text. A number that this parser can't hold stays text.
fn attributes(values: &BTreeMap<String, String>) -> Map<String, Value> {
    let parsed = |text: &str| serde_json::from_str(text).unwrap_or_else(|_| text.into());
    values
        .iter()
        .map(|(name, text)| (name.clone(), parsed(text)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_that_json_lacks_stay_distinct() {
        let values = [
            ("a", f64::NAN),
            ("b", f64::INFINITY),
            ("c", f64::NEG_INFINITY),
            ("d", 0.5),
        ];
        let values = values
            .into_iter()
            .map(|(name, value)| (name.to_owned(), value))
            .collect();
        let expected = json!({"a": "NaN", "b": "Infinity", "c": "-Infinity", "d": 0.5});
        assert_eq!(metrics(&values), expected);
    }
}
