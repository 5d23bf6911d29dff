//! Mending a store in place: whatever can be derived is derived anew, what is lost is said to be.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;

use super::chunks::{drop_unnamed_extents, mend_chunks};
use super::evidence::Evidence;
use super::frames::Frames;
use super::history::History;
use super::plan::Plan;
use super::rebuild::{Rebuild, batches, write_log};
use super::references::{count_content, mend_nodes};
use crate::error::{Error, Result};
use crate::format::{
    Action, ChunkRow, Head, MAX_CHUNK_BYTES, NO_PREVIOUS, StoreTag, TelemetryRecord,
};
use crate::id::CheckpointId;
use crate::storage::{Change, Clear, Durability, RawMedium, Room, Rows, Writes};
use crate::store::sweep::sweep;
use crate::store::{Damage, Store, VerifyDepth, VerifyReport};
use crate::telemetry;

/// What a checkpoint's record and its rows of the indexes take, roughly: twice what was measured.
const ROW_BYTES: u64 = 1024;

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
    /// Checkpoints whose log records are lost: whether they had been deleted is not known.
    pub uncertain: Vec<Damage>,
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
    /// bytes heals it. Nothing that loads before does not load afterwards. Records, nodes and
    /// chunks that the tables have lost are looked for in all of the file, as a salvage does.
    ///
    /// Reads every byte of the store, through `progress` (bytes read, of how many), and then the
    /// file once more.
    ///
    /// # Errors
    /// [`Error::Beyond`] when the tables themselves can't be read, or there is more to bring back
    /// than can be done in place: [`Store::salvage`] rebuilds such a store from its bytes.
    pub fn repair(&self, progress: &mut dyn FnMut(u64, u64)) -> Result<Repaired> {
        let _turn = self.turn()?;
        let (before, bad) = self.inspect(VerifyDepth::Full, progress)?;
        let mut repaired = Repaired {
            before,
            ..Repaired::default()
        };
        if repaired.was_clean() {
            return Ok(repaired);
        }
        let evidence = self.read(|rows| Evidence::of_tables(rows, self.id()));
        let mut evidence = evidence.map_err(beyond_repair)?;
        let tables = History::of(&evidence);
        let keep_log = tables.is_whole;
        if keep_log {
            // Nothing that is found elsewhere is newer than a log that is whole.
            evidence.head.get_or_insert_with(|| tables.head());
        }
        // What the tables have lost may still be in the file, in pages that are free by now. They
        // would be used again.
        let mut frames = Frames::scan(RawMedium::open(self.engine().medium())?, &mut |_, _| {})?;
        let tag = StoreTag::of(self.id());
        let mut elsewhere = BTreeMap::new();
        if let Some(mut found) = frames.take_evidence(Some(tag)) {
            elsewhere = std::mem::take(&mut found.telemetry);
            evidence.join(found);
        }
        evidence.last_chunk = frames.last_chunk_number();
        let mut plan = Plan::of(&evidence);
        repaired.lost.append(&mut plan.lost);
        repaired.uncertain.append(&mut plan.uncertain);
        let lost = ids_of(&repaired.lost);
        let segments = (plan.segments(), plan.open_segments());
        let at = self.now();
        let most = room_for_chunks(self.options().cache_bytes, plan.checkpoints.len());
        frames.keep(bad.keys(), most);
        repaired.lost_chunks = self
            .engine()
            .write(Durability::Durable, Room::Ordinary, |rows| {
                let mut change = begin(rows, &evidence, &plan, keep_log, at)?;
                for action in std::mem::take(&mut plan.corrections) {
                    change.log(action)?;
                }
                // A log record has a limit, and what is lost may have none.
                for lost in batches(&lost) {
                    change.log(Action::Repair { lost })?;
                }
                let mut rebuild = Rebuild::new(std::mem::take(&mut plan.jobs));
                for (id, record) in &plan.checkpoints {
                    rebuild.put(&mut change, *id, record)?;
                }
                mend_telemetry(&mut change, segments, elsewhere)?;
                rebuild.finish(&mut change)?;
                let content = count_content(&mut change, &plan, &frames)?;
                let nodes = mend_nodes(&mut change, &content)?;
                let chunks = mend_chunks(&mut change, &content, &bad, &frames, most)?;
                change.set_lost(nodes + chunks);
                change.finish()?;
                Ok(chunks)
            })
            .map_err(beyond_repair)?;
        sweep(self.engine(), self.options().compression)?;
        if let Err(error) = self.make_room(drop_unnamed_extents) {
            tracing::warn!(%error, "extents that nothing leads to stay");
        }
        self.engine().suspects().clear();
        let (after, _) = self.inspect(VerifyDepth::Quick, &mut |_, _| {})?;
        repaired.left = after.damage;
        Ok(repaired)
    }
}

/// Raw bytes that may be brought back from free pages before the cache is full and these are
/// written over. The rows of the checkpoints are written first.
const fn room_for_chunks(cache_bytes: usize, checkpoints: usize) -> u64 {
    let quarter = cache_bytes / 4;
    let room = if quarter < 2 * MAX_CHUNK_BYTES {
        2 * MAX_CHUNK_BYTES
    } else {
        quarter
    };
    (room as u64).saturating_sub(ROW_BYTES * checkpoints as u64)
}

/// The change that mends: derived rows are gone, the log is whole again, and checkpoints that the
/// plan does not have are dropped.
fn begin<'t>(
    rows: &'t mut dyn Writes,
    evidence: &Evidence,
    plan: &Plan,
    keep_log: bool,
    at: i64,
) -> Result<Change<'t>> {
    let head = head_of(rows, evidence, plan)?;
    rows.clear(Clear::Derived)?;
    let mut change = if keep_log {
        Change::over(rows, head, at)
    } else {
        rows.clear(Clear::Log)?;
        let mut change = Change::over(rows, emptied(&head), at);
        write_log(&mut change, &plan.history)?;
        change.set_time(at);
        change
    };
    for gone in &evidence.rows {
        if !plan.checkpoints.contains_key(gone) {
            change.drop_checkpoint(*gone)?;
        }
    }
    Ok(change)
}

/// Puts telemetry right, if anything is wrong with it: rows that the table has lost are taken from
/// elsewhere in the file.
fn mend_telemetry(
    change: &mut Change<'_>,
    (named, open): (BTreeSet<u64>, BTreeSet<u64>),
    elsewhere: BTreeMap<u64, Vec<TelemetryRecord>>,
) -> Result<()> {
    let (mut sound, faults) = telemetry::sound(change.records().0)?;
    let is_there = |key: &u64| matches!(sound.get(key), Some(TelemetryRecord::Segment(_)));
    if faults.is_empty() && named.iter().chain(&open).all(is_there) {
        return Ok(());
    }
    telemetry::fill(&mut sound, &faults, elsewhere);
    telemetry::restore(change, sound, named)
}

/// The checkpoints that damage speaks of.
fn ids_of(damage: &[Damage]) -> Vec<u64> {
    let id = |damage: &Damage| damage.checkpoint.map(CheckpointId::get);
    damage.iter().filter_map(id).collect()
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
    // The head's number is that of the chunk to come.
    let given = known.map_or(0, |head| head.next_chunk.saturating_sub(1));
    let mut last_chunk = evidence.last_chunk.max(given);
    rows.each_chunk(&mut |id, bytes| {
        let number = ChunkRow::from_bytes(&id, bytes).map_or(0, |row| row.number);
        last_chunk = last_chunk.max(number);
        Ok(ControlFlow::Continue(()))
    })?;
    let next_chunk = rows.last_chunk_number(last_chunk)? + 1;
    let jobs = plan.jobs.keys().next_back().map_or(1, |last| last + 1);
    Ok(Head {
        next_chunk,
        next_job: known.map_or(jobs, |head| head.next_job.max(jobs)),
        ..plan.history.head()
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_much_is_brought_back_as_the_cache_has_room_for_beside_the_rows() {
        let chunk = MAX_CHUNK_BYTES as u64;
        assert_eq!(room_for_chunks(0, 0), 2 * chunk);
        assert_eq!(room_for_chunks(8 * MAX_CHUNK_BYTES - 4, 0), 2 * chunk);
        assert_eq!(room_for_chunks(8 * MAX_CHUNK_BYTES, 0), 2 * chunk);
        assert_eq!(room_for_chunks(128 << 20, 0), 32 << 20);
        assert_eq!(room_for_chunks(128 << 20, 10), (32 << 20) - 10 * 1024);
        assert_eq!(room_for_chunks(0, usize::MAX / 2048), 0);
    }
}
