//! What retention is told: of each checkpoint, and of the job.

use std::collections::{BTreeMap, BTreeSet};

use crate::checkpoint::CheckpointInfo;
use crate::event::Event;
use crate::id::CheckpointId;
use crate::metric::Direction;
use crate::time::Timestamp;

/// What retention knows of a checkpoint.
#[derive(Clone, Copy, Debug)]
pub struct Candidate<'a> {
    /// Id: the order in which they were saved.
    pub id: CheckpointId,
    /// The trainer's counter.
    pub iteration: u64,
    /// When it was saved.
    pub saved_at: Timestamp,
    /// Why it was saved.
    pub events: &'a BTreeSet<Event>,
    /// Values that were measured at it.
    pub metrics: &'a BTreeMap<String, f64>,
    /// Its tags.
    pub tags: &'a BTreeSet<String>,
    /// Whether it is pinned.
    pub pinned: bool,
    /// Whether it is on a line that a rollback left behind.
    pub abandoned: bool,
    /// Bytes that count against the budget: those that were new when it was saved.
    pub bytes: u64,
}

impl<'a> From<&'a CheckpointInfo> for Candidate<'a> {
    fn from(info: &'a CheckpointInfo) -> Self {
        Self {
            id: info.id,
            iteration: info.iteration,
            saved_at: info.saved_at,
            events: &info.events,
            metrics: &info.metrics,
            tags: &info.tags,
            pinned: info.pinned,
            abandoned: info.abandoned,
            bytes: info.new_bytes,
        }
    }
}

/// What retention knows of the job.
#[derive(Clone, Debug, Default)]
pub struct Situation {
    /// The time that ages are counted from.
    pub now: Timestamp,
    /// The checkpoint that training goes on from.
    pub head: Option<CheckpointId>,
    /// The last one that is known to be good.
    pub good: Option<CheckpointId>,
    /// The declared directions of metrics.
    pub directions: BTreeMap<String, Direction>,
    /// The newest checkpoint when a session of the job last completed.
    pub completed: Option<CheckpointId>,
}
