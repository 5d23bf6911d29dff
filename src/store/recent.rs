//! The raw bytes of chunks that were saved last: what the next save writes its deltas against need
//! not be read and put together again.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::sync::{Arc, PoisonError};

use crate::id::ChunkId;
use crate::sync::{Mutex, MutexGuard};

/// What so many saves have not had gives way to anything else, the oldest first: a base may be
/// needed again three saves later, and jobs take turns in a store.
const AGED: u64 = 16;

/// Bytes of chunks, up to a budget. Of a state that is larger, what it would cost most to make
/// again is kept: a chunk takes the place only of what is old, or costs less.
#[derive(Debug)]
pub(super) struct Recent(Mutex<Kept>);

struct Kept {
    budget: usize,
    bytes: usize,
    /// The save that runs, or ran last.
    save: u64,
    /// Chunks that have been put, in all.
    puts: u64,
    chunks: HashMap<ChunkId, (Rank, Arc<Vec<u8>>)>,
    ranks: BTreeMap<Rank, ChunkId>,
}

/// What goes first where there is no room.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Rank {
    /// The last save that had the chunk.
    save: u64,
    cost: u8,
    /// How many were put before: no two are equal.
    number: u64,
}

impl Recent {
    /// Keeps up to so many bytes.
    pub(super) fn new(budget: usize) -> Self {
        Self(Mutex::new(Kept {
            budget,
            bytes: 0,
            save: 0,
            puts: 0,
            chunks: HashMap::new(),
            ranks: BTreeMap::new(),
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

    /// Takes note that this save has a chunk too, or a later one will have a use for it.
    pub(super) fn touch(&self, id: &ChunkId) {
        self.kept().touch(id);
    }

    /// Drops the bytes of a chunk that has been followed by another, unless this save has it too.
    pub(super) fn drop_followed(&self, id: &ChunkId) {
        self.kept().take_followed(id);
    }

    /// Keeps the bytes of a chunk of this save, which it costs so many chunks' decoding to make
    /// again, in the place of the one that it follows; and if that is not enough, of what is old or
    /// costs less.
    pub(super) fn put(&self, id: ChunkId, raw: &[u8], follows: Option<&ChunkId>, cost: u8) {
        let mut kept = self.kept();
        let buffer = follows.and_then(|before| kept.take_followed(before));
        if kept.touch(&id) || raw.len() > kept.budget {
            return;
        }
        let mut taken = Vec::new();
        while kept.bytes + raw.len() > kept.budget {
            let Some(least) = kept.least(cost) else {
                // Several together are not enough: none goes for nothing.
                for (id, rank, bytes) in taken {
                    kept.put_in(id, rank, bytes);
                }
                return;
            };
            taken.extend(kept.take(&least).map(|(rank, bytes)| (least, rank, bytes)));
        }
        let last = taken.pop().map(|(_, _, bytes)| bytes);
        drop(taken);
        let buffer = last.or(buffer).and_then(Arc::into_inner);
        // What is kept is counted by its length.
        let fits = |buffer: &Vec<u8>| buffer.capacity() == raw.len();
        let mut buffer = buffer.filter(fits).unwrap_or_else(|| {
            let mut exact = Vec::new();
            exact.reserve_exact(raw.len());
            exact
        });
        buffer.clear();
        buffer.extend_from_slice(raw);
        kept.insert(id, cost, Arc::new(buffer));
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
    fn insert(&mut self, id: ChunkId, cost: u8, bytes: Arc<Vec<u8>>) {
        let rank = Rank {
            save: self.save,
            cost,
            number: self.puts,
        };
        self.puts += 1;
        self.put_in(id, rank, bytes);
    }

    fn put_in(&mut self, id: ChunkId, rank: Rank, bytes: Arc<Vec<u8>>) {
        self.bytes += bytes.len();
        self.ranks.insert(rank, id);
        self.chunks.insert(id, (rank, bytes));
    }

    fn take(&mut self, id: &ChunkId) -> Option<(Rank, Arc<Vec<u8>>)> {
        let (rank, bytes) = self.chunks.remove(id)?;
        self.ranks.remove(&rank);
        self.bytes -= bytes.len();
        Some((rank, bytes))
    }

    fn take_followed(&mut self, id: &ChunkId) -> Option<Arc<Vec<u8>>> {
        let (rank, _) = self.chunks.get(id)?;
        if rank.save == self.save {
            return None;
        }
        self.take(id).map(|(_, bytes)| bytes)
    }

    fn touch(&mut self, id: &ChunkId) -> bool {
        let Some((rank, _)) = self.chunks.get_mut(id) else {
            return false;
        };
        self.ranks.remove(rank);
        rank.save = self.save;
        self.ranks.insert(*rank, *id);
        true
    }

    /// What goes for something that costs so much: what is old; or else what costs least, if that
    /// is less. Of such, what this save has been through already, and of that the last: the next
    /// save comes there last.
    fn least(&self, cost: u8) -> Option<ChunkId> {
        let (oldest, id) = self.ranks.first_key_value()?;
        if oldest.save + AGED <= self.save {
            return Some(*id);
        }
        let saves = (oldest.save..=self.save).rev();
        let least = saves.filter_map(|save| self.cheapest_of(save));
        let (least, id) = least.min_by_key(|(rank, _)| rank.cost)?;
        (least.cost < cost).then_some(id)
    }

    /// The last of what costs least of a save's chunks.
    fn cheapest_of(&self, save: u64) -> Option<(Rank, ChunkId)> {
        let at = |cost, number| Rank { save, cost, number };
        let (first, _) = self.ranks.range(at(0, 0)..=at(u8::MAX, u64::MAX)).next()?;
        let last = self.ranks.range(..=at(first.cost, u64::MAX)).next_back()?;
        Some((*last.0, *last.1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(number: u8) -> ChunkId {
        ChunkId::new([number; 32])
    }

    fn kept(recent: &Recent) -> Vec<u8> {
        (0..=u8::MAX)
            .filter(|number| recent.get(&id(*number)).is_some())
            .collect()
    }

    #[test]
    fn what_is_not_old_gives_way_only_to_what_costs_more() {
        let recent = Recent::new(100);
        recent.begin();
        recent.put(id(1), &[1; 40], None, 1);
        recent.put(id(2), &[2; 40], None, 2);
        recent.put(id(3), &[3; 40], None, 1);
        assert_eq!(kept(&recent), [1, 2], "none costs less than the third");
        recent.put(id(4), &[4; 40], None, 2);
        assert_eq!(kept(&recent), [2, 4], "the first does");
        recent.begin();
        recent.put(id(5), &[5; 40], None, 2);
        assert_eq!(kept(&recent), [2, 4], "this save may have a use for those");
        recent.put(id(6), &[6; 40], None, 3);
        assert_eq!(
            kept(&recent),
            [2, 6],
            "the next one comes to the last put last"
        );
        recent.put(id(7), &[7; 101], None, 9);
        assert_eq!(kept(&recent), [2, 6]);
        assert_eq!(recent.get(&id(6)).as_deref(), Some(&vec![6; 40]));
        (1..AGED).for_each(|_| recent.begin());
        recent.touch(&id(6));
        recent.put(id(8), &[8; 40], None, 0);
        assert_eq!(
            kept(&recent),
            [6, 8],
            "sixteen saves have not had the second"
        );
        (0..AGED).for_each(|_| recent.begin());
        recent.touch(&id(6));
        recent.put(id(9), &[9; 30], None, 0);
        assert_eq!(kept(&recent), [6, 9]);
    }

    #[test]
    fn nothing_goes_for_what_does_not_fit_in_its_place() {
        let recent = Recent::new(300);
        recent.begin();
        recent.put(id(1), &[1; 100], None, 1);
        recent.put(id(2), &[2; 200], None, 3);
        recent.put(id(3), &[3; 250], None, 2);
        assert_eq!(kept(&recent), [1, 2]);
        assert_eq!(recent.kept().bytes, 300);
        recent.put(id(4), &[4; 100], None, 2);
        assert_eq!(kept(&recent), [2, 4]);
    }

    /// Of a state that is larger than the budget, what is kept is still there when its turn comes,
    /// though each delta of this save costs more than the bases that it has not come to yet.
    #[test]
    fn a_save_does_not_displace_what_it_has_not_come_to_yet() {
        let recent = Recent::new(40);
        recent.begin();
        (0..8).for_each(|place| recent.put(id(place), &[0; 10], None, 1));
        assert_eq!(kept(&recent), [0, 1, 2, 3]);
        recent.begin();
        let mut hits = 0;
        for place in 0..8 {
            if recent.get(&id(place)).is_some() {
                recent.touch(&id(place));
                hits += 1;
            }
            recent.put(id(100 + place), &[0; 10], None, 2);
        }
        assert_eq!(hits, 4);
        assert_eq!(kept(&recent), [100, 101, 102, 103]);
    }

    #[test]
    fn buffers_take_as_much_memory_as_is_counted() {
        let recent = Recent::new(10_000);
        let held = |recent: &Recent| -> usize {
            let kept = recent.kept();
            kept.chunks.values().map(|(_, b)| b.capacity()).sum()
        };
        for (number, bytes) in [900, 1000, 100, 5000, 4999, 700, 60, 3000]
            .iter()
            .enumerate()
        {
            recent.begin();
            let number = u8::try_from(number).unwrap();
            let before = id(number.wrapping_sub(1));
            recent.put(id(number), &vec![0; *bytes], Some(&before), 1);
            assert_eq!(held(&recent), *bytes);
            assert_eq!(recent.kept().bytes, *bytes);
        }
    }

    #[test]
    fn what_follows_another_takes_its_place() {
        let recent = Recent::new(100);
        recent.begin();
        recent.put(id(1), &[1; 50], None, 1);
        recent.put(id(2), &[2; 50], None, 1);
        recent.begin();
        recent.put(id(3), &[3; 50], Some(&id(2)), 0);
        assert_eq!(kept(&recent), [1, 3]);
        // It is of this save.
        recent.put(id(4), &[4; 50], Some(&id(3)), 0);
        recent.drop_followed(&id(3));
        assert_eq!(kept(&recent), [1, 3]);
        recent.drop_followed(&id(1));
        recent.put(id(3), &[3; 50], None, 0);
        recent.put(id(5), &[5; 50], None, 0);
        assert_eq!(kept(&recent), [3, 5]);
        assert_eq!(recent.kept().bytes, 100);
    }
}
