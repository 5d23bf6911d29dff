//! The turn of a save, and who syncs for it.

use crate::error::Result;
use crate::store::Store;
use crate::sync::MutexGuard;

/// Saves that leave their sync to another at most: somebody waits for each of them.
const MOST_UNDURABLE: u64 = 64;

/// A save's turn.
#[derive(Debug)]
pub(super) struct Turn<'s> {
    store: &'s Store,
    /// Given back after it has been said that the turn ends.
    _turn: MutexGuard<'s, ()>,
}

impl<'s> Turn<'s> {
    /// Waits for it.
    pub(super) fn of(store: &'s Store) -> Result<Self> {
        // In a forked process nobody may give back what is locked here.
        store.engine().check_process()?;
        store.burst().begin_waiting();
        let turn = store.turn();
        store.burst().begin_turn();
        Ok(Self {
            store,
            _turn: turn?,
        })
    }

    /// Whether its sync can be left to one that waits.
    pub(super) fn may_share_sync(store: &Store) -> bool {
        store.burst().is_awaited() && store.engine().undurable() < MOST_UNDURABLE
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
        self.store.burst().end_turn();
    }
}
