//! The raw bytes of chunks that were saved last: what the next save writes its deltas against need
//! not be read and put together again.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, PoisonError};

use crate::id::ChunkId;
use crate::sync::{Mutex, MutexGuard};

/// Bytes of chunks, up to a budget. Of a state that is larger, its beginning is kept: chunks of one
/// save do not displace each other.
#[derive(Debug)]
pub(super) struct Recent(Mutex<Kept>);

struct Kept {
    budget: usize,
    bytes: usize,
    /// The save that runs, or ran last.
    save: u64,
    chunks: HashMap<ChunkId, (u64, Arc<Vec<u8>>)>,
}

impl Recent {
    /// Keeps up to so many bytes.
    pub(super) fn new(budget: usize) -> Self {
        Self(Mutex::new(Kept {
            budget,
            bytes: 0,
            save: 0,
            chunks: HashMap::new(),
        }))
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Another save begins.
    pub(super) fn begin(&self) {
        self.kept().save += 1;
    }

    /// The bytes of a chunk, if they are kept.
    pub(super) fn get(&self, id: &ChunkId) -> Option<Arc<Vec<u8>>> {
        let kept = self.kept();
        kept.chunks.get(id).map(|(_, bytes)| Arc::clone(bytes))
    }

    /// Takes note that this save has a chunk too.
    pub(super) fn touch(&self, id: &ChunkId) {
        let mut kept = self.kept();
        let now = kept.save;
        if let Some((save, _)) = kept.chunks.get_mut(id) {
            *save = now;
        }
    }

    /// Keeps the bytes of a chunk of this save, in the place of the one that it follows; and if
    /// that is not enough, of what earlier saves had, the oldest first.
    pub(super) fn put(&self, id: ChunkId, raw: &[u8], follows: Option<&ChunkId>) {
        let mut kept = self.kept();
        let save = kept.save;
        let mut buffer = Vec::new();
        if let Some(before) = follows
            && kept.chunks.get(before).is_some_and(|(of, _)| *of < save)
            && let Some((_, bytes)) = kept.chunks.remove(before)
        {
            kept.bytes -= bytes.len();
            buffer = Arc::into_inner(bytes).unwrap_or_default();
        }
        if let Some((of, _)) = kept.chunks.get_mut(&id) {
            *of = save;
            return;
        }
        if raw.len() > kept.budget {
            return;
        }
        kept.make_room(raw.len());
        if kept.bytes + raw.len() <= kept.budget {
            kept.bytes += raw.len();
            buffer.clear();
            buffer.extend_from_slice(raw);
            kept.chunks.insert(id, (save, Arc::new(buffer)));
        }
    }
}

impl fmt::Debug for Kept {
    /// Without the bytes: whoever prints a store does not mean those.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Kept")
            .field("budget", &self.budget)
            .field("bytes", &self.bytes)
            .field("chunks", &self.chunks.len())
            .finish_non_exhaustive()
    }
}

impl Kept {
    /// Drops chunks of earlier saves, all of the oldest at once, until there is room for so many
    /// bytes.
    fn make_room(&mut self, bytes: usize) {
        while self.bytes + bytes > self.budget {
            let oldest = self.chunks.values().map(|(save, _)| *save).min();
            let Some(oldest) = oldest.filter(|oldest| *oldest < self.save) else {
                return;
            };
            self.chunks.retain(|_, (save, _)| *save != oldest);
            self.bytes = self.chunks.values().map(|(_, bytes)| bytes.len()).sum();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chunks_of_a_save_displace_those_of_earlier_ones_and_never_each_other() {
        let recent = Recent::new(100);
        let id = |number: u8| ChunkId::new([number; 32]);
        let has = |numbers: &[u8]| {
            numbers
                .iter()
                .all(|number| recent.get(&id(*number)).is_some())
        };
        recent.begin();
        recent.put(id(1), &[1; 40], None);
        recent.put(id(2), &[2; 40], None);
        recent.put(id(3), &[3; 40], None);
        assert!(has(&[1, 2]) && !has(&[3]));
        recent.begin();
        // The first is used again; the second is what is dropped.
        recent.put(id(1), &[1; 40], None);
        recent.put(id(4), &[4; 50], None);
        assert!(has(&[1, 4]) && !has(&[2]));
        recent.put(id(5), &[5; 20], None);
        recent.put(id(6), &[6; 101], None);
        assert!(has(&[1, 4]) && !has(&[5]) && !has(&[6]));
        assert_eq!(recent.get(&id(4)).as_deref(), Some(&vec![4; 50]));
        recent.put(id(7), &[7; 10], None);
        assert!(has(&[1, 4, 7]));
        // What follows another takes its place, and leaves the others theirs.
        recent.begin();
        recent.put(id(8), &[8; 50], Some(&id(4)));
        assert!(has(&[1, 7, 8]) && !has(&[4]));
    }
}
