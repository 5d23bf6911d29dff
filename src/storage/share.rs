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
use std::sync::PoisonError;
use std::time::Duration;

use super::locks::{Lock, Locks};
use crate::error::{Error, Result};
use crate::platform::{self, Clock, SystemClock};
use crate::sync::atomic::{AtomicBool, Ordering};
use crate::sync::{Condvar, Mutex, MutexGuard};

/// How long whoever publishes a state waits for readers, all in all. One that takes longer, or is
/// stopped, notices that its state was replaced.
const PATIENCE: Duration = Duration::from_secs(1);
/// How long a lock is tried for without a pause, and the pauses after that.
const SPINS: u32 = 20;
const SHORTEST_PAUSE: Duration = Duration::from_micros(50);
const LONGEST_PAUSE: Duration = Duration::from_millis(2);

/// This handle's part in it.
#[derive(Debug)]
pub(super) struct Share {
    path: PathBuf,
    /// The process that opened it. One that is forked from it has copies of all this and shares its
    /// locks, which are not to be given back twice.
    process: u32,
    /// None where whoever has the store open has it alone.
    locks: Option<Box<dyn Locks>>,
    /// Whether nobody else may publish anything.
    is_held: AtomicBool,
    state: Mutex<State>,
    changed: Condvar,
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
}

/// A thread reads, as long as this lives: by the epoch in which it began, if others have to know.
#[derive(Debug)]
pub(super) struct Reading<'s>(Option<(&'s Share, u64)>);

/// No other process reads, as long as this lives.
#[derive(Debug)]
pub(super) struct Publishing<'s>(Option<(&'s Share, &'s dyn Locks)>);

/// Pauses between tries, longer and longer, until a deadline.
struct Tries {
    deadline: Duration,
    count: u32,
    pause: Duration,
}

impl Tries {
    fn within(wait: Duration) -> Self {
        Self {
            deadline: SystemClock.elapsed().saturating_add(wait),
            count: 0,
            pause: SHORTEST_PAUSE,
        }
    }

    /// Whether there is time for one more, after a pause.
    fn again(&mut self) -> bool {
        let left = self.deadline.saturating_sub(SystemClock.elapsed());
        if left.is_zero() {
            return false;
        }
        self.count += 1;
        if self.count < SPINS {
            std::thread::yield_now();
        } else {
            std::thread::sleep(self.pause.min(left));
            self.pause = (self.pause * 2).min(LONGEST_PAUSE);
        }
        true
    }
}

/// Tries until there is no time left.
fn take(locks: &dyn Locks, lock: Lock, alone: bool, tries: &mut Tries) -> io::Result<bool> {
    loop {
        if locks.try_lock(lock, alone)? {
            return Ok(true);
        }
        if !tries.again() {
            return Ok(false);
        }
    }
}

impl Share {
    pub(super) fn new(path: &Path, locks: Option<Box<dyn Locks>>) -> Self {
        Self {
            path: path.to_owned(),
            process: platform::process_id(),
            is_held: AtomicBool::new(locks.is_none()),
            locks,
            state: Mutex::new(State::default()),
            changed: Condvar::new(),
        }
    }

    /// Of a handle that has its store alone.
    #[cfg(test)]
    pub(super) fn alone() -> std::sync::Arc<Self> {
        std::sync::Arc::new(Self::new(Path::new("x"), None))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn failed(&self, error: io::Error) -> Error {
        platform::io_error("locking", &self.path, error)
    }

    fn busy(&self, locks: &dyn Locks) -> Error {
        Error::Busy {
            path: self.path.clone(),
            holder: locks.holder().ok().flatten(),
        }
    }

    /// Whether nobody else may publish anything now.
    pub(super) fn is_held(&self) -> bool {
        self.is_held.load(Ordering::SeqCst)
    }

    /// Waits until this handle may write, which it does once it [holds](Self::hold) the turn.
    pub(super) fn begin_write(&self, wait: Duration) -> Result<()> {
        let Some(locks) = self.locks.as_deref() else {
            return Ok(());
        };
        if self.is_held() {
            return Ok(());
        }
        let mut tries = Tries::within(wait);
        let failed = |error| self.failed(error);
        // Whoever has written and wants to again queues behind those who wait already.
        if !take(locks, Lock::Queue, true, &mut tries).map_err(failed)? {
            return Err(self.busy(locks));
        }
        let taken = take(locks, Lock::Write, true, &mut tries);
        let left = locks.unlock(Lock::Queue);
        if !taken.map_err(failed)? {
            return Err(self.busy(locks));
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

    /// What this handle shows is the last state, and stays so until it writes another.
    pub(super) fn hold(&self) {
        self.is_held.store(true, Ordering::SeqCst);
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
        locks.is_some_and(|locks| locks.is_taken(Lock::Queue).unwrap_or(false))
    }

    /// Whether handles other than this one may exist.
    pub(super) fn is_shared(&self) -> bool {
        self.locks.is_some()
    }

    /// Something was committed: who reads from now on reads that.
    pub(super) fn committed(&self) {
        self.state().epoch += 1;
    }

    /// Lets others write. Threads of this handle that read a state from before the last commit are
    /// waited for: others know nothing of them, and may use the pages of such a state. If that
    /// takes too long, they are `overtaken`.
    pub(super) fn end_write(&self, overtaken: impl FnOnce()) {
        let is_to_end = self.is_held() && self.is_own();
        let Some(locks) = self.locks.as_deref().filter(|_| is_to_end) else {
            return;
        };
        let state = self.state();
        let is_old = |state: &mut State| {
            let epoch = state.epoch;
            state.readers.range(..epoch).next().is_some()
        };
        let waited = self.changed.wait_timeout_while(state, PATIENCE, is_old);
        let (mut state, _) = waited.unwrap_or_else(PoisonError::into_inner);
        if is_old(&mut state) {
            drop(state);
            overtaken();
            state = self.state();
        }
        if !state.readers.is_empty() && !state.reads {
            // Nobody publishes anything, so that it is to be had.
            state.reads = locks.try_lock(Lock::Read, false).unwrap_or(false);
        }
        self.is_held.store(false, Ordering::SeqCst);
        drop(state);
        Self::give_back(locks);
    }

    /// Waits until nobody publishes a state, and holds that off as long as the answer lives.
    pub(super) fn begin_read(&self, wait: Duration) -> Result<Reading<'_>> {
        let Some(locks) = self.locks.as_deref() else {
            return Ok(Reading(None));
        };
        let mut state = self.state();
        let failed = |error| self.failed(error);
        let mut tries = Tries::within(wait);
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
                return Err(self.busy(locks));
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
        drop(state);
        self.changed.notify_all();
    }

    /// Holds readers of other handles off while a state is published; those who read are waited
    /// for, but not for ever.
    pub(super) fn publish(&self) -> Publishing<'_> {
        let Some(locks) = self.locks.as_deref() else {
            return Publishing(None);
        };
        // From now on this handle's readers, as they end, leave the lock where it is. Within
        // something that publishes several states, there is nothing more to do.
        if std::mem::replace(&mut self.state().publishes, true) {
            return Publishing(None);
        }
        let mut tries = Tries::within(PATIENCE);
        let mut take = |lock| take(locks, lock, true, &mut tries).unwrap_or(false);
        let is_alone = take(Lock::Publish) && take(Lock::Read);
        if !is_alone {
            tracing::warn!("a reader takes so long that it is not waited for");
        }
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

    use super::super::engine::Engine;
    use super::super::file::FileMedium;
    use super::super::handle::Durability;
    use super::super::locks::FileLocks;
    use super::super::room::Room;
    use super::super::testing::{OPTIONS, engine_in};
    use super::*;
    use crate::format::TableCode;

    const SOON: Duration = Duration::from_millis(30);
    const LONG: Duration = Duration::from_secs(20);

    fn shares<const N: usize>(path: &Path) -> [Arc<Share>; N] {
        std::array::from_fn(|_| {
            let locks = FileLocks::open(path, true).unwrap();
            Arc::new(Share::new(path, Some(Box::new(locks))))
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
    fn the_turn_is_not_given_back_before_the_reads_of_an_older_state_have_ended() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let [one, two] = shares(file.path());
        begin(&one, SOON);
        let older = one.begin_read(SOON).unwrap();
        one.committed();
        let newer = one.begin_read(SOON).unwrap();
        let ender = thread::spawn({
            let one = Arc::clone(&one);
            move || one.end_write(|| panic!("it was not waited for"))
        });
        assert!(is_busy(&two.begin_write(3 * SOON)));
        drop(older);
        begin(&two, LONG);
        ender.join().unwrap();
        // The newer one goes on, and keeps others from publishing.
        let locks = FileLocks::open(file.path(), true).unwrap();
        assert!(!locks.try_lock(Lock::Read, true).unwrap());
        drop(newer);
        assert!(locks.try_lock(Lock::Read, true).unwrap());
        two.end_write(|| ());
        // One that never ends is not waited for for ever.
        locks.unlock(Lock::Read).unwrap();
        begin(&one, SOON);
        let _older = one.begin_read(SOON).unwrap();
        one.committed();
        let mut is_told = false;
        one.end_write(|| is_told = true);
        assert!(is_told);
    }

    /// Two handles on a new store, as two processes have them.
    fn engines(file: &Path) -> [Engine; 2] {
        let medium = || Arc::new(FileMedium::shared(file));
        let one = engine_in(medium(), |_| Ok(()));
        let two = Engine::open(medium(), OPTIONS).unwrap();
        [one, two]
    }

    /// Writes records of so many bytes in a turn of its own.
    fn put(engine: &Engine, keys: std::ops::Range<u64>, len: usize) {
        engine.begin_turn().unwrap();
        let put = engine.write(Durability::Durable, Room::Ordinary, |rows| {
            for key in keys {
                rows.put_record(TableCode::Telemetry, key, &vec![7; len])?;
            }
            Ok(())
        });
        put.unwrap();
        engine.end_turn(false);
    }

    fn record(engine: &Engine, key: u64) -> Option<Vec<u8>> {
        engine
            .read(|rows| rows.record(TableCode::Telemetry, key))
            .unwrap()
    }

    #[test]
    fn what_one_handle_commits_the_other_reads_at_once_in_whatever_order() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let engines = engines(file.path());
        for key in 1..40 {
            let [writer, reader] = [key % 3 == 0, key % 3 != 0].map(usize::from);
            put(&engines[writer], key..key + 1, 3000);
            assert_eq!(record(&engines[reader], key).unwrap().len(), 3000);
            assert_eq!(record(&engines[writer], key).unwrap().len(), 3000);
        }
    }

    #[test]
    fn a_reader_that_is_overtaken_is_told_and_reads_no_page_that_is_not_of_its_state() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let [one, two] = engines(file.path());
        put(&one, 1..60, 3000);
        let two = Arc::new(two);
        let (reads, is_read) = channel();
        let (goes_on, may_go_on) = channel::<()>();
        let reader = thread::spawn({
            let two = Arc::clone(&two);
            move || {
                two.read(|rows| {
                    reads.send(()).unwrap();
                    may_go_on.recv().unwrap();
                    // What they have become is not its business.
                    let read = |key| rows.record(TableCode::Telemetry, key);
                    let found: Result<Vec<_>> = (1..60).map(read).collect();
                    Ok(found.map(|found| found.iter().flatten().all(|row| row.len() == 3000)))
                })
            }
        });
        is_read.recv().unwrap();
        // The last writes where the first state was.
        for len in [2000, 2001, 2002] {
            put(&one, 1..60, len);
        }
        goes_on.send(()).unwrap();
        let told = reader.join().unwrap();
        assert!(matches!(told, Err(Error::Overtaken { .. })), "{told:?}");
        assert_eq!(record(&two, 59).unwrap().len(), 2002);
    }
}
