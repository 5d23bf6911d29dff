//! Checkpoint records: what a save said, and what was added to it since.

use serde::{Deserialize, Serialize};

use super::envelope::TableCode;
use super::limits::{MAX_ATTRIBUTE_BYTES, MAX_ENTRIES, MAX_EVENTS, MAX_METRICS, MAX_TREE_DEPTH};
use super::malformed::Malformed;
use super::node::Manifest;
use super::stamp::Stamp;
use super::wire::{self, Record};
use crate::id::{CheckpointId, ContentHash, StoreId};

/// A metric's value, as bits so that equal records have equal bytes.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct MetricRow {
    pub(crate) name: String,
    pub(crate) bits: u64,
}

/// An attribute: canonical JSON text.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct AttributeRow {
    pub(crate) name: String,
    pub(crate) json: String,
}

/// What the save recorded; never changed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct SavedPart {
    pub(crate) job: u32,
    pub(crate) iteration: u64,
    pub(crate) saved_at: i64,
    pub(crate) parent: Option<u64>,
    pub(crate) events: Vec<String>,
    pub(crate) metrics: Vec<MetricRow>,
    pub(crate) attributes: Vec<AttributeRow>,
    pub(crate) manifest: Manifest,
    pub(crate) entries: u64,
    pub(crate) bytes: u64,
}

impl SavedPart {
    /// The hash over all of it, bound to the store and the id.
    pub(crate) fn content_hash(
        &self,
        store: StoreId,
        id: CheckpointId,
    ) -> Result<ContentHash, Malformed> {
        let mut hasher = blake3::Hasher::new();
        hasher.update(b"ckptdb checkpoint 1");
        hasher.update(store.as_bytes());
        hasher.update(&id.get().to_be_bytes());
        hasher.update(&wire::encode(self)?);
        Ok(ContentHash::new(*hasher.finalize().as_bytes()))
    }
}

/// The mark of a deleted checkpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct DeletedMark {
    /// The log record of the delete.
    pub(crate) log: u64,
    pub(crate) at: i64,
}

/// Where the line stands with this checkpoint: what periodic and improvement triggers count from.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Progress {
    /// The iteration of the last periodic save.
    pub(crate) anchor: Option<u64>,
    /// Of each metric that caused a save, the value at the last one; sorted.
    pub(crate) marks: Vec<MetricRow>,
    /// The telemetry segment that led here, by its key.
    pub(crate) segment: Option<u64>,
    /// The checkpoint of another job that this one was forked from.
    pub(crate) source: Option<u64>,
}

impl Progress {
    /// What it is with these events at this iteration.
    pub(crate) fn advance<'a>(
        &mut self,
        iteration: u64,
        events: impl IntoIterator<Item = &'a str>,
        metrics: &[MetricRow],
    ) {
        for event in events {
            if event == "periodic" {
                self.anchor = Some(iteration);
            }
            let improved = event
                .strip_prefix("best(")
                .and_then(|rest| rest.strip_suffix(')'));
            let row = improved.and_then(|name| metrics.iter().find(|row| row.name == name));
            if let Some(row) = row.filter(|row| f64::from_bits(row.bits).is_finite()) {
                self.marks.retain(|mark| mark.name != row.name);
                self.marks.push(row.clone());
                self.marks.sort_unstable();
            }
        }
    }
}

/// What came after the save.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Later {
    pub(crate) events: Vec<String>,
    pub(crate) metrics: Vec<MetricRow>,
    pub(crate) attributes: Vec<AttributeRow>,
    pub(crate) tags: Vec<String>,
    pub(crate) pinned: bool,
    pub(crate) abandoned: bool,
    pub(crate) deleted: Option<DeletedMark>,
    pub(crate) new_bytes: u64,
    pub(crate) progress: Progress,
    pub(crate) stamp: Stamp,
}

/// A checkpoint's row.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct CheckpointRecord {
    pub(crate) saved: SavedPart,
    pub(crate) content: [u8; 32],
    pub(crate) later: Later,
}

impl CheckpointRecord {
    /// All events, sorted, without repeats.
    pub(crate) fn events(&self) -> Vec<&str> {
        let mut all: Vec<&str> = self
            .saved
            .events
            .iter()
            .chain(&self.later.events)
            .map(String::as_str)
            .collect();
        all.sort_unstable();
        all.dedup();
        all
    }

    /// All metrics.
    pub(crate) fn metrics(&self) -> impl Iterator<Item = (&str, f64)> {
        let rows = self.saved.metrics.iter().chain(&self.later.metrics);
        rows.map(|row| (row.name.as_str(), f64::from_bits(row.bits)))
    }

    /// Moves its progress on by these of its events.
    pub(crate) fn advance(&mut self, events: &[String]) {
        let metrics: Vec<MetricRow> = self
            .saved
            .metrics
            .iter()
            .chain(&self.later.metrics)
            .cloned()
            .collect();
        let events = events.iter().map(String::as_str);
        let iteration = self.saved.iteration;
        self.later.progress.advance(iteration, events, &metrics);
    }

    /// All attributes.
    pub(crate) fn attributes(&self) -> impl Iterator<Item = (&str, &str)> {
        let rows = self.saved.attributes.iter().chain(&self.later.attributes);
        rows.map(|row| (row.name.as_str(), row.json.as_str()))
    }
}

impl Record for CheckpointRecord {
    const TABLE: TableCode = TableCode::Checkpoints;

    fn check(&self) -> Result<(), Malformed> {
        let limits = [
            ("the number of its events", self.events().len(), MAX_EVENTS),
            (
                "the number of its metrics",
                self.metrics().count(),
                MAX_METRICS,
            ),
            (
                "the length of its attributes",
                self.attributes()
                    .map(|(name, json)| name.len() + json.len())
                    .sum(),
                MAX_ATTRIBUTE_BYTES,
            ),
            ("the number of its tags", self.later.tags.len(), MAX_EVENTS),
            (
                "the number of its marks",
                self.later.progress.marks.len(),
                MAX_METRICS,
            ),
        ];
        for (what, found, most) in limits {
            if found > most {
                return Err(Malformed::field(what, format!("at most {most}"), found));
            }
        }
        if self.saved.entries > MAX_ENTRIES as u64 {
            return Err(Malformed::field(
                "its entries",
                "within the limit",
                self.saved.entries,
            ));
        }
        match &self.saved.manifest {
            Manifest::Inline(group) => group.check(),
            Manifest::Tree { depth, .. } if *depth > MAX_TREE_DEPTH => Err(Malformed::field(
                "its manifest's depth",
                "within the limit",
                depth,
            )),
            Manifest::Tree { .. } => Ok(()),
        }
    }
}
