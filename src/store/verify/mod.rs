//! Verifying: everything that is stored twice must agree, everything that is hashed must match.

mod content;
mod records;

use std::collections::{BTreeMap, BTreeSet};

use self::content::{Content, Users};
use self::records::Ledger;
use crate::error::{Error, Result};
use crate::format::CheckpointRecord;
use crate::id::{CheckpointId, ChunkId};
use crate::storage::{Records, load_chunk};
use crate::store::Store;

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
    fn reads(self, id: &ChunkId) -> bool {
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
    fn of_store(what: impl Into<String>) -> Self {
        Self {
            what: what.into(),
            ..Self::default()
        }
    }
}

/// Collects damage and knows how to describe whom it concerns.
#[derive(Debug, Default)]
struct Findings {
    damage: BTreeSet<Damage>,
    jobs: BTreeMap<u32, String>,
}

impl Findings {
    fn store(&mut self, what: impl Into<String>) {
        self.damage.insert(Damage::of_store(what));
    }

    fn checkpoint(
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
    fn note(&mut self, error: Error) -> Result<()> {
        match error {
            Error::Corrupt { what, why } => {
                self.store(format!("{what}: {why}"));
                Ok(())
            }
            other => Err(other),
        }
    }
}

impl Store {
    /// Checks the store without changing it.
    ///
    /// # Errors
    /// Only what keeps it from reading at all; damage is in the report.
    pub fn verify(&self, depth: VerifyDepth) -> Result<VerifyReport> {
        self.verify_with(depth, &mut |_, _| {})
    }

    /// [`Store::verify`], telling how many bytes of how many are read.
    ///
    /// # Errors
    /// As [`Store::verify`].
    pub fn verify_with(
        &self,
        depth: VerifyDepth,
        progress: &mut dyn FnMut(u64, u64),
    ) -> Result<VerifyReport> {
        let mut findings = Findings::default();
        let mut content = Content::default();
        let mut checkpoints = 0;
        let walked = self.read(|rows| {
            let mut ledger = Ledger::default();
            findings.jobs = ledger.read_jobs(rows, &mut findings.damage)?;
            ledger.read_log(rows, &mut findings)?;
            checkpoints = ledger.check_checkpoints(rows, self.id(), &mut findings, &mut content)?;
            ledger.check_index(rows, &mut findings)?;
            ledger.check_jobs(&mut findings);
            content.check_counts(rows, &mut findings)
        });
        if let Err(error) = walked {
            findings.note(error)?;
        }
        let mut report = VerifyReport {
            checkpoints,
            orphans: content.orphans,
            ..Default::default()
        };
        let bad = self.read_chunks(depth, &content, &mut report, progress)?;
        if !bad.is_empty() {
            let described = self.read(|rows| Users::of(rows, &bad, &mut findings));
            if let Err(error) = described {
                findings.note(error)?;
            }
        }
        report.damage = findings.damage.into_iter().collect();
        Ok(report)
    }

    /// Reads the chunks that `depth` asks for, each in a transaction of its own, so that the engine
    /// stumbling over one does not hide the others.
    fn read_chunks(
        &self,
        depth: VerifyDepth,
        content: &Content,
        report: &mut VerifyReport,
        progress: &mut dyn FnMut(u64, u64),
    ) -> Result<BTreeMap<ChunkId, String>> {
        let chosen: Vec<_> = content
            .chunks
            .values()
            .filter(|known| depth.reads(&known.chunk.chunk()))
            .collect();
        let total = chosen
            .iter()
            .map(|known| u64::from(known.chunk.raw_len))
            .sum();
        let mut bad = content.bad.clone();
        for known in chosen {
            match self.read(|rows| load_chunk(rows, &known.chunk)) {
                Ok(_) => {}
                Err(Error::Corrupt { what, why }) => {
                    bad.insert(known.chunk.chunk(), format!("{what}: {why}"));
                }
                Err(other) => return Err(other),
            }
            report.chunks += 1;
            report.bytes += u64::from(known.chunk.raw_len);
            progress(report.bytes, total);
        }
        Ok(bad)
    }
}

/// Whether a checkpoint was reclaimed while it was looked at.
fn is_reclaimed(records: Records<'_>, id: u64) -> bool {
    matches!(records.checkpoint(id), Ok(None))
}
