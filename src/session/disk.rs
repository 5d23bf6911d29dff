//! The disk guard: whether there is room for a save, and what one is expected to need.

use std::collections::VecDeque;

use super::hook::LowDisk;
use super::options::MinFree;
use crate::store::Store;

/// Of so many saves the largest is what the next is expected to need.
/// A chain of deltas begins anew within as many.
pub(super) const REMEMBERED: usize = 8;

/// Watches the room on the disk.
#[derive(Debug)]
pub(super) struct DiskGuard {
    min_free: MinFree,
    stored: VecDeque<u64>,
}

impl DiskGuard {
    /// After saves that added so much.
    pub(super) fn new(min_free: MinFree, stored: impl IntoIterator<Item = u64>) -> Self {
        Self {
            min_free,
            stored: stored.into_iter().take(REMEMBERED).collect(),
        }
    }

    pub(super) fn saved(&mut self, stored_bytes: u64) {
        self.stored.push_back(stored_bytes);
        if self.stored.len() > REMEMBERED {
            self.stored.pop_front();
        }
    }

    /// What the next save is expected to add to the store: the most that one of the last did.
    pub(super) fn predicted(&self) -> u64 {
        self.stored.iter().copied().max().unwrap_or(0)
    }

    /// What is missing, if there is too little room for a save. What cannot be asked is no reason
    /// not to save.
    pub(super) fn look(&self, store: &Store, iteration: u64) -> Option<LowDisk> {
        let (free, total) = match store.free_space() {
            Ok(known) => known?,
            Err(error) => {
                tracing::debug!(%error, "the free space is not known");
                return None;
            }
        };
        let low = LowDisk {
            iteration,
            free: Some(free),
            min_free: self.min_free.of(total),
            predicted: self.predicted(),
        };
        (free < low.min_free.saturating_add(low.predicted) && low.min_free > 0).then_some(low)
    }
}
