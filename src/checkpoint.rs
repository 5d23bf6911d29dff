//! What a checkpoint is made of, as plain data.

use std::collections::{BTreeMap, BTreeSet};

use crate::event::Event;
use crate::id::{CheckpointId, ContentHash};
use crate::tensor::DType;
use crate::time::Timestamp;

/// What is known of a checkpoint without reading its entries.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct CheckpointInfo {
    /// Its place in the commit log.
    pub id: CheckpointId,
    /// The job that it belongs to.
    pub job: String,
    /// The trainer's own counter.
    pub iteration: u64,
    /// When it was saved. Never used for order.
    pub saved_at: Timestamp,
    /// The checkpoint that it continues, if any. It may be deleted by now.
    pub parent: Option<CheckpointId>,
    /// The checkpoint of another job that it was forked from, if any. It may be deleted by now.
    pub forked_from: Option<CheckpointId>,
    /// Why it was saved: what the save said, and what later saves of the same state added.
    pub events: BTreeSet<Event>,
    /// Metric values, NaN and infinities included.
    pub metrics: BTreeMap<String, f64>,
    /// Attribute values as canonical JSON text.
    pub attributes: BTreeMap<String, String>,
    /// Names given to it; unique within the job.
    pub tags: BTreeSet<String>,
    /// Whether it must never be removed.
    pub pinned: bool,
    /// Whether a rollback left its line behind.
    pub abandoned: bool,
    /// When it was deleted, while it can still be undeleted.
    pub deleted_at: Option<Timestamp>,
    /// Hash over everything that the save recorded.
    pub content: ContentHash,
    /// Number of entries.
    pub entries: u64,
    /// Bytes of all entries.
    pub logical_bytes: u64,
    /// Bytes that the save added to the store, as they were encoded then: chunks that nothing had
    /// stored before.
    pub new_bytes: u64,
}

/// What an entry holds.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum EntryKind {
    /// A tensor, little-endian and in row-major order.
    Tensor {
        /// Element type.
        dtype: DType,
        /// Dimensions, outermost first; empty for a scalar.
        shape: Vec<u64>,
    },
    /// A JSON document in canonical text.
    Document,
    /// Opaque bytes.
    File,
}

impl EntryKind {
    /// The word for it.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Tensor { .. } => "tensor",
            Self::Document => "document",
            Self::File => "file",
        }
    }
}

/// A named part of a checkpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct EntryInfo {
    /// Its name, unique within the checkpoint.
    pub name: String,
    /// What it holds.
    pub kind: EntryKind,
    /// Its length in bytes.
    pub bytes: u64,
}
