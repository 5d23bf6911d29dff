//! Locks of handles in memory, which share a place in memory as processes share a file.

use std::io;
#[cfg(not(ckptdb_schedules))]
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use ckptdb::{Holder, Lock, Locks, Timestamp};
#[cfg(ckptdb_schedules)]
use shuttle::sync::{Arc, Mutex, MutexGuard};
#[cfg(ckptdb_schedules)]
use std::sync::PoisonError;

/// Who has which lock, and who waits, in the order in which they came.
#[derive(Debug, Default)]
struct Known {
    handles: u64,
    held: Vec<(Lock, u64, bool)>,
    line: Vec<u64>,
    vouched: Vec<(u64, u64)>,
}

/// The locks of one place.
#[derive(Clone, Debug, Default)]
pub(crate) struct Table(Arc<Mutex<Known>>);

impl Table {
    fn known(&self) -> MutexGuard<'_, Known> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Those of one more handle.
    pub(crate) fn locks(&self) -> Box<dyn Locks> {
        let mut known = self.known();
        known.handles += 1;
        Box::new(TableLocks {
            table: self.clone(),
            handle: known.handles,
        })
    }
}

#[derive(Debug)]
struct TableLocks {
    table: Table,
    handle: u64,
}

impl TableLocks {
    fn is_mine(&self, held: &(Lock, u64, bool), lock: Lock) -> bool {
        held.0 == lock && held.1 == self.handle
    }
}

impl Locks for TableLocks {
    fn try_lock(&self, lock: Lock, alone: bool) -> io::Result<bool> {
        let mut table = self.table.known();
        let others = |(of, by, is_alone): &(Lock, u64, bool)| {
            *of == lock && *by != self.handle && (alone || *is_alone)
        };
        if table.held.iter().any(others) {
            return Ok(false);
        }
        table.held.retain(|held| !self.is_mine(held, lock));
        table.held.push((lock, self.handle, alone));
        Ok(true)
    }

    fn unlock(&self, lock: Lock) -> io::Result<()> {
        self.table
            .known()
            .held
            .retain(|held| !self.is_mine(held, lock));
        Ok(())
    }

    fn is_taken(&self, lock: Lock) -> io::Result<bool> {
        let others =
            |(of, by, is_alone): &(Lock, u64, bool)| *of == lock && *by != self.handle && *is_alone;
        Ok(self.table.known().held.iter().any(others))
    }

    fn stand_in_line(&self, waits: bool) -> io::Result<()> {
        let line = &mut self.table.known().line;
        line.retain(|handle| *handle != self.handle);
        if waits {
            line.push(self.handle);
        }
        Ok(())
    }

    fn is_awaited(&self) -> io::Result<bool> {
        let first = self.table.known().line.first().copied();
        Ok(first.is_some_and(|first| first != self.handle))
    }

    fn vouch(&self, state: u64) -> io::Result<()> {
        let vouched = &mut self.table.known().vouched;
        vouched.retain(|(by, _)| *by != self.handle);
        vouched.push((self.handle, state));
        Ok(())
    }

    fn is_vouched(&self, state: u64) -> io::Result<bool> {
        let known = self.table.known();
        let mut others = known.vouched.iter().filter(|(by, _)| *by != self.handle);
        Ok(others.any(|(_, of)| *of == state))
    }

    fn are_in_place(&self) -> io::Result<bool> {
        Ok(true)
    }

    fn announce(&self, _: Option<Timestamp>) -> io::Result<()> {
        Ok(())
    }

    fn holder(&self) -> io::Result<Option<Holder>> {
        Ok(None)
    }
}

impl Drop for TableLocks {
    fn drop(&mut self) {
        let mut table = self.table.known();
        table.held.retain(|held| held.1 != self.handle);
        table.line.retain(|handle| *handle != self.handle);
        table.vouched.retain(|(by, _)| *by != self.handle);
    }
}
