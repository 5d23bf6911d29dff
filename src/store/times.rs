//! Where a save's time goes.

use std::sync::Arc;
use std::time::Duration;

use crate::platform::Clock;

/// Where the time of a save went.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct SaveTimes {
    /// How long its caller waited: for all of it, or until what it refers to was copied and handed
    /// over.
    pub blocked: Duration,
    /// How long it then waited for other saves.
    pub queued: Duration,
    /// How long its bytes were cut, hashed, looked up, encoded and staged.
    pub encode: Duration,
    /// How long the transaction took that made it a checkpoint, with the syncs of the disk.
    pub commit: Duration,
}

impl SaveTimes {
    /// How long it took from when it was handed over until it was durable.
    pub fn behind(&self) -> Duration {
        self.queued + self.encode + self.commit
    }
}

/// When a save began to wait for its turn.
#[derive(Clone, Debug)]
pub(super) struct Stopwatch {
    clock: Arc<dyn Clock>,
    /// How long its caller had waited by then, if that is all that it waits.
    blocked: Option<Duration>,
    lap: Duration,
}

impl Stopwatch {
    /// Of a save that its caller waits for.
    pub(super) fn start(clock: &Arc<dyn Clock>) -> Self {
        Self {
            clock: Arc::clone(clock),
            blocked: None,
            lap: clock.elapsed(),
        }
    }

    /// The time since the last time that it was asked.
    pub(super) fn lap(&mut self) -> Duration {
        let now = self.clock.elapsed();
        let before = std::mem::replace(&mut self.lap, now);
        now.saturating_sub(before)
    }

    /// The caller waits no longer.
    pub(super) fn hand_over(&mut self, ran_beside: Duration) {
        self.blocked = Some(self.lap().saturating_sub(ran_beside));
    }

    /// How long the caller waited for a save that then took so long.
    pub(super) fn blocked(&self, behind: Duration) -> Duration {
        self.blocked.unwrap_or(behind)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Store;

    #[test]
    fn who_waits_for_a_save_is_blocked_for_all_of_it_and_who_hands_it_over_for_the_copy() {
        let store = Store::in_memory().unwrap();
        let job = store.job("NQ").unwrap();
        let state = vec![7; 3 << 20];
        let here = job.save(1).bytes("x", &state).commit().unwrap().times;
        assert!(here.encode > Duration::ZERO && here.commit > Duration::ZERO);
        assert_eq!(here.blocked, here.behind());
        let pause = Duration::from_millis(30);
        let copied = job.save(2).bytes("x", &state[1..]);
        let (owned, ()) = copied.copy_while(|| std::thread::sleep(pause)).unwrap();
        std::thread::sleep(pause);
        let beside = owned.commit().unwrap().times;
        assert!(beside.queued >= pause, "{beside:?}");
        let clock = store.options().clock.elapsed();
        assert!(beside.blocked + 2 * pause <= clock, "{beside:?}");
        // What ran beside the copy is nothing that was waited for.
        let slow = job.save(3).bytes("x", &state[2..]);
        let (owned, ()) = slow.copy_while(|| std::thread::sleep(20 * pause)).unwrap();
        let slow = owned.commit().unwrap().times;
        assert!(slow.blocked < 20 * pause, "{slow:?}");
    }
}
