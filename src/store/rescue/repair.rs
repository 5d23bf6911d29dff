//! Mending a store in place: whatever can be derived is derived anew, what is lost is said to be.

use std::collections::BTreeSet;

use super::evidence::Evidence;
use super::plan::Plan;
use super::rebuild::{Rebuild, batches, write_log};
use super::references::{mend_chunks, mend_nodes};
use crate::error::{Error, Result};
use crate::format::{Action, Head, NO_PREVIOUS};
use crate::id::CheckpointId;
use crate::storage::{Change, Clear, Durability, Room, Rows};
use crate::store::sweep::sweep;
use crate::store::verify::{Content, Findings};
use crate::store::{Damage, Store, VerifyDepth, VerifyReport};

/// What a repair found and did.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Repaired {
    /// What was wrong before.
    pub before: VerifyReport,
    /// What still is: bytes that are lost. Those of a chunk come back when a save brings the same
    /// bytes again.
    pub left: Vec<Damage>,
    /// Checkpoints of which nothing is left but that they were; they are no longer listed.
    pub lost: Vec<Damage>,
    /// Chunks whose bytes are lost.
    pub lost_chunks: u64,
}

impl Repaired {
    /// Whether nothing had to be done.
    pub const fn was_clean(&self) -> bool {
        self.before.is_clean() && self.before.orphans == 0
    }
}

impl Store {
    /// Mends the store in place, in one transaction. Indexes, counts, jobs and the chain of the log
    /// are derived anew from the checkpoints' records and the log; what can't be read any more is
    /// marked as lost, so that `verify` names it, `resume` passes it over and a save of the same
    /// bytes heals it. Nothing that loads before does not load afterwards.
    ///
    /// Reads every byte of the store, through `progress` (bytes read, of how many).
    ///
    /// # Errors
    /// [`Error::Corrupt`] when the tables themselves can't be read:
    /// [`Store::salvage`] rebuilds such a store from its bytes.
    pub fn repair(&self, progress: &mut dyn FnMut(u64, u64)) -> Result<Repaired> {
        let _turn = self.turn();
        let (before, bad) = self.inspect(VerifyDepth::Full, progress)?;
        let mut repaired = Repaired {
            before,
            ..Repaired::default()
        };
        if repaired.was_clean() {
            return Ok(repaired);
        }
        let evidence = self
            .read(|rows| Evidence::of_tables(rows, self.id()))
            .map_err(beyond_repair)?;
        let mut plan = Plan::of(&evidence);
        repaired.lost.append(&mut plan.lost);
        let lost: Vec<u64> = repaired
            .lost
            .iter()
            .filter_map(|damage| damage.checkpoint.map(CheckpointId::get))
            .collect();
        let at = self.now();
        let done = self
            .engine()
            .write(Durability::Durable, Room::Ordinary, |rows| {
                let head = head_of(rows, &evidence, &plan)?;
                rows.clear(Clear::Derived)?;
                let mut change = if plan.history.is_whole {
                    Change::over(rows, head, at)
                } else {
                    rows.clear(Clear::Log)?;
                    let mut change = Change::over(rows, emptied(&head), at);
                    write_log(&mut change, &plan.history)?;
                    change.set_time(at);
                    change
                };
                let ids: BTreeSet<u64> = plan.checkpoints.keys().copied().collect();
                for gone in evidence.rows.difference(&ids) {
                    change.drop_checkpoint(*gone)?;
                }
                for action in plan.corrections {
                    change.log(action)?;
                }
                // A log record has a limit, and what is lost may have none.
                for lost in batches(&lost) {
                    change.log(Action::Repair { lost })?;
                }
                let mut content = Content::default();
                let mut rebuild = Rebuild::new(std::mem::take(&mut plan.jobs));
                let mut findings = Findings::default();
                for (id, record) in &plan.checkpoints {
                    rebuild.put(&mut change, *id, record)?;
                    content.check_manifest(change.records().0, *id, record, &mut findings)?;
                }
                rebuild.finish(&mut change)?;
                let nodes = mend_nodes(&mut change, &content)?;
                let chunks = mend_chunks(&mut change, &content, &bad)?;
                change.set_lost(nodes.lost_nodes + chunks.lost_chunks);
                change.finish()?;
                Ok(chunks)
            })
            .map_err(beyond_repair)?;
        repaired.lost_chunks = done.lost_chunks;
        sweep(self.engine())?;
        let (after, _) = self.inspect(VerifyDepth::Quick, &mut |_, _| {})?;
        repaired.left = after.damage;
        Ok(repaired)
    }
}

fn beyond_repair(error: Error) -> Error {
    match error {
        Error::Corrupt { what, why } => Error::Beyond { what, why },
        other => other,
    }
}

/// The head record, its numbers beyond all that were given out.
fn head_of(rows: &dyn Rows, evidence: &Evidence, plan: &Plan) -> Result<Head> {
    let known = evidence.head.as_ref();
    let next_chunk = rows.last_chunk_number()? + 1;
    let jobs = plan.jobs.keys().next_back().map_or(1, |last| last + 1);
    Ok(Head {
        last: plan.history.last,
        count: plan.history.last,
        chain: plan.history.chain,
        live: 0,
        next_chunk: known.map_or(next_chunk, |head| head.next_chunk.max(next_chunk)),
        next_name: 1,
        next_job: known.map_or(jobs, |head| head.next_job.max(jobs)),
        lost: 0,
    })
}

/// The same, of a store whose log is yet to be written.
const fn emptied(head: &Head) -> Head {
    Head {
        last: 0,
        count: 0,
        chain: NO_PREVIOUS,
        ..*head
    }
}
