//! Waiting for locks that can only be tried.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::locks::{Lock, Locks};
use crate::platform::{Clock, SystemClock};
use crate::sync::pause;

/// How long nobody may have the turn before whoever is behind another takes it.
pub(super) const COURTESY: Duration = Duration::from_millis(50);
/// How often a lock is tried without a pause, and the pauses after that.
const SPINS: u32 = 20;
const SHORTEST_PAUSE: Duration = Duration::from_micros(50);
const LONGEST_PAUSE: Duration = Duration::from_millis(1);
/// The longest pause of the one that is next to write.
const NEXT_PAUSE: Duration = Duration::from_micros(100);
/// Tries after which the holder of the turn is looked at again.
const LOOKS: u32 = 32;

/// Pauses between tries, longer and longer, until a deadline.
#[derive(Debug)]
pub(super) struct Tries {
    wait: Duration,
    deadline: Duration,
    count: u32,
    pause: Duration,
    longest: Duration,
    stop: Option<Arc<AtomicBool>>,
}

impl Tries {
    pub(super) fn within(wait: Duration) -> Self {
        Self {
            wait,
            deadline: SystemClock.elapsed().saturating_add(wait),
            count: 0,
            pause: SHORTEST_PAUSE,
            longest: LONGEST_PAUSE,
            stop: None,
        }
    }

    /// The same, unless this is set before.
    pub(super) fn until(self, stop: Option<Arc<AtomicBool>>) -> Self {
        Self { stop, ..self }
    }

    /// Whether they are to end, whatever time is left.
    pub(super) fn are_stopped(&self) -> bool {
        let is_set = |stop: &Arc<AtomicBool>| stop.load(Ordering::Relaxed);
        self.stop.as_ref().is_some_and(is_set)
    }

    /// There is as much time from now on as there was.
    fn renew(&mut self) {
        self.deadline = SystemClock.elapsed().saturating_add(self.wait);
    }

    /// Whether there is time for one more, after a pause.
    pub(super) fn again(&mut self) -> bool {
        let left = self.deadline.saturating_sub(SystemClock.elapsed());
        if left.is_zero() || self.are_stopped() {
            return false;
        }
        self.count += 1;
        if self.count < SPINS {
            pause(Duration::ZERO);
        } else {
            pause(self.pause.min(self.longest).min(left));
            self.pause = (self.pause * 2).min(self.longest);
        }
        true
    }
}

/// Tries until there is no time left.
pub(super) fn take(
    locks: &dyn Locks,
    lock: Lock,
    alone: bool,
    tries: &mut Tries,
) -> io::Result<bool> {
    loop {
        if locks.try_lock(lock, alone)? {
            return Ok(true);
        }
        if !tries.again() {
            return Ok(false);
        }
    }
}

/// Takes [`Lock::Write`] when all who came before have had it, or says that there was no time.
pub(super) fn wait_in_line(locks: &dyn Locks, tries: &mut Tries) -> io::Result<bool> {
    let mut is_in_line = false;
    let mut idle_since = None;
    let mut holder = None;
    loop {
        // Somebody who is stopped, or was forked in line, does not go when it is time to.
        let now = SystemClock.elapsed();
        let is_idle = |since: Duration| now.saturating_sub(since) >= COURTESY;
        let may_go = idle_since.is_some_and(is_idle) || !locks.is_awaited()?;
        if may_go && locks.try_lock(Lock::Write, true)? {
            return Ok(true);
        }
        // As long as others have their turns one after the other, nobody is in the way.
        if tries.count.is_multiple_of(LOOKS) {
            let now = locks.holder()?.map(|holder| holder.process);
            if std::mem::replace(&mut holder, now) != now {
                tries.renew();
            }
        }
        // The turn goes to whoever is next; others may look less often.
        tries.longest = if may_go { NEXT_PAUSE } else { LONGEST_PAUSE };
        if !is_in_line {
            locks.stand_in_line(true)?;
            is_in_line = true;
            continue;
        }
        if locks.is_taken(Lock::Write)? {
            idle_since = None;
        } else {
            idle_since.get_or_insert(now);
        }
        if !tries.again() {
            return Ok(false);
        }
    }
}
