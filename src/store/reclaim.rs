//! Giving space back: what deleted checkpoints held, and what the file holds too much.

use std::collections::BTreeSet;
use std::ops::ControlFlow;
use std::time::Duration;

use super::index_rows::whole;
use super::line::JobLine;
use super::sweep::sweep;
use crate::error::{Error, Result};
use crate::format::{Action, IndexKey, IndexKind};
use crate::storage::{Records, Rows, release_manifest};
use crate::store::Store;
use crate::telemetry;

/// Rows of telemetry that are dropped in one transaction.
const TELEMETRY_ROWS: usize = 256;

/// For so long others wait for a reclaim, for one checkpoint more, and until what it has freed is
/// swept: turns of one checkpoint each, behind others' saves, would not keep up with trainers that
/// save without a pause.
const RECLAIM_TURN: Duration = Duration::from_millis(100);

/// What a reclaim did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Reclaimed {
    /// Deleted checkpoints that can't come back any more.
    pub checkpoints: u64,
    /// Chunks that nothing referred to any more.
    pub chunks: u64,
    /// The stored bytes of these.
    pub bytes: u64,
    /// Deleted checkpoints that still can come back.
    pub waiting: u64,
    /// Deleted checkpoints that stay because what they refer to is damaged; `verify` says how.
    pub damaged: u64,
}

/// What a compaction did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Compacted {
    /// Bytes of the file on the disk, before; without the ballast beyond its end.
    pub before: u64,
    /// And after.
    pub after: u64,
}

/// All of a file up to so many bytes is written anew when it is compacted.
const REWRITTEN_BYTES: u64 = 32 << 20;

/// Which deleted checkpoints go.
#[derive(Clone, Copy, Debug)]
enum Due {
    WindowOver,
    /// Those that were deleted by this log record, or before.
    Until(u64),
    All,
}

impl Store {
    /// Drops the deleted checkpoints whose undo window is over (all of them, if `now`), and frees
    /// the chunks that nothing refers to any more. Their space is used again by later saves; what
    /// the file has too much, [`Store::compact`] gives back.
    ///
    /// One transaction a checkpoint, then one for every few hundred chunks: whenever it is cut off,
    /// the rest is done by the next. Who waits to save goes between two checkpoints, after a tenth
    /// of a second.
    ///
    /// # Errors
    /// From the disk, or [`Error::Corrupt`](crate::Error::Corrupt).
    pub fn reclaim(&self, now: bool) -> Result<Reclaimed> {
        let due = if now { Due::All } else { Due::WindowOver };
        let mut work = Work::new(self, due);
        loop {
            let _turn = self.turn()?;
            if work.in_turn(&|had| had >= RECLAIM_TURN && self.engine().is_awaited())? {
                return Ok(work.done);
            }
        }
    }

    /// Makes what room there is to make, after a save found none: lack of space ends the undo
    /// windows at once. What was deleted after log record `log`, perhaps by that save itself,
    /// stays. The caller has the turn.
    pub(super) fn end_undo_windows(&self, log: u64) {
        let mut work = Work::new(self, Due::Until(log));
        let done = work.in_turn(&|_| false);
        let Reclaimed {
            checkpoints, bytes, ..
        } = work.done;
        match done {
            Ok(_) => tracing::warn!(
                checkpoints,
                bytes,
                "on a full disk, what was deleted is reclaimed"
            ),
            Err(error) => tracing::warn!(%error, "no room could be made"),
        }
    }

    /// Drops the telemetry of removed jobs of which no checkpoint can come back.
    fn forget_removed(&self) -> Result<()> {
        let jobs = self.read(|rows| Records(rows).all_jobs())?;
        // A fork mostly has the larger number, and goes before what it was forked from. What is
        // left for want of that goes with the next reclaim.
        let gone = jobs
            .iter()
            .rev()
            .filter(|(_, job)| job.removed && job.deleted == 0 && job.segment.is_some());
        for (number, _) in gone {
            // A fork shows what came before it.
            if self.read(|rows| telemetry::has_forks(rows, *number))? {
                continue;
            }
            while self.make_room(|change| {
                let more = telemetry::forget(change, *number, TELEMETRY_ROWS)?;
                if !more {
                    let mut line = JobLine::known(change, *number)?;
                    line.record.segment = None;
                    line.finish(change)?;
                }
                Ok(more)
            })? {}
        }
        Ok(())
    }

    /// Drops a deleted checkpoint's record and all that it refers to.
    fn drop_for_good(&self, row: IndexKey) -> Result<()> {
        self.make_room(|change| {
            let record = change.records().known_checkpoint(row.id)?;
            let mut line = JobLine::known(change, row.job)?;
            change.log(Action::Reclaim { checkpoint: row.id })?;
            change.rows().set_index(row, false)?;
            release_manifest(change.rows(), &record.saved.manifest)?;
            change.drop_checkpoint(row.id)?;
            line.count_deleted(-1)?;
            line.finish(change)
        })
    }

    /// Makes the file as small as its content allows. Readers wait meanwhile.
    ///
    /// # Errors
    /// From the disk; what the store holds is as it was.
    pub fn compact(&self) -> Result<Compacted> {
        let _turn = self.turn()?;
        let (_, before) = self.engine().size()?;
        // Large pages find no place between small ones. In a file without free pages, what is
        // written anew lies at the end, and finds the front free of both when it is moved there.
        let all = before <= REWRITTEN_BYTES;
        if all {
            self.engine().compact()?;
        }
        // Where there is no room to do so, or damage in the way, the rest can be done all the same.
        match self.make_room(|change| change.rows().pack(all)) {
            Err(error @ (Error::Full { .. } | Error::Corrupt { .. })) => {
                tracing::warn!(%error, "rows are not written closer together");
            }
            Err(error @ Error::Io { .. }) if self.has_unreadable_extents() => {
                tracing::warn!(%error, "rows are not written closer together");
            }
            packed => packed?,
        }
        self.engine().compact()?;
        let (_, after) = self.engine().size()?;
        Ok(Compacted { before, after })
    }

    /// Whether there are sectors below the chunks that the disk can't read.
    fn has_unreadable_extents(&self) -> bool {
        let go_on = &mut |_: u64, _: &[u8]| Ok(ControlFlow::Continue(()));
        let read = self.read(|rows| rows.each_extent(go_on));
        matches!(read, Err(Error::Io { .. }))
    }
}

/// A reclaim, through all of its turns.
#[derive(Debug)]
struct Work<'s> {
    store: &'s Store,
    due: Due,
    done: Reclaimed,
    /// Checkpoints that stay, and are not tried again in each turn.
    stay: BTreeSet<u64>,
    /// Those of them that the disk could not read: once more at the end.
    unreadable: Vec<IndexKey>,
}

impl<'s> Work<'s> {
    fn new(store: &'s Store, due: Due) -> Self {
        Self {
            store,
            due,
            done: Reclaimed::default(),
            stay: BTreeSet::new(),
            unreadable: Vec::new(),
        }
    }

    /// Does all of it, or as much as it can before it has to give way, asked with the time that it
    /// has had. What it has freed by then is used at once. Whether it is at its end. The caller has
    /// the turn.
    fn in_turn(&mut self, gives_way: &dyn Fn(Duration) -> bool) -> Result<bool> {
        let (store, due) = (self.store, self.due);
        let deleted = store.read(|rows| deleted_rows(rows, store, due))?;
        self.done.waiting = deleted.iter().filter(|(_, is_due)| !is_due).count() as u64;
        let clock = &store.options().clock;
        let began = clock.elapsed();
        for (row, _) in deleted.into_iter().filter(|(_, is_due)| *is_due) {
            if self.stay.contains(&row.id) {
                continue;
            }
            self.try_to_drop(row)?;
            if gives_way(clock.elapsed().saturating_sub(began)) {
                self.sweep()?;
                return Ok(false);
            }
        }
        let unreadable = std::mem::take(&mut self.unreadable);
        let unread = unreadable
            .into_iter()
            .try_for_each(|row| self.drop_sound(row));
        store.forget_removed()?;
        self.sweep()?;
        if self.done.chunks > 0 && !store.engine().has_ballast() {
            // The disk is full, and what is free now is so within the file only. The next reclaim
            // needs ballast again: a shorter file gives it room.
            let shorter = store.engine().compact();
            if let Err(error) = shorter {
                tracing::warn!(%error, "the file could not be made shorter");
            } else if !store.engine().has_ballast() {
                tracing::warn!("the disk has no room for ballast");
            }
        }
        unread.map(|()| true)
    }

    /// Drops a checkpoint. One that the disk can't read must not keep the others.
    fn try_to_drop(&mut self, row: IndexKey) -> Result<()> {
        match self.drop_sound(row) {
            Err(Error::Io { .. }) if self.store.engine().suspects().has_unreadable_nodes() => {
                self.stay.insert(row.id);
                self.unreadable.push(row);
                Ok(())
            }
            tried => tried,
        }
    }

    /// Drops a deleted checkpoint, unless what it refers to is damaged: damage is local, and the
    /// others are reclaimed.
    fn drop_sound(&mut self, row: IndexKey) -> Result<()> {
        match self.store.drop_for_good(row) {
            Ok(()) => self.done.checkpoints += 1,
            Err(Error::Corrupt { what, why }) => {
                tracing::warn!(id = row.id, what, why, "a deleted checkpoint stays");
                self.stay.insert(row.id);
                self.done.damaged += 1;
            }
            Err(error) => return Err(error),
        }
        Ok(())
    }

    fn sweep(&mut self) -> Result<()> {
        let (chunks, bytes) = sweep(self.store.engine(), self.store.options().compression)?;
        self.done.chunks += chunks;
        self.done.bytes += bytes;
        Ok(())
    }
}

/// The rows of deleted checkpoints.
fn rows_of_deleted(rows: &dyn Rows) -> Result<Vec<IndexKey>> {
    let mut found = Vec::new();
    rows.index(whole(IndexKind::Deleted), false, &mut |row| {
        found.push(row);
        Ok(ControlFlow::Continue(()))
    })?;
    Ok(found)
}

/// The deleted checkpoints that can still come back.
pub(super) fn deleted_ids(rows: &dyn Rows) -> Result<Vec<u64>> {
    Ok(rows_of_deleted(rows)?
        .into_iter()
        .map(|row| row.id)
        .collect())
}

/// The rows of deleted checkpoints, and whether their time is over.
fn deleted_rows(rows: &dyn Rows, store: &Store, due: Due) -> Result<Vec<(IndexKey, bool)>> {
    let found = rows_of_deleted(rows)?;
    let window = i64::try_from(store.options().undo_window.as_millis()).unwrap_or(i64::MAX);
    found
        .into_iter()
        .map(|row| {
            let is_due = match due {
                Due::All => true,
                Due::Until(log) => row.order <= log,
                Due::WindowOver => is_over(Records(rows), row.order, window)?,
            };
            Ok((row, is_due))
        })
        .collect()
}

/// Whether two commits came after the delete that are `window` apart. Times are only compared
/// with each other: a clock that was set makes the window longer or shorter, never the order other.
fn is_over(records: Records<'_>, deleted_at: u64, window: i64) -> Result<bool> {
    let last = records.head()?.last;
    let (Some(first), Some(last)) = (records.log(deleted_at + 1)?, records.log(last)?) else {
        return Ok(false);
    };
    Ok(last.at.saturating_sub(first.at) >= window)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

    use super::*;
    use crate::format::TableCode;
    use crate::storage::{Faulty, MemoryMedium};
    use crate::store::testing::{keys, noise, options};
    use crate::store::{Options, VerifyDepth};
    use crate::{Clock, ManualClock, Timestamp};

    #[test]
    fn telemetry_goes_with_the_last_checkpoint_of_a_removed_job_that_none_was_forked_from() {
        let rows_of = |store: &Store, job: u64| {
            let rows = store
                .read(|rows| Ok(keys(rows, TableCode::Telemetry)))
                .unwrap();
            rows.iter().filter(|key| *key >> 32 == job).count()
        };
        let medium = MemoryMedium::default();
        let store = Store::create_in(Arc::new(medium), options()).unwrap();
        for name in ["one", "two"] {
            let job = store.job(name).unwrap();
            job.log(1, [("loss", 1.0)]).unwrap();
            job.save(2).bytes("own", b"state").commit().unwrap();
        }
        let of_two = store.job("two").unwrap().latest().unwrap().unwrap();
        of_two.fork("three").unwrap();
        assert!(rows_of(&store, 1) > 0 && rows_of(&store, 2) > 0);
        for name in ["one", "two"] {
            store.delete_job(name).unwrap();
        }
        // They can come back.
        assert_eq!(store.reclaim(false).unwrap().waiting, 2);
        assert!(rows_of(&store, 1) > 0 && rows_of(&store, 2) > 0);
        assert_eq!(store.reclaim(true).unwrap().checkpoints, 2);
        assert!(rows_of(&store, 1) == 0 && rows_of(&store, 2) > 0);
        store.delete_job("three").unwrap();
        store.reclaim(true).unwrap();
        assert_eq!((rows_of(&store, 2), rows_of(&store, 3)), (0, 0));
        assert!(store.verify(VerifyDepth::Full).unwrap().is_clean());
    }

    #[test]
    fn a_file_on_a_full_disk_is_made_shorter_by_a_reclaim_that_frees_something() {
        let faulty = Faulty::new(Vec::new());
        let with_ballast = Options {
            ballast_bytes: 256 << 10,
            ..options()
        };
        let store = Store::create_in(Arc::new(faulty.clone()), with_ballast).unwrap();
        let job = store.job("one").unwrap();
        for iteration in 1..=8 {
            let state = noise(iteration, 900_000);
            job.save(iteration).bytes("own", &state).commit().unwrap();
        }
        let len = || faulty.memory.to_vec().len();
        let delete = |iteration| job.at(iteration).unwrap().unwrap().delete(true).unwrap();
        // While there is room, the file stays as long as it is.
        delete(1);
        let before = len();
        assert!(store.reclaim(true).unwrap().chunks > 0);
        assert!(len() >= before);
        // On a full disk, nothing that is freed makes it no shorter.
        let before = len();
        faulty.order().capacity = Some(before as u64);
        // What the handle had taken beyond the end is another's by now.
        store.reopen().unwrap();
        assert_eq!(store.reclaim(true).unwrap().chunks, 0);
        assert_eq!(len(), before);
        for iteration in 2..=6 {
            delete(iteration);
        }
        assert!(store.reclaim(true).unwrap().chunks > 4);
        assert!(len() < before, "{} of {before}", len());
        assert!(store.verify(VerifyDepth::Full).unwrap().is_clean());
    }

    /// Time that passes whenever somebody looks, or never.
    #[derive(Debug)]
    struct Looked(ManualClock, Duration);

    impl Clock for Looked {
        fn now(&self) -> Timestamp {
            self.0.now()
        }

        fn elapsed(&self) -> Duration {
            self.0.advance(self.1);
            self.0.elapsed()
        }
    }

    /// How often another handle saves while so many checkpoints are reclaimed, if so much time
    /// passes at each.
    fn saves_beside_a_reclaim(checkpoints: u64, time: Duration) -> u64 {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("run.ckpt");
        let clock = Arc::new(Looked(ManualClock::default(), time));
        let pruner = Store::create_with(&path, Options { clock, ..options() }).unwrap();
        let job = pruner.job("pruned").unwrap();
        for iteration in 0..checkpoints {
            job.save(iteration).bytes("own", b"state").commit().unwrap();
        }
        pruner.delete_job("pruned").unwrap();
        let other = Store::open_with(&path, options()).unwrap();
        let (saves, is_over) = (AtomicU64::new(0), AtomicBool::new(false));
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let job = other.job("other").unwrap();
                while !is_over.load(Ordering::SeqCst) {
                    let iteration = saves.fetch_add(1, Ordering::SeqCst);
                    job.save(iteration).bytes("own", b"more").commit().unwrap();
                }
            });
            while saves.load(Ordering::SeqCst) < 2 {
                std::thread::yield_now();
            }
            let before = saves.load(Ordering::SeqCst);
            let reclaimed = pruner.reclaim(true).unwrap();
            assert_eq!(reclaimed.checkpoints, checkpoints);
            let beside = saves.load(Ordering::SeqCst) - before;
            is_over.store(true, Ordering::SeqCst);
            beside
        })
    }

    #[test]
    fn a_reclaim_gives_way_to_saves_but_not_before_a_tenth_of_a_second() {
        // At the clock that stands still, others save before it comes to its turn and after it.
        let in_one_turn = saves_beside_a_reclaim(40, Duration::ZERO);
        assert!(in_one_turn < 10, "{in_one_turn}");
        let in_turns = saves_beside_a_reclaim(40, RECLAIM_TURN);
        assert!(in_turns > 20, "{in_turns}");
    }
}
