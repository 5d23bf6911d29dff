//! The locks and atomics that threads meet at: the standard library's, or those of
//! [shuttle](https://docs.rs/shuttle), where a test runs threads in every order it can think of.

#[cfg(ckptdb_schedules)]
pub(crate) use shuttle::sync::{Condvar, Mutex, MutexGuard, RwLock, atomic};
#[cfg(not(ckptdb_schedules))]
pub(crate) use std::sync::{Condvar, Mutex, MutexGuard, RwLock, atomic};
