//! The locks by which several processes share a store.

use std::fmt;
use std::fs::{File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::error::Holder;
use crate::platform::{self, Clock, SystemClock};
use crate::time::Timestamp;

/// What is locked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Lock {
    /// Held by whoever may write.
    Write,
    /// Held by whoever is about to publish a state, and asked for by whoever is about to read: the
    /// one that publishes need not wait for ever for readers that take turns.
    Publish,
    /// Held together by those who read, and alone by the one that publishes.
    Read,
}

/// The locks of one handle on a store, which exclude those of all others, in this process and in
/// others. They end with the handle, and with the process.
pub trait Locks: fmt::Debug + Send + Sync {
    /// Takes a lock, alone or together with others who do so, or says that it is not to be had now.
    /// What the handle has of it already is changed.
    fn try_lock(&self, lock: Lock, alone: bool) -> io::Result<bool>;

    /// Gives a lock back; nothing if the handle has it not.
    fn unlock(&self, lock: Lock) -> io::Result<()>;

    /// Whether another handle has this lock for itself alone.
    fn is_taken(&self, lock: Lock) -> io::Result<bool>;

    /// Gets in line for [`Lock::Write`], behind all who are in it already, or leaves the line.
    fn stand_in_line(&self, waits: bool) -> io::Result<()>;

    /// Whether another handle is in line: before this one, if this one is in line itself.
    fn is_awaited(&self) -> io::Result<bool>;

    /// Says, as long as this handle lives or says so of another, that the disk has the state of
    /// this number.
    fn vouch(&self, state: u64) -> io::Result<()>;

    /// Whether another handle says so.
    fn is_vouched(&self, state: u64) -> io::Result<bool>;

    /// Whether what is locked is still where it was opened.
    fn are_in_place(&self) -> io::Result<bool>;

    /// Says, with [`Lock::Write`] in hand, that this process has it since then; with nothing, that
    /// it has not any more.
    fn announce(&self, since: Option<Timestamp>) -> io::Result<()>;

    /// Who said so.
    fn holder(&self) -> io::Result<Option<Holder>>;
}

/// The bytes that are locked lie far beyond the end of any file.
const FIRST: i64 = 1 << 60;
/// A holder shows itself by the place of one more lock: this, its process in the low bits, and the
/// seconds since 1970 above. Nothing of it is in the file, and nothing of it stays.
const HOLDERS: i64 = 1 << 61;
const PROCESS_BITS: u32 = 24;
/// A handle vouches for a state by the place of a lock: this and the state's number.
const STATES: i64 = 3 << 60;
const STATE_BITS: u32 = 60;
/// Whoever is in line shows itself by the place of a lock too: this, and the microseconds since the
/// machine was started at which it came.
const LINE: i64 = 1 << 62;

/// The locks of an open file.
#[derive(Debug)]
pub(super) struct FileLocks {
    file: File,
    /// Where it was opened; absolute, so that it stays that wherever the process goes.
    place: PathBuf,
    writable: bool,
    shown: Mutex<Shown>,
}

/// What a handle shows by the places of locks.
#[derive(Debug, Default)]
struct Shown {
    holds: Option<i64>,
    waits: Option<i64>,
    vouches: Option<i64>,
}

impl FileLocks {
    /// Opens the file at an absolute path once more: these locks are that opening's.
    pub(super) fn open(path: &Path, writable: bool) -> io::Result<Self> {
        let file = OpenOptions::new().read(true).write(writable).open(path)?;
        Ok(Self {
            file,
            place: path.to_owned(),
            writable,
            shown: Mutex::default(),
        })
    }

    fn at(lock: Lock) -> i64 {
        FIRST + lock as i64
    }

    fn of_state(state: u64) -> i64 {
        let low = state & ((1 << STATE_BITS) - 1);
        STATES | i64::try_from(low).unwrap_or_default()
    }

    fn shown(&self) -> MutexGuard<'_, Shown> {
        self.shown.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Locks for FileLocks {
    fn try_lock(&self, lock: Lock, alone: bool) -> io::Result<bool> {
        if alone && !self.writable {
            return Err(io::ErrorKind::ReadOnlyFilesystem.into());
        }
        match platform::try_lock_at(&self.file, Self::at(lock), alone) {
            // Some read-only file systems have no locks, and nobody can write there.
            Err(_) if !self.writable => Ok(true),
            tried => tried,
        }
    }

    fn unlock(&self, lock: Lock) -> io::Result<()> {
        let given_back = platform::unlock_at(&self.file, Self::at(lock));
        given_back.or_else(|error| if self.writable { Err(error) } else { Ok(()) })
    }

    fn is_taken(&self, lock: Lock) -> io::Result<bool> {
        match platform::locked_by_others(&self.file, (Self::at(lock), 1)) {
            Err(_) if !self.writable => Ok(false),
            found => Ok(found?.is_some()),
        }
    }

    fn stand_in_line(&self, waits: bool) -> io::Result<()> {
        if waits && !self.writable {
            return Err(io::ErrorKind::ReadOnlyFilesystem.into());
        }
        let mut shown = self.shown();
        if let Some(at) = shown.waits.take() {
            platform::unlock_at(&self.file, at)?;
        }
        if waits {
            let mut at = LINE + platform::micros_since_start();
            // Who came in the same microsecond was before.
            while !platform::try_lock_at(&self.file, at, true)? {
                at += 1;
            }
            shown.waits = Some(at);
        }
        Ok(())
    }

    fn is_awaited(&self) -> io::Result<bool> {
        let end = self.shown().waits.unwrap_or(i64::MAX);
        Ok(platform::locked_by_others(&self.file, (LINE, end - LINE))?.is_some())
    }

    fn vouch(&self, state: u64) -> io::Result<()> {
        let mut shown = self.shown();
        let at = Self::of_state(state);
        if shown.vouches == Some(at) {
            return Ok(());
        }
        if let Some(at) = shown.vouches.take() {
            platform::unlock_at(&self.file, at)?;
        }
        if platform::try_lock_at(&self.file, at, true)? {
            shown.vouches = Some(at);
        }
        Ok(())
    }

    fn is_vouched(&self, state: u64) -> io::Result<bool> {
        let place = (Self::of_state(state), 1);
        Ok(platform::locked_by_others(&self.file, place)?.is_some())
    }

    fn are_in_place(&self) -> io::Result<bool> {
        match self.place.metadata() {
            Ok(found) => Ok(platform::is_same_file(&self.file.metadata()?, &found)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error),
        }
    }

    fn announce(&self, since: Option<Timestamp>) -> io::Result<()> {
        let mut shown = self.shown();
        if let Some(at) = shown.holds.take() {
            platform::unlock_at(&self.file, at)?;
        }
        if let Some(since) = since {
            let seconds = (since.as_millis() / 1000).clamp(0, (1 << 36) - 1);
            let process = i64::from(platform::process_id()) & ((1 << PROCESS_BITS) - 1);
            let at = HOLDERS | seconds << PROCESS_BITS | process;
            platform::try_lock_at(&self.file, at, true)?;
            shown.holds = Some(at);
        }
        Ok(())
    }

    fn holder(&self) -> io::Result<Option<Holder>> {
        let Some(at) = platform::locked_by_others(&self.file, (HOLDERS, STATES - HOLDERS))? else {
            return Ok(None);
        };
        let process = u32::try_from(at & ((1 << PROCESS_BITS) - 1)).unwrap_or_default();
        let seconds = (at ^ HOLDERS) >> PROCESS_BITS;
        let now = SystemClock.now().as_millis() / 1000;
        let held_for = u64::try_from(now - seconds).unwrap_or(0);
        Ok(Some(Holder {
            process,
            held_for: Duration::from_secs(held_for),
            program: platform::program_of(process),
        }))
    }
}

#[cfg(target_os = "linux")]
#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_may_write_is_told_to_the_others_and_no_byte_of_it_is_in_the_file() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let open = || FileLocks::open(file.path(), true).unwrap();
        let (one, two) = (open(), open());
        let own = platform::process_id();
        let since = Timestamp::from_millis(SystemClock.now().as_millis() - 90_000);
        assert!(one.try_lock(Lock::Write, true).unwrap());
        one.announce(Some(since)).unwrap();
        let holder = two.holder().unwrap().unwrap();
        assert_eq!(
            (holder.process, &holder.program),
            (own, &platform::program_of(own))
        );
        assert!((90..=100).contains(&holder.held_for.as_secs()), "{holder}");
        assert!(two.is_taken(Lock::Write).unwrap());
        assert!(!two.is_taken(Lock::Read).unwrap());
        assert!(!one.is_taken(Lock::Write).unwrap());
        let told = holder.to_string();
        assert!(told.contains(&own.to_string()), "{told}");
        one.announce(None).unwrap();
        assert_eq!(two.holder().unwrap(), None);
        one.announce(Some(since)).unwrap();
        drop(one);
        assert_eq!(two.holder().unwrap(), None);
        assert!(two.try_lock(Lock::Write, true).unwrap());
        assert_eq!(file.path().metadata().unwrap().len(), 0);
    }

    #[test]
    fn who_comes_into_the_line_is_behind_all_who_are_in_it() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let handles: Vec<_> = (0..20)
            .map(|_| FileLocks::open(file.path(), true).unwrap())
            .collect();
        let outside = FileLocks::open(file.path(), true).unwrap();
        assert!(!outside.is_awaited().unwrap());
        for handle in &handles {
            handle.stand_in_line(true).unwrap();
        }
        for handle in &handles {
            assert!(outside.is_awaited().unwrap());
            assert!(!handle.is_awaited().unwrap());
            let waiting: Vec<_> = handles.iter().filter(|other| other.waits()).collect();
            let behind = waiting.iter().filter(|other| other.is_awaited().unwrap());
            assert_eq!(behind.count(), waiting.len() - 1);
            handle.stand_in_line(false).unwrap();
        }
        assert!(!outside.is_awaited().unwrap());
        // One that was killed is in nobody's way.
        handles[3].stand_in_line(true).unwrap();
        handles[4].stand_in_line(true).unwrap();
        assert!(handles[4].is_awaited().unwrap());
        drop(handles);
        assert!(!outside.is_awaited().unwrap());
    }

    #[test]
    fn a_state_is_vouched_for_by_a_handle_that_lives_and_says_so_of_no_other() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let open = || FileLocks::open(file.path(), true).unwrap();
        let (one, two) = (open(), open());
        one.vouch(u64::MAX - 7).unwrap();
        assert!(two.is_vouched(u64::MAX - 7).unwrap());
        assert!(!two.is_vouched(u64::MAX - 8).unwrap());
        // It is no line, and nobody's turn.
        assert!(!two.is_awaited().unwrap());
        assert_eq!(two.holder().unwrap(), None);
        one.vouch(8).unwrap();
        assert!(!two.is_vouched(u64::MAX - 7).unwrap() && two.is_vouched(8).unwrap());
        drop(one);
        assert!(!two.is_vouched(8).unwrap());
    }

    impl FileLocks {
        fn waits(&self) -> bool {
            self.shown().waits.is_some()
        }
    }
}
