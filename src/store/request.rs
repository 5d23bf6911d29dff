//! What a save asks for, its entries apart.

use std::collections::{BTreeMap, BTreeSet};

use crate::format::{AttributeRow, MetricRow};
use crate::metric::Direction;

/// What a save asks for, its entries apart.
#[derive(Debug)]
pub(super) struct Request {
    pub(super) iteration: u64,
    pub(super) events: BTreeSet<String>,
    pub(super) metrics: BTreeMap<String, f64>,
    pub(super) attributes: BTreeMap<String, String>,
    pub(super) tags: BTreeSet<String>,
    pub(super) pinned: bool,
    pub(super) parent: Option<u64>,
    pub(super) overwrite: bool,
    pub(super) directions: BTreeMap<String, Direction>,
}

impl Request {
    pub(super) fn new(iteration: u64) -> Self {
        Self {
            iteration,
            events: BTreeSet::new(),
            metrics: BTreeMap::new(),
            attributes: BTreeMap::new(),
            tags: BTreeSet::new(),
            pinned: false,
            parent: None,
            overwrite: false,
            directions: BTreeMap::new(),
        }
    }
}

/// Metrics as records have them.
pub(super) fn metric_rows(metrics: &BTreeMap<String, f64>) -> Vec<MetricRow> {
    let rows = metrics.iter();
    rows.map(|(name, value)| MetricRow {
        name: name.clone(),
        bits: value.to_bits(),
    })
    .collect()
}

/// Attributes as records have them.
pub(super) fn attribute_rows(attributes: &BTreeMap<String, String>) -> Vec<AttributeRow> {
    let rows = attributes.iter();
    rows.map(|(name, json)| AttributeRow {
        name: name.clone(),
        json: json.clone(),
    })
    .collect()
}
