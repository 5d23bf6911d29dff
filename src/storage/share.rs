//! How several processes share a store: who may write, and when a reader's state may be replaced.
//!
//! Between two states that it publishes, the engine touches no page that the first one leads to. A
//! reader therefore needs no more than that no other state is published while it reads: it holds
//! [`Lock::Read`] together with other readers, for one closure at a time. Whoever writes holds
//! [`Lock::Write`] for a turn, and `Read` alone for the moment in which it writes the header. See
//! `docs/sharing.md`.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool as Flag;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use super::locks::{Lock, Locks};
use super::waiting::{Tries, take, wait_in_line};
use crate::error::{Error, Result};
use crate::platform::{self, Clock, SystemClock};
use crate::sync::atomic::{AtomicBool, Ordering};
use crate::sync::{Condvar, Mutex, MutexGuard};

/// How long whoever publishes a state waits for readers, all in all. One that takes longer, or is
/// stopped, notices that its state was replaced.
const PATIENCE: Duration = Duration::from_secs(1);
/// The same after one was not waited for.
const LITTLE_PATIENCE: Duration = Duration::from_millis(5);

/// This handle's part in it.
#[derive(Debug)]
pub(super) struct Share {
    path: PathBuf,
    /// The process that opened it. One that is forked from it has copies of all this and shares its
    /// locks, which are not to be given back twice.
    process: u32,
    /// None where whoever has the store open has it alone.
    locks: Option<Box<dyn Locks>>,
    /// Ends what waits for others, once it is set.
    stop: Option<Arc<Flag>>,
    /// Whether nobody else may publish anything.
    is_held: AtomicBool,
    /// Whether a reader of another handle was not waited for when the last state was published.
    has_lost_patience: AtomicBool,
    state: Mutex<State>,
    changed: Condvar,
}

/// What follows when the readers of older states have ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Ending {
    #[default]
    Nothing,
    /// A thread waits for it, and gives the turn back.
    Awaited,
    /// The last of them gives the turn back.
    Owed,
}

#[derive(Debug, Default)]
struct State {
    /// How many states this handle has published or staged.
    epoch: u64,
    /// How many threads read, by the epoch in which they began.
    readers: BTreeMap<u64, usize>,
    /// Whether [`Lock::Read`] is held for them.
    reads: bool,
    /// Whether it is held alone.
    publishes: bool,
    ending: Ending,
}

impl State {
    /// Whether a thread reads a state from before the last commit.
    fn has_older_readers(&self) -> bool {
        self.readers.range(..self.epoch).next().is_some()
    }
}

/// A thread reads, as long as this lives: by the epoch in which it began, if others have to know.
#[derive(Debug)]
pub(super) struct Reading<'s>(Option<(&'s Share, u64)>);

/// No other process reads, as long as this lives.
#[derive(Debug)]
pub(super) struct Publishing<'s>(Option<(&'s Share, &'s dyn Locks)>);

impl Share {
    pub(super) fn new(path: &Path, locks: Option<Box<dyn Locks>>, stop: Option<Arc<Flag>>) -> Self {
        Self {
            path: path.to_owned(),
            process: platform::process_id(),
            is_held: AtomicBool::new(locks.is_none()),
            locks,
            stop,
            has_lost_patience: AtomicBool::new(false),
            state: Mutex::new(State::default()),
            changed: Condvar::new(),
        }
    }

    /// Of a handle that has its store alone.
    #[cfg(test)]
    pub(super) fn alone() -> Arc<Self> {
        Arc::new(Self::new(Path::new("x"), None, None))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn failed(&self, error: io::Error) -> Error {
        platform::io_error("locking", &self.path, error)
    }

    /// Tries for so long, or until it is to stop.
    fn tries(&self, wait: Duration) -> Tries {
        Tries::within(wait).until(self.stop.clone())
    }

    /// Why nobody is waited for any longer.
    fn gave_up(&self, locks: &dyn Locks, tries: &Tries) -> Error {
        if tries.are_stopped() {
            return Error::Cancelled {
                doing: "waiting for another process",
            };
        }
        Error::Busy {
            path: self.path.clone(),
            holder: locks.holder().ok().flatten(),
        }
    }

    /// Whether nobody else may publish anything now.
    pub(super) fn is_held(&self) -> bool {
        self.is_held.load(Ordering::SeqCst)
    }

    /// Refuses a file that is not the one that is locked any more.
    pub(super) fn check_file(&self) -> Result<()> {
        let Some(locks) = self.locks.as_deref() else {
            return Ok(());
        };
        match locks.are_in_place() {
            Ok(true) => Ok(()),
            Ok(false) => Err(Error::Replaced {
                path: self.path.clone(),
            }),
            Err(error) => Err(platform::io_error("opening", &self.path, error)),
        }
    }

    /// Waits until this handle may write, which it does once it [holds](Self::hold) the turn.
    pub(super) fn begin_write(&self, wait: Duration) -> Result<()> {
        let Some(locks) = self.locks.as_deref() else {
            return Ok(());
        };
        if self.keeps() {
            return Ok(());
        }
        let mut tries = self.tries(wait);
        let waited = wait_in_line(locks, &mut tries);
        // Whoever has written and wants to again comes behind those who wait already.
        let left = locks.stand_in_line(false);
        if !waited.map_err(|error| self.failed(error))? {
            return Err(self.gave_up(locks, &tries));
        }
        if let Err(error) = left {
            Self::give_back(locks);
            return Err(self.failed(error));
        }
        if let Err(error) = locks.announce(Some(SystemClock.now())) {
            tracing::debug!(%error, "others are not told who writes");
        }
        Ok(())
    }

    /// Whether the turn is still this handle's; it is not owed to anybody then.
    fn keeps(&self) -> bool {
        let mut state = self.state();
        state.ending = Ending::Nothing;
        self.is_held()
    }

    /// Whether the turn is held only for readers of an older state. It is not theirs to give back
    /// any more.
    pub(super) fn take_owed(&self) -> bool {
        std::mem::take(&mut self.state().ending) == Ending::Owed
    }

    /// What this handle shows is the last state, and stays so until it writes another.
    pub(super) fn hold(&self) {
        self.is_held.store(true, Ordering::SeqCst);
    }

    /// Gives a turn back that was not made use of.
    pub(super) fn decline(&self) {
        if let Some(locks) = self.locks.as_deref() {
            Self::give_back(locks);
        }
    }

    fn give_back(locks: &dyn Locks) {
        let told = locks.announce(None);
        if let Err(error) = locks.unlock(Lock::Write).and(told) {
            tracing::warn!(%error, "the store could not be given back to others");
        }
    }

    /// Whether this is the process that opened it, and not one that was forked from that.
    pub(super) fn is_own(&self) -> bool {
        platform::process_id() == self.process
    }

    /// Whether another handle waits to write.
    pub(super) fn is_awaited(&self) -> bool {
        let locks = self.locks.as_deref();
        locks.is_some_and(|locks| locks.is_awaited().unwrap_or(false))
    }

    /// Whether handles other than this one may exist.
    pub(super) fn is_shared(&self) -> bool {
        self.locks.is_some()
    }

    /// This state is on the disk.
    pub(super) fn vouch(&self, state: u64) {
        if let Some(locks) = self.locks.as_deref()
            && let Err(error) = locks.vouch(state)
        {
            tracing::debug!(%error, "others are not told that the disk has it");
        }
    }

    /// Whether another handle says so.
    pub(super) fn is_vouched(&self, state: u64) -> bool {
        let locks = self.locks.as_deref();
        locks.is_some_and(|locks| locks.is_vouched(state).unwrap_or(false))
    }

    /// Something was committed: who reads from now on reads that.
    pub(super) fn committed(&self) {
        self.state().epoch += 1;
    }

    /// Lets others write. Threads of this handle that read a state from before the last commit go
    /// first: others know nothing of them, and may use the pages of such a state. If nobody waits,
    /// the last of them gives the turn back; else they are waited for, and if that takes too long,
    /// they are `overtaken`.
    pub(super) fn end_write(&self, overtaken: impl FnOnce()) {
        let is_to_end = self.is_held() && self.is_own();
        let Some(locks) = self.locks.as_deref().filter(|_| is_to_end) else {
            return;
        };
        let mut state = self.state();
        if state.has_older_readers() && !locks.is_awaited().unwrap_or(false) {
            state.ending = Ending::Owed;
            return;
        }
        state.ending = Ending::Awaited;
        let waited = self
            .changed
            .wait_timeout_while(state, PATIENCE, |state| state.has_older_readers());
        let (mut state, _) = waited.unwrap_or_else(PoisonError::into_inner);
        state.ending = Ending::Nothing;
        if state.has_older_readers() {
            drop(state);
            overtaken();
            state = self.state();
        }
        self.let_go(&mut state, locks);
    }

    /// Gives the turn back.
    fn let_go(&self, state: &mut State, locks: &dyn Locks) {
        if !state.readers.is_empty() && !state.reads {
            // Nobody publishes anything, so that it is to be had.
            state.reads = locks.try_lock(Lock::Read, false).unwrap_or(false);
        }
        self.is_held.store(false, Ordering::SeqCst);
        Self::give_back(locks);
    }

    /// Waits until nobody publishes a state, and holds that off as long as the answer lives.
    pub(super) fn begin_read(&self, wait: Duration) -> Result<Reading<'_>> {
        let Some(locks) = self.locks.as_deref() else {
            return Ok(Reading(None));
        };
        let mut state = self.state();
        let failed = |error| self.failed(error);
        let mut tries = self.tries(wait);
        loop {
            if self.is_held() {
                return Ok(self.reading(&mut state));
            }
            if state.reads && !locks.is_taken(Lock::Publish).map_err(failed)? {
                return Ok(self.reading(&mut state));
            }
            if !state.reads && locks.try_lock(Lock::Publish, false).map_err(failed)? {
                let taken = locks.try_lock(Lock::Read, false);
                locks.unlock(Lock::Publish).map_err(failed)?;
                if taken.map_err(failed)? {
                    state.reads = true;
                    return Ok(self.reading(&mut state));
                }
            }
            // Somebody publishes, or waits for our own readers to end.
            drop(state);
            if !tries.again() {
                return Err(self.gave_up(locks, &tries));
            }
            state = self.state();
        }
    }

    fn reading(&self, state: &mut State) -> Reading<'_> {
        let epoch = state.epoch;
        *state.readers.entry(epoch).or_default() += 1;
        Reading(Some((self, epoch)))
    }

    fn end_read(&self, epoch: u64) {
        let mut state = self.state();
        if let Some(count) = state.readers.get_mut(&epoch) {
            *count -= 1;
            if *count == 0 {
                state.readers.remove(&epoch);
            }
        }
        if state.readers.is_empty() && state.reads {
            state.reads = false;
            if !state.publishes
                && let Some(locks) = &self.locks
                && let Err(error) = locks.unlock(Lock::Read)
            {
                tracing::warn!(%error, "a lock for reading could not be given back");
            }
        }
        if state.ending == Ending::Owed
            && !state.has_older_readers()
            && let Some(locks) = self.locks.as_deref()
        {
            state.ending = Ending::Nothing;
            self.let_go(&mut state, locks);
        }
        // Nearly always nobody does, and telling nobody is a system call all the same.
        if state.ending == Ending::Awaited {
            self.changed.notify_all();
        }
    }

    /// Holds readers of other handles off while a state is published; those who read are waited
    /// for, but not for ever.
    pub(super) fn publish(&self) -> Publishing<'_> {
        let Some(locks) = self.locks.as_deref() else {
            return Publishing(None);
        };
        if !self.is_own() {
            return Publishing(None);
        }
        // From now on this handle's readers, as they end, leave the lock where it is. Within
        // something that publishes several states, there is nothing more to do.
        if std::mem::replace(&mut self.state().publishes, true) {
            return Publishing(None);
        }
        // One that is stopped is waited for once, and not for each state.
        let patience = if self.has_lost_patience.load(Ordering::SeqCst) {
            LITTLE_PATIENCE
        } else {
            PATIENCE
        };
        let mut tries = Tries::within(patience);
        let mut take = |lock| take(locks, lock, true, &mut tries).unwrap_or(false);
        let is_alone = take(Lock::Publish) && take(Lock::Read);
        if !is_alone {
            tracing::warn!("a reader takes so long that it is not waited for");
        }
        self.has_lost_patience.store(!is_alone, Ordering::SeqCst);
        Publishing(Some((self, locks)))
    }
}

impl Drop for Reading<'_> {
    fn drop(&mut self) {
        if let Some((share, epoch)) = self.0.filter(|(share, _)| share.is_own()) {
            share.end_read(epoch);
        }
    }
}

impl Drop for Publishing<'_> {
    fn drop(&mut self) {
        let Some((share, locks)) = self.0.take().filter(|(share, _)| share.is_own()) else {
            return;
        };
        let mut state = share.state();
        state.publishes = false;
        // What threads of this handle hold together goes on being held.
        let given_back = if state.reads {
            locks.try_lock(Lock::Read, false).map(drop)
        } else {
            locks.unlock(Lock::Read)
        };
        drop(state);
        let given_back = given_back.and_then(|()| locks.unlock(Lock::Publish));
        if let Err(error) = given_back {
            tracing::warn!(%error, "readers could not be let in again");
        }
    }
}

#[cfg(target_os = "linux")]
#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::mpsc::channel;
    use std::thread;

    use super::super::locks::FileLocks;
    use super::super::waiting::COURTESY;
    use super::*;

    const SOON: Duration = Duration::from_millis(30);
    const LONG: Duration = Duration::from_secs(20);

    fn shares<const N: usize>(path: &Path) -> [Arc<Share>; N] {
        std::array::from_fn(|_| {
            let locks = FileLocks::open(path, true).unwrap();
            Arc::new(Share::new(path, Some(Box::new(locks)), None))
        })
    }

    fn begin(share: &Share, wait: Duration) {
        share.begin_write(wait).unwrap();
        share.hold();
    }

    fn is_busy<T>(result: &Result<T>) -> bool {
        matches!(result, Err(Error::Busy { .. }))
    }

    #[test]
    fn one_writes_while_others_read_and_nobody_reads_while_a_state_is_published() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let [one, two] = shares(file.path());
        begin(&one, SOON);
        assert!(one.is_held() && !two.is_held());
        assert!(is_busy(&two.begin_write(SOON)));
        let reading = two.begin_read(SOON).unwrap();
        // One who publishes waits for that.
        let (publishes, has_published) = channel();
        let publisher = thread::spawn({
            let one = Arc::clone(&one);
            move || {
                let publishing = one.publish();
                publishes.send(()).unwrap();
                thread::sleep(4 * SOON);
                drop(publishing);
            }
        });
        assert!(has_published.recv_timeout(SOON).is_err());
        // Who comes now waits behind it, in this handle and in others.
        let [three] = shares(file.path());
        assert!(is_busy(&three.begin_read(SOON).map(drop)));
        assert!(is_busy(&two.begin_read(SOON).map(drop)));
        drop(reading);
        has_published.recv().unwrap();
        assert!(is_busy(&two.begin_read(SOON).map(drop)));
        drop((
            two.begin_read(LONG).unwrap(),
            three.begin_read(LONG).unwrap(),
        ));
        publisher.join().unwrap();
        one.end_write(|| panic!("nobody reads"));
        begin(&two, SOON);
        two.end_write(|| ());
    }

    #[test]
    fn whoever_gives_the_turn_back_comes_after_those_who_wait() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let [one, two] = shares(file.path());
        for _ in 0..20 {
            begin(&one, LONG);
            let (tells, told) = channel();
            let waiter = thread::spawn({
                let two = Arc::clone(&two);
                move || {
                    begin(&two, LONG);
                    tells.send(()).unwrap();
                    two.end_write(|| ());
                }
            });
            while !one.is_awaited() {
                thread::yield_now();
            }
            one.end_write(|| ());
            begin(&one, LONG);
            told.try_recv().unwrap();
            one.end_write(|| ());
            waiter.join().unwrap();
        }
    }

    #[test]
    fn who_is_stopped_in_line_is_gone_round() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let [one, two] = shares(file.path());
        let stopped = FileLocks::open(file.path(), true).unwrap();
        stopped.stand_in_line(true).unwrap();
        begin(&one, LONG);
        // Not before the turn has ended, however long that takes.
        assert!(is_busy(&two.begin_write(2 * COURTESY)));
        one.end_write(|| ());
        begin(&two, LONG);
        two.end_write(|| ());
    }

    #[test]
    fn a_wait_that_is_to_stop_ends_and_leaves_the_line() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let [one, three] = shares(file.path());
        let stop = Arc::new(Flag::new(false));
        let locks = FileLocks::open(file.path(), true).unwrap();
        let two = Share::new(file.path(), Some(Box::new(locks)), Some(Arc::clone(&stop)));
        begin(&one, LONG);
        let stopper = thread::spawn({
            let (one, stop) = (Arc::clone(&one), Arc::clone(&stop));
            move || {
                while !one.is_awaited() {
                    thread::yield_now();
                }
                stop.store(true, Ordering::SeqCst);
            }
        });
        let ended = two.begin_write(LONG);
        assert!(matches!(ended, Err(Error::Cancelled { .. })), "{ended:?}");
        stopper.join().unwrap();
        assert!(!one.is_awaited());
        one.end_write(|| ());
        // What is free is had without a wait.
        begin(&two, LONG);
        two.end_write(|| ());
        begin(&three, SOON);
        three.end_write(|| ());
    }

    #[test]
    fn the_turn_is_not_given_back_before_the_reads_of_an_older_state_have_ended() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let [one, two] = shares(file.path());
        // While nobody waits, the last of them gives it back.
        begin(&one, SOON);
        let older = one.begin_read(SOON).unwrap();
        one.committed();
        one.end_write(|| panic!("nobody waits"));
        assert!(is_busy(&two.begin_write(SOON)));
        drop(older);
        begin(&two, LONG);
        two.end_write(|| ());
        // Or the turn goes on.
        begin(&one, SOON);
        let older = one.begin_read(SOON).unwrap();
        one.committed();
        one.end_write(|| panic!("nobody waits"));
        begin(&one, SOON);
        drop(older);
        assert!(is_busy(&two.begin_write(SOON)));
        // Where somebody waits, they are waited for.
        let older = one.begin_read(SOON).unwrap();
        one.committed();
        let newer = one.begin_read(SOON).unwrap();
        let waiter = FileLocks::open(file.path(), true).unwrap();
        waiter.stand_in_line(true).unwrap();
        let ender = thread::spawn({
            let one = Arc::clone(&one);
            move || one.end_write(|| panic!("it was not waited for"))
        });
        assert!(is_busy(&two.begin_write(3 * SOON)));
        drop(older);
        ender.join().unwrap();
        begin(&two, LONG);
        // The newer one goes on, and keeps others from publishing.
        let locks = FileLocks::open(file.path(), true).unwrap();
        assert!(!locks.try_lock(Lock::Read, true).unwrap());
        drop(newer);
        assert!(locks.try_lock(Lock::Read, true).unwrap());
        two.end_write(|| ());
        // One that never ends is not waited for for ever.
        locks.unlock(Lock::Read).unwrap();
        begin(&one, LONG);
        let _older = one.begin_read(SOON).unwrap();
        one.committed();
        let mut is_told = false;
        one.end_write(|| {
            // Before anybody else can write.
            assert!(is_busy(&two.begin_write(SOON)));
            is_told = true;
        });
        assert!(is_told);
    }

    #[test]
    fn a_reader_that_is_stopped_is_waited_for_once() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let [one, two] = shares(file.path());
        let stopped = two.begin_read(SOON).unwrap();
        begin(&one, SOON);
        drop(one.publish());
        assert!(one.has_lost_patience.load(Ordering::SeqCst));
        for _ in 0..10 {
            drop(one.publish());
        }
        assert!(one.has_lost_patience.load(Ordering::SeqCst));
        drop(stopped);
        drop(one.publish());
        assert!(!one.has_lost_patience.load(Ordering::SeqCst));
        one.end_write(|| ());
    }

    #[test]
    fn the_wait_begins_anew_with_each_holder() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let [one] = shares(file.path());
        let other = FileLocks::open(file.path(), true).unwrap();
        assert!(other.try_lock(Lock::Write, true).unwrap());
        let wait = 20 * SOON;
        // Somebody who has it is told of a while later.
        let teller = thread::spawn(move || {
            thread::sleep(5 * SOON);
            other.announce(Some(SystemClock.now())).unwrap();
            thread::sleep(17 * SOON);
        });
        one.begin_write(wait).unwrap();
        one.end_write(|| ());
        teller.join().unwrap();
    }
}
