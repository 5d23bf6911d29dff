//! What a save asks for, its entries apart.

use std::collections::{BTreeMap, BTreeSet};

use crate::codec::Compression;
use crate::format::{AttributeRow, MetricRow};
use crate::metric::Direction;
use crate::telemetry::Batch;

/// What a save asks for, its entries apart.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    pub(crate) iteration: u64,
    pub(crate) events: BTreeSet<String>,
    pub(crate) metrics: BTreeMap<String, f64>,
    pub(crate) attributes: BTreeMap<String, String>,
    pub(crate) tags: BTreeSet<String>,
    pub(crate) pinned: bool,
    pub(crate) parent: Option<u64>,
    pub(crate) saved_at: Option<i64>,
    pub(crate) overwrite: bool,
    pub(crate) directions: BTreeMap<String, Direction>,
    pub(crate) telemetry: Option<Batch>,
    pub(crate) compression: Option<Compression>,
    pub(crate) chain_depth: Option<u8>,
    pub(crate) generations: BTreeMap<String, u64>,
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
            saved_at: None,
            overwrite: false,
            directions: BTreeMap::new(),
            telemetry: None,
            compression: None,
            chain_depth: None,
            generations: BTreeMap::new(),
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
