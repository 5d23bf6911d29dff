//! The records that there are few of: the store's identity and head, jobs, names.

use serde::{Deserialize, Serialize};

use super::envelope::TableCode;
use super::stamp::Stamp;
use super::wire::Record;

/// What a store is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Identity {
    pub(crate) format: u32,
    pub(crate) store: [u8; 16],
    pub(crate) created_at: i64,
    pub(crate) writer: String,
}

impl Identity {
    /// Its key in `settings`.
    pub(crate) const KEY: u64 = 1;
}

impl Record for Identity {
    const TABLE: TableCode = TableCode::Settings;
}

/// Where a store stands: the anchor of the log, and the next numbers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Head {
    pub(crate) last: u64,
    pub(crate) count: u64,
    pub(crate) chain: [u8; 32],
    pub(crate) live: u64,
    pub(crate) next_chunk: u64,
    pub(crate) next_name: u32,
    pub(crate) next_job: u32,
    /// Nodes and chunks whose bytes the last repair found lost. While there are any, saves look
    /// whether they can bring some of them back.
    pub(crate) lost: u64,
}

impl Head {
    /// Its key in `settings`.
    pub(crate) const KEY: u64 = 2;
}

impl Record for Head {
    const TABLE: TableCode = TableCode::Settings;
}

/// A checkpoint as the head of a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct HeadMark {
    pub(crate) id: u64,
    pub(crate) iteration: u64,
    pub(crate) at: i64,
}

/// What a job knows of a metric.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct MetricRecord {
    pub(crate) name: String,
    /// Whether larger is better; none while undeclared.
    pub(crate) larger: Option<bool>,
    /// Bits of the best value on the current line, and whose it is.
    pub(crate) best: Option<(u64, u64)>,
}

/// A job.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct JobRecord {
    pub(crate) name: String,
    pub(crate) created_at: i64,
    pub(crate) removed: bool,
    pub(crate) head: Option<HeadMark>,
    pub(crate) current: u64,
    pub(crate) abandoned: u64,
    pub(crate) deleted: u64,
    pub(crate) bytes: u64,
    pub(crate) new_bytes: u64,
    pub(crate) metrics: Vec<MetricRecord>,
    pub(crate) main_metric: Option<String>,
    /// The newest checkpoint that was read back and found good.
    pub(crate) good: Option<u64>,
    pub(crate) stamp: Stamp,
}

impl JobRecord {
    /// A job without checkpoints.
    pub(crate) fn new(name: String, created_at: i64) -> Self {
        Self {
            name,
            created_at,
            removed: false,
            head: None,
            current: 0,
            abandoned: 0,
            deleted: 0,
            bytes: 0,
            new_bytes: 0,
            metrics: Vec::new(),
            main_metric: None,
            good: None,
            stamp: Stamp::default(),
        }
    }
}

impl Record for JobRecord {
    const TABLE: TableCode = TableCode::Jobs;
}

/// An interned name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct NameRecord {
    pub(crate) text: String,
}

impl Record for NameRecord {
    const TABLE: TableCode = TableCode::Names;
}
