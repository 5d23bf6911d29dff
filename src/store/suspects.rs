//! Chunks that did not verify when they were read.

use std::collections::HashSet;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::id::ChunkId;

/// The chunks that a handle has found damaged. Those that a repair found are marked in their rows.
#[derive(Debug, Default)]
pub(super) struct Suspects(Mutex<HashSet<ChunkId>>);

impl Suspects {
    /// The chunks.
    pub(super) fn known(&self) -> MutexGuard<'_, HashSet<ChunkId>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
