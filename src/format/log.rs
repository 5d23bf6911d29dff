//! Log records: everything that ever happened to a store, in order.

use serde::{Deserialize, Serialize};

use super::checkpoint::{AttributeRow, MetricRow};
use super::envelope::TableCode;
use super::wire::Record;

/// What the first record has for a hash of the one before.
pub(crate) const NO_PREVIOUS: [u8; 32] = [0; 32];

/// Something that happened. The order of the variants is part of the format.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Action {
    /// A checkpoint was saved; its id is the log id.
    Save {
        job: u32,
        iteration: u64,
        parent: Option<u64>,
        content: [u8; 32],
        replaced: Option<u64>,
    },
    /// The same state was saved again: what that added.
    Merge {
        checkpoint: u64,
        events: Vec<String>,
        metrics: Vec<MetricRow>,
        attributes: Vec<AttributeRow>,
    },
    /// An attribute was added.
    Annotate {
        checkpoint: u64,
        attribute: AttributeRow,
    },
    /// A tag was set or removed.
    Tag {
        checkpoint: u64,
        tag: String,
        set: bool,
    },
    /// A pin was set or removed.
    Pin { checkpoint: u64, pinned: bool },
    /// A checkpoint was deleted.
    Delete { checkpoint: u64, forced: bool },
    /// It came back.
    Undelete { checkpoint: u64 },
    /// It was dropped for good.
    Reclaim { checkpoint: u64 },
    /// The head moved back.
    Rollback {
        job: u32,
        from: Option<u64>,
        to: Option<u64>,
        reason: String,
    },
    /// A job began.
    CreateJob { job: u32, name: String },
    /// A job and all its checkpoints were deleted.
    DeleteJob { job: u32 },
    /// A metric's direction was declared or changed: 0 min, 1 max.
    DeclareMetric {
        job: u32,
        name: String,
        direction: u8,
    },
    /// A metric was made the one that `best` means.
    MainMetric { job: u32, name: String },
    /// What was here is lost; a repair or salvage says so.
    Lost,
    /// The store was mended in place. If the chain had gaps, it was joined anew up to here.
    Repair { lost: Vec<u64> },
    /// The store was rebuilt from another file's bytes, and its chain joined anew up to here.
    Salvage { lost: Vec<u64> },
    /// A checkpoint was read in full and found good.
    Verified { checkpoint: u64 },
    /// A job began with a checkpoint of another; the record of its save came just before.
    Fork { checkpoint: u64, source: u64 },
    /// A training session began; its number is the log id. What it went on from, how many newer
    /// checkpoints could not be loaded, and what the session before lost: iterations, and
    /// milliseconds.
    SessionStart {
        job: u32,
        resumed: Option<u64>,
        skipped: u32,
        lost_iterations: u64,
        lost_millis: u64,
    },
    /// A session ended, or was found to have vanished; the head was then this.
    SessionEnd {
        job: u32,
        session: u64,
        outcome: u8,
        head: Option<u64>,
        reason: String,
    },
    /// A job got another name.
    RenameJob { job: u32, name: String },
}

/// A row of the log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct LogRecord {
    pub(crate) at: i64,
    /// Hash of the whole record before.
    pub(crate) previous: [u8; 32],
    pub(crate) action: Action,
}

impl LogRecord {
    /// The hash that the next record refers to.
    pub(crate) fn chain(record_bytes: &[u8]) -> [u8; 32] {
        *blake3::hash(record_bytes).as_bytes()
    }
}

impl Record for LogRecord {
    const TABLE: TableCode = TableCode::Log;
}
