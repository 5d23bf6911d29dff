//! Saves from several threads at once: each has a transaction of its own, and one syncs for those
//! before it.

use std::sync::PoisonError;
use std::time::Duration;

use crate::sync::{Condvar, Mutex, MutexGuard};

/// Longer than this nobody leaves his sync to others: one of them may be large, or wait itself.
const PATIENCE: Duration = Duration::from_millis(20);

/// The saves that come at once.
#[derive(Debug, Default)]
pub(super) struct Burst {
    saves: Mutex<Saves>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct Saves {
    /// How many wait for their turn.
    waiting: usize,
    /// Whether one has its turn.
    is_held: bool,
}

impl Burst {
    fn saves(&self) -> MutexGuard<'_, Saves> {
        self.saves.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn now(&self, change: impl FnOnce(&mut Saves)) {
        change(&mut self.saves());
        self.changed.notify_all();
    }

    /// One more waits for its turn.
    pub(super) fn begin_waiting(&self) {
        self.now(|saves| saves.waiting += 1);
    }

    /// One has its turn.
    pub(super) fn begin_turn(&self) {
        self.now(|saves| {
            saves.waiting -= 1;
            saves.is_held = true;
        });
    }

    /// The turn has ended: whoever left its sync to another may have to do it now. Called while
    /// nobody else can have one.
    pub(super) fn end_turn(&self) {
        self.now(|saves| saves.is_held = false);
    }

    /// Whether somebody waits for a turn.
    pub(super) fn is_awaited(&self) -> bool {
        self.saves().waiting > 0
    }

    /// Waits a little while that is so and others have, or wait for, their turns.
    pub(super) fn wait_while(&self, is_so: impl Fn() -> bool) {
        let is_going_on = |saves: &mut Saves| (saves.waiting > 0 || saves.is_held) && is_so();
        let saves = self.saves();
        drop(
            self.changed
                .wait_timeout_while(saves, PATIENCE, is_going_on),
        );
    }
}
