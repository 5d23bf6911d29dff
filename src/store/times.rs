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
    /// How long it then waited: for other saves, for whoever commits it, for an earlier try.
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
    use std::io::Read;

    use super::*;
    use crate::platform::ManualClock;
    use crate::storage::MemoryMedium;
    use crate::store::{Options, Store};

    #[test]
    fn what_is_done_behind_the_copy_and_after_it_is_told_apart() {
        let clock = Arc::new(ManualClock::default());
        let options = Options {
            clock: clock.clone(),
            ..Options::default()
        };
        let store = Store::create_in(Arc::new(MemoryMedium::default()), options).unwrap();
        let (job, state) = (store.job("NQ").unwrap(), vec![7; 1 << 20]);
        let pass = Duration::from_secs(3);
        let save = job.save(1).bytes("x", &state);
        let (owned, ()) = save.copy_while(|| clock.advance(pass)).unwrap();
        clock.advance(2 * pass);
        let times = owned.commit().unwrap().times;
        let none = Duration::ZERO;
        assert_eq!((times.blocked, times.queued), (none, 2 * pass));
        assert_eq!((times.encode, times.commit), (none, none));
        // What a reader takes is the caller's time, here or while it is copied.
        let slow = |at: u64| {
            let clock = clock.clone();
            let read = move |out: &mut [u8]| {
                clock.advance(pass);
                out[..1].fill(u8::try_from(at).unwrap());
                Ok(1)
            };
            Reader(read).take(1)
        };
        let times = job.save(2).file("x", slow(2)).commit().unwrap().times;
        assert_eq!((times.blocked, times.encode), (pass, pass));
        let owned = job.save(3).file("x", slow(3)).into_owned().unwrap();
        let times = owned.handed_over().commit().unwrap().times;
        assert_eq!((times.blocked, times.behind()), (pass, none));
    }

    struct Reader<F>(F);

    impl<F: FnMut(&mut [u8]) -> std::io::Result<usize>> Read for Reader<F> {
        fn read(&mut self, out: &mut [u8]) -> std::io::Result<usize> {
            (self.0)(out)
        }
    }
}
