//! A verification, from the records to the bytes.

use std::collections::BTreeMap;

use super::content::{Content, Users};
use super::records::Ledger;
use super::report::{Findings, VerifyDepth, VerifyReport};
use super::series::check_telemetry;
use crate::error::{Error, Result};
use crate::format::ChunkRef;
use crate::id::ChunkId;
use crate::storage::{Records, Rows, chunk_row, each_frame, load_chunk_to, unless_of_another};
use crate::store::Store;

/// What the records say.
#[derive(Debug, Default)]
struct Walk {
    findings: Findings,
    content: Content,
    checkpoints: u64,
    /// The last commit that it saw.
    commit: Option<u64>,
    /// What ended it early.
    failure: Option<Error>,
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
        Ok(self.inspect(depth, progress)?.0)
    }

    /// A verification, and the chunks that it found damaged.
    pub(in crate::store) fn inspect(
        &self,
        depth: VerifyDepth,
        progress: &mut dyn FnMut(u64, u64),
    ) -> Result<(VerifyReport, BTreeMap<ChunkId, String>)> {
        let mut walk = self.walk();
        if let Some(Error::Overtaken { .. }) = walk.failure {
            // It takes longer than those who save wait for readers. Once, they wait for it.
            let _turn = self.turn()?;
            walk = self.walk();
        }
        let Walk {
            mut findings,
            content,
            checkpoints,
            commit,
            failure,
        } = walk;
        if let Some(error) = failure {
            findings.note(error)?;
        }
        if let Err(error) = self.read(|rows| check_telemetry(rows, &mut findings)) {
            findings.note(error)?;
        }
        let mut report = VerifyReport {
            checkpoints,
            orphans: content.orphans,
            ..Default::default()
        };
        let bad = self.read_chunks((depth, commit), &content, &mut report, progress)?;
        if depth == VerifyDepth::Full {
            report.orphans += self.stray_frames(&content)?;
        }
        if !bad.is_empty() {
            let described = self.read(|rows| Users::of(rows, &bad, &mut findings));
            if let Err(error) = described {
                findings.note(error)?;
            }
        }
        report.damage = findings.damage.into_iter().collect();
        Ok((report, bad))
    }

    /// All records, and what they say of each other, of one state.
    fn walk(&self) -> Walk {
        let mut walk = Walk::default();
        walk.findings.monitor = self.options().monitor.clone();
        let Walk {
            findings,
            content,
            checkpoints,
            commit,
            ..
        } = &mut walk;
        let walked = self.engine().read(|rows| {
            *commit = last_commit(rows);
            let mut ledger = Ledger::default();
            findings.jobs = ledger.read_jobs(rows, &mut findings.damage)?;
            ledger.read_log(rows, findings)?;
            *checkpoints = ledger.check_checkpoints(rows, self.id(), findings, content)?;
            check_names(rows, findings)?;
            ledger.check_index(rows, findings)?;
            ledger.check_jobs(findings);
            content.check_counts(rows, findings)
        });
        walk.failure = walked.err();
        walk
    }

    /// How many frames in bundles no row leads to, those included that others have saved since. A
    /// bundle that can't be read tells nothing, and what is in it has been told of.
    fn stray_frames(&self, content: &Content) -> Result<u64> {
        let mut strays = 0;
        for (bundle, named) in &content.bundles {
            let mut count = || {
                self.read(|rows| {
                    let mut unnamed = Vec::new();
                    each_frame(rows, *bundle, &mut |frame| {
                        if !named.contains(&frame.header.number) {
                            unnamed.push((frame.header.chunk, frame.header.number));
                        }
                    })?;
                    let mut found = 0;
                    for (id, number) in unnamed {
                        let row = chunk_row(rows, &id).ok().flatten();
                        found += u64::from(row.is_none_or(|row| row.number != number));
                    }
                    Ok(found)
                })
            };
            match unless_of_another(&mut count) {
                Ok(found) => strays += found,
                Err(Error::Corrupt { .. } | Error::Io { .. }) => {}
                Err(other) => return Err(other),
            }
        }
        Ok(strays)
    }

    /// Whether a chunk that could not be read has been removed since this commit, or removed and
    /// saved again.
    fn is_removed(&self, chunk: &ChunkRef, commit: Option<u64>) -> Result<bool> {
        self.read(|rows| {
            let has_changed = commit.is_some() && last_commit(rows) > commit;
            Ok(has_changed
                && (rows.chunk(&chunk.chunk())?.is_none()
                    || load_chunk_to(rows, chunk, &mut Vec::new()).is_ok()))
        })
    }

    /// Reads the chunks that `depth` asks for, each in a transaction of its own, so that the engine
    /// stumbling over one does not hide the others, and others can change the store meanwhile.
    fn read_chunks(
        &self,
        (depth, commit): (VerifyDepth, Option<u64>),
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
        let mut bytes = Vec::new();
        for known in chosen {
            self.go_on(known.chunk.raw_len as usize, "verifying")?;
            let mut read = || self.read(|rows| load_chunk_to(rows, &known.chunk, &mut bytes));
            match unless_of_another(&mut read) {
                Ok(()) => {}
                Err(Error::Corrupt { .. }) if self.is_removed(&known.chunk, commit)? => {}
                Err(Error::Corrupt { what, why }) => {
                    bad.insert(known.chunk.chunk(), format!("{what}: {why}"));
                }
                // A sector that can't be read is damage, and the next one may be readable.
                Err(error @ Error::Io { .. }) => {
                    bad.insert(known.chunk.chunk(), error.to_string());
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

/// The last commit, if that can be told.
fn last_commit(rows: &dyn Rows) -> Option<u64> {
    Records(rows).sound_head().ok().map(|head| head.last)
}

/// Every name has its number, and every number its name.
fn check_names(rows: &dyn Rows, findings: &mut Findings) -> Result<()> {
    let mut names = Vec::new();
    Records(rows).names(&mut |number, name| names.push((number, name)))?;
    let count = rows.name_count()?;
    if count != names.len() as u64 {
        let known = names.len();
        findings.store(format!("{count} names have numbers, {known} have records"));
    }
    for (number, name) in names {
        let agrees = name.and_then(|name| Records(rows).name_number(&name));
        match agrees {
            Ok(Some(found)) if u64::from(found) == number => {}
            Ok(_) => findings.store(format!("name number {number} is not found by its name")),
            Err(error) => findings.note(error)?,
        }
    }
    Ok(())
}
