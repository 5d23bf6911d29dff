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
    turn: Option<MutexGuard<'s, ()>>,
}

impl<'s> Turn<'s> {
    /// Waits for it.
    pub(super) fn of(store: &'s Store) -> Result<Self> {
        store.burst().begin_waiting();
        let turn = store.turn();
        store.burst().end_waiting();
        Ok(Self {
            store,
            turn: Some(turn?),
        })
    }

    /// Whether its sync can be left to one that waits.
    pub(super) fn may_share_sync(store: &Store) -> bool {
        store.burst().is_awaited() && store.engine().undurable() < MOST_UNDURABLE
    }

    /// Ends it, and waits until what was committed in it is on the disk. Those who wait for their
    /// turns go first: one of them will have synced, or this one does when nobody waits any more.
    pub(super) fn end(mut self) -> Result<()> {
        let store = self.store;
        let commit = store.engine().last_staged();
        self.turn = None;
        store.burst().turn_ended();
        let is_staged = || store.engine().is_staged(commit);
        store.burst().wait_while(is_staged);
        if store.engine().is_durable(commit) {
            return Ok(());
        }
        let _turn = store.turn()?;
        store.engine().make_durable(commit)
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        // Whoever staged before this may have to sync now.
        self.turn = None;
        self.store.burst().turn_ended();
    }
}
