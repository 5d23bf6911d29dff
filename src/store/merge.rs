//! The same state saved again: what the repeated save adds to the checkpoint.

use std::collections::{BTreeMap, BTreeSet};

use super::line::JobLine;
use super::request::{Request, attribute_rows, metric_rows};
use super::tags::check_tags_free;
use crate::error::{Error, Result};
use crate::format::{Action, AttributeRow, CheckpointRecord, MetricRow};
use crate::storage::Change;

/// Unites a repeated save with the checkpoint that it repeats.
pub(super) fn merge(
    change: &mut Change<'_>,
    line: &mut JobLine,
    id: u64,
    mut record: CheckpointRecord,
    request: &Request,
) -> Result<CheckpointRecord> {
    let known: BTreeSet<&str> = record.events().into_iter().collect();
    let events: Vec<String> = request
        .events
        .iter()
        .filter(|event| !known.contains(event.as_str()))
        .cloned()
        .collect();
    let metrics = new_metrics(&record, request)?;
    let attributes = new_attributes(&record, request)?;
    let tags: Vec<String> = request
        .tags
        .iter()
        .filter(|tag| !record.later.tags.contains(tag))
        .cloned()
        .collect();
    let pins = request.pinned && !record.later.pinned;
    let unites = !(events.is_empty() && metrics.is_empty() && attributes.is_empty());
    if !unites && tags.is_empty() && !pins {
        return Ok(record);
    }
    check_tags_free(change, line, &tags, id)?;
    line.detach(change, id, &record)?;
    if unites {
        change.log(Action::Merge {
            checkpoint: id,
            events: events.clone(),
            metrics: metrics.clone(),
            attributes: attributes.clone(),
        })?;
    }
    for tag in &tags {
        change.log(Action::Tag {
            checkpoint: id,
            tag: tag.clone(),
            set: true,
        })?;
    }
    if pins {
        change.log(Action::Pin {
            checkpoint: id,
            pinned: true,
        })?;
    }
    let later = &mut record.later;
    later.events.extend(events.iter().cloned());
    later.events.sort_unstable();
    later.metrics.extend(metrics);
    later.metrics.sort_unstable();
    later.attributes.extend(attributes);
    later.attributes.sort_unstable();
    later.tags.extend(tags);
    later.tags.sort_unstable();
    later.pinned |= pins;
    record.advance(&events);
    line.attach(change, id, &record)?;
    line.note_metrics(id, &record);
    change.put_checkpoint(id, &record)?;
    Ok(record)
}

fn new_metrics(record: &CheckpointRecord, request: &Request) -> Result<Vec<MetricRow>> {
    let known: BTreeMap<&str, f64> = record.metrics().collect();
    let mut new = BTreeMap::new();
    for (name, value) in &request.metrics {
        match known.get(name.as_str()) {
            None => {
                new.insert(name.clone(), *value);
            }
            Some(old) if old.to_bits() == value.to_bits() => {}
            Some(old) => {
                return Err(Error::conflict(
                    format!("metric `{name}` of this checkpoint is {old} already, not {value}"),
                    "a saved value can't be changed",
                ));
            }
        }
    }
    Ok(metric_rows(&new))
}

fn new_attributes(record: &CheckpointRecord, request: &Request) -> Result<Vec<AttributeRow>> {
    let known: BTreeMap<&str, &str> = record.attributes().collect();
    let mut new = BTreeMap::new();
    for (name, json) in &request.attributes {
        match known.get(name.as_str()) {
            None => {
                new.insert(name.clone(), json.clone());
            }
            Some(old) if *old == json => {}
            Some(old) => {
                return Err(Error::conflict(
                    format!("attribute `{name}` of this checkpoint is {old} already"),
                    "a saved value can't be changed; choose another name",
                ));
            }
        }
    }
    Ok(attribute_rows(&new))
}
