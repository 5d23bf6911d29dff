//! The locks by which several processes share a store.

use std::fmt;
use std::fs::{File, OpenOptions};
use std::io;
use std::path::Path;
use std::time::Duration;

use crate::error::Holder;
use crate::platform::{self, Clock, SystemClock};
use crate::time::Timestamp;

/// What is locked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Lock {
    /// Held by whoever is next to write, as long as it waits.
    Queue,
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

/// The locks of an open file.
#[derive(Debug)]
pub(super) struct FileLocks {
    file: File,
    writable: bool,
    announced: std::sync::Mutex<Option<i64>>,
}

impl FileLocks {
    /// Opens the file once more: these locks are that opening's.
    pub(super) fn open(path: &Path, writable: bool) -> io::Result<Self> {
        let file = OpenOptions::new().read(true).write(writable).open(path)?;
        Ok(Self {
            file,
            writable,
            announced: std::sync::Mutex::new(None),
        })
    }

    fn at(lock: Lock) -> i64 {
        FIRST + lock as i64
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

    fn announce(&self, since: Option<Timestamp>) -> io::Result<()> {
        let mut announced = self
            .announced
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        if let Some(at) = announced.take() {
            platform::unlock_at(&self.file, at)?;
        }
        if let Some(since) = since {
            let seconds = (since.as_millis() / 1000).clamp(0, (1 << 36) - 1);
            let process = i64::from(platform::process_id()) & ((1 << PROCESS_BITS) - 1);
            let at = HOLDERS | seconds << PROCESS_BITS | process;
            platform::try_lock_at(&self.file, at, true)?;
            *announced = Some(at);
        }
        Ok(())
    }

    fn holder(&self) -> io::Result<Option<Holder>> {
        let Some(at) = platform::locked_by_others(&self.file, (HOLDERS, HOLDERS))? else {
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
        assert!(!two.is_taken(Lock::Queue).unwrap());
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
}
