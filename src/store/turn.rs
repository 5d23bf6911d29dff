//! The turn of a save, and who syncs for it.

use crate::error::Result;
use crate::store::Store;
use crate::sync::MutexGuard;

/// Saves that leave their sync to another at most: somebody waits for each of them.
const MOST_UNDURABLE: u64 = 64;

impl Store {
    /// Waits for the turn to change the store.
    ///
    /// # Errors
    /// [`Error::Busy`](crate::Error::Busy) if another process has it for longer than the options
    /// say.
    pub(super) fn turn(&self) -> Result<Turn<'_>> {
        Turn::of(self, false)
    }
}

/// The turn to change the store: that of one thread of one process.
#[derive(Debug)]
pub(super) struct Turn<'s> {
    store: &'s Store,
    is_save: bool,
    /// Given back after it has been said that the turn ends.
    _changes: MutexGuard<'s, ()>,
}

impl<'s> Turn<'s> {
    /// Waits for it. Saves wait for each other, so that one can sync for those before it.
    ///
    /// # Errors
    /// [`Error::Busy`](crate::Error::Busy) if another process has it for longer than the options
    /// say.
    pub(super) fn of(store: &'s Store, is_save: bool) -> Result<Self> {
        // In a forked process nobody may give back what is locked here.
        store.engine().check_process()?;
        if is_save {
            store.burst().begin_waiting();
        }
        let changes = store.changes()?;
        if is_save {
            store.burst().begin_turn();
        }
        let turn = Self {
            store,
            is_save,
            _changes: changes,
        };
        if store.engine().begin_turn()? {
            store.unsettle();
        }
        Ok(turn)
    }

    /// Whether its sync can be left to one that waits.
    pub(super) fn may_share_sync(store: &Store) -> bool {
        let engine = store.engine();
        let can_share = store.burst().is_awaited() && engine.undurable() < MOST_UNDURABLE;
        can_share && !engine.is_awaited()
    }

    /// Ends it, and waits until what it has staged is on the disk, if it has left its sync to
    /// another: those who wait for their turns go first, for a little while.
    pub(super) fn end(self, staged: Option<u64>) -> Result<()> {
        let store = self.store;
        drop(self);
        let Some(commit) = staged else {
            return Ok(());
        };
        let engine = store.engine();
        store.burst().wait_while(|| engine.is_staged(commit));
        // Without a turn, which another may hold for long: its own stages have notes.
        engine.make_durable(commit)
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        // Who waits for a turn in this process goes on with it, unless another process waits.
        let keep = self.store.burst().is_awaited();
        self.store.engine().end_turn(keep);
        if self.is_save {
            self.store.burst().end_turn();
        }
    }
}
