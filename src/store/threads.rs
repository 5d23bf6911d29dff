//! When a save or a load starts threads, how many at most, and how much a save has in hand.

/// For fewer bytes other threads would not be worth their start.
pub(super) const BESIDE_BYTES: usize = 4 << 20;
/// More threads than this are not started.
pub(super) const MOST_THREADS: usize = 64;
/// New chunks up to so many bytes go with the last transaction; more are staged before it. Well
/// below an eighth of the default cache, beyond which the engine writes its pages twice: the bytes
/// are still in the processor's cache when they are written and hashed.
pub(super) const STAGE_BYTES: usize = 8 << 20;
