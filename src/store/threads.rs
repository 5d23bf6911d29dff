//! When a save or a load starts threads, and how many at most.

/// For fewer bytes other threads would not be worth their start.
pub(super) const BESIDE_BYTES: usize = 4 << 20;
/// More threads than this are not started.
pub(super) const MOST_THREADS: usize = 64;
