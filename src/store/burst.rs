//! Saves from several threads at once: each has a transaction of its own, and the last of those
//! that wait syncs for all.

use std::sync::PoisonError;

use crate::sync::{Condvar, Mutex, MutexGuard};

/// How many saves wait for their turn.
#[derive(Debug, Default)]
pub(super) struct Burst {
    waiting: Mutex<usize>,
    changed: Condvar,
}

impl Burst {
    fn waiting(&self) -> MutexGuard<'_, usize> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn now(&self, change: impl FnOnce(&mut usize)) {
        change(&mut self.waiting());
        self.changed.notify_all();
    }

    /// One more waits for its turn.
    pub(super) fn begin_waiting(&self) {
        self.now(|waiting| *waiting += 1);
    }

    /// One has its turn.
    pub(super) fn end_waiting(&self) {
        self.now(|waiting| *waiting -= 1);
    }

    /// A turn has ended: whoever left its sync to another may have to do it now.
    pub(super) fn turn_ended(&self) {
        self.now(|_| ());
    }

    /// Whether somebody waits for a turn.
    pub(super) fn is_awaited(&self) -> bool {
        *self.waiting() > 0
    }

    /// Waits while that is so and others have their turns.
    pub(super) fn wait_while(&self, is_so: impl Fn() -> bool) {
        let mut waiting = self.waiting();
        while *waiting > 0 && is_so() {
            let waited = self.changed.wait(waiting);
            waiting = waited.unwrap_or_else(PoisonError::into_inner);
        }
    }
}
