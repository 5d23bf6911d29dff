//! The locks and atomics that threads meet at: the standard library's, or those of
//! [shuttle](https://docs.rs/shuttle), where a test runs threads in every order it can think of.

#[cfg(ckptdb_schedules)]
pub(crate) use shuttle::sync::{Condvar, Mutex, MutexGuard, RwLock, atomic};
#[cfg(not(ckptdb_schedules))]
pub(crate) use std::sync::{Condvar, Mutex, MutexGuard, RwLock, atomic};

/// Lets other threads go on, and after that comes back.
pub(crate) fn pause(time: std::time::Duration) {
    #[cfg(ckptdb_schedules)]
    shuttle::thread::yield_now();
    if time.is_zero() {
        std::thread::yield_now();
    } else if !cfg!(ckptdb_schedules) {
        std::thread::sleep(time);
    }
}
