//! What a verification is asked for, and what it finds.

use std::collections::{BTreeMap, BTreeSet};

use crate::error::{Error, Result};
use crate::format::CheckpointRecord;
use crate::id::{CheckpointId, ChunkId};
use crate::store::monitor::Monitor;

/// How much a verification reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum VerifyDepth {
    /// All records, manifests, indexes and counts; no chunk.
    Quick,
    /// These, and every byte.
    Full,
    /// These, and the bytes of some of the chunks.
    Sampled {
        /// How many of a hundred.
        percent: u8,
        /// Which ones: another seed, others.
        seed: u64,
    },
}

impl VerifyDepth {
    /// Whether this chunk is among those that are read.
    pub(super) fn reads(self, id: &ChunkId) -> bool {
        match self {
            Self::Quick => false,
            Self::Full => true,
            Self::Sampled { percent, seed } => {
                let mut hasher = blake3::Hasher::new();
                hasher.update(&seed.to_le_bytes()).update(id.as_bytes());
                let mut draw = [0; 4];
                hasher.finalize_xof().fill(&mut draw);
                u32::from_le_bytes(draw) % 100 < u32::from(percent)
            }
        }
    }
}

/// What a verification found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct VerifyReport {
    /// Checkpoints, deleted ones that can still come back included.
    pub checkpoints: u64,
    /// Chunks that were read.
    pub chunks: u64,
    /// Their raw bytes.
    pub bytes: u64,
    /// Everything that is wrong.
    pub damage: Vec<Damage>,
    /// Chunks that nothing refers to and no crash explains. They only take room.
    pub orphans: u64,
}

impl VerifyReport {
    /// Whether nothing is wrong.
    pub const fn is_clean(&self) -> bool {
        self.damage.is_empty()
    }
}

/// Something that is wrong, and whom it concerns.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub struct Damage {
    /// The checkpoint; none if the store as a whole is concerned.
    pub checkpoint: Option<CheckpointId>,
    /// Its job.
    pub job: Option<String>,
    /// Its iteration.
    pub iteration: Option<u64>,
    /// The entry, if it is one.
    pub entry: Option<String>,
    /// What is wrong.
    pub what: String,
}

impl Damage {
    pub(super) fn of_store(what: impl Into<String>) -> Self {
        Self {
            what: what.into(),
            ..Self::default()
        }
    }
}

/// Collects damage and knows how to describe whom it concerns.
#[derive(Debug, Default)]
pub(in crate::store) struct Findings {
    pub(super) damage: BTreeSet<Damage>,
    pub(super) jobs: BTreeMap<u32, String>,
    /// Who may end it.
    pub(super) monitor: Monitor,
}

impl Findings {
    /// Goes on to the next record, unless that is to end.
    pub(super) fn go_on(&self) -> Result<()> {
        self.monitor.advance(0, "verifying")
    }

    pub(super) fn store(&mut self, what: impl Into<String>) {
        self.damage.insert(Damage::of_store(what));
    }

    pub(super) fn checkpoint(
        &mut self,
        id: u64,
        record: &CheckpointRecord,
        entry: Option<&str>,
        what: impl Into<String>,
    ) {
        self.damage.insert(Damage {
            checkpoint: Some(CheckpointId::new(id)),
            job: self.jobs.get(&record.saved.job).cloned(),
            iteration: Some(record.saved.iteration),
            entry: entry.map(str::to_owned),
            what: what.into(),
        });
    }

    /// Takes an error for damage if that is what it is.
    pub(super) fn note(&mut self, error: Error) -> Result<()> {
        match error {
            Error::Corrupt { what, why } => {
                self.store(format!("{what}: {why}"));
                Ok(())
            }
            other => Err(other),
        }
    }
}
