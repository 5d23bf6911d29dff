//! Removing chunks that nothing refers to any more.

use super::rebase::rebase;
use crate::codec::{Compression, Encoder};
use crate::error::{Error, Result};
use crate::format::ChunkRef;
use crate::id::ChunkId;
use crate::storage::{Durability, Engine, Room, Rows, chunk_row, load_chunk, sweep_chunk};

/// Chunks that are removed in one transaction: a reclaim can be cut off, and readers get a turn.
const SWEEP: usize = 256;
/// Chunks that are removed in one transaction when there is no room for the pages of more.
const SMALL_SWEEP: usize = 8;

/// Removes the staged chunks that nothing refers to, and those that only deltas need, once these
/// are written without them. Returns their number and stored bytes.
pub(super) fn sweep(engine: &Engine, compression: Compression) -> Result<(u64, u64)> {
    let (mut chunks, mut bytes) = (0, 0);
    let mut one = false;
    loop {
        let staged = engine.read(|rows| rows.staged(usize::MAX))?;
        let (dead, unused) = engine.read(|rows| Ok(parted(rows, staged)))?;
        if !unused.is_empty() {
            let (more, freed) = remove(engine, &unused)?;
            chunks += more;
            bytes += freed;
        } else if !dead.is_empty() && rebased(engine, compression, &dead, &mut one)? {
            // What was written anew has left something unused.
        } else {
            // What keeps these is damaged; they are noted no longer, and stay.
            if !dead.is_empty() {
                engine.write(Durability::Durable, Room::Ballast, |rows| {
                    let mut numbers = dead.iter().map(|(number, _)| *number);
                    numbers.try_for_each(|number| rows.unstage(number))
                })?;
            }
            return Ok((chunks, bytes));
        }
    }
}

/// Whether any delta could be written without these. Where there is no room for all at once, they
/// go one by one.
fn rebased(
    engine: &Engine,
    compression: Compression,
    dead: &Staged,
    one: &mut bool,
) -> Result<bool> {
    let ids = dead.iter().map(|(_, id)| *id).collect();
    // Whoever wants no deltas has none; those that are there stay deltas, or the file would grow.
    let encoder = &mut Encoder::new(compression.max(Compression::Default));
    match rebase(engine, encoder, &ids, *one) {
        Err(Error::Full { .. }) if !*one => {
            *one = true;
            rebase(engine, encoder, &ids, true).map(|written| written > 0)
        }
        written => written.map(|written| written > 0),
    }
}

/// Those that only deltas need, and the others.
fn parted(rows: &dyn Rows, staged: Vec<(u64, ChunkId)>) -> (Staged, Staged) {
    let is_dead = |(number, id): &(u64, ChunkId)| match chunk_row(rows, id) {
        Ok(Some(row)) => row.number == *number && row.is_dead_weight(),
        _ => false,
    };
    staged.into_iter().partition(is_dead)
}

/// Chunks with their numbers.
type Staged = Vec<(u64, ChunkId)>;

/// Removes chunks that nothing refers to.
fn remove(engine: &Engine, staged: &Staged) -> Result<(u64, u64)> {
    let (mut chunks, mut bytes) = (0, 0);
    let mut most = SWEEP;
    let mut looked = false;
    let mut left = staged.as_slice();
    while !left.is_empty() {
        let (batch, rest) = left.split_at(most.min(left.len()));
        let swept = engine.write(Durability::Durable, Room::Ballast, |rows| {
            let mut freed = Vec::new();
            for (number, id) in batch {
                match sweep_chunk(rows, *number, id) {
                    Ok(bytes) => freed.extend(bytes),
                    // Its note is gone, so that it is not met again; `verify` reports it.
                    Err(Error::Corrupt { what, why }) => {
                        tracing::warn!(what, why, "a chunk without references stays");
                    }
                    Err(error) => return Err(error),
                }
            }
            Ok(freed)
        });
        let freed = match swept {
            Err(Error::Full { .. }) if most > SMALL_SWEEP => {
                most = SMALL_SWEEP;
                continue;
            }
            Err(Error::Io { .. }) if !looked => {
                // One that the disk can't read must not keep the others.
                find_unreadable(engine, batch);
                looked = true;
                continue;
            }
            swept => swept?,
        };
        looked = false;
        left = rest;
        chunks += freed.len() as u64;
        bytes += freed.iter().sum::<u64>();
    }
    Ok((chunks, bytes))
}

/// Reads these chunks, each in a transaction of its own; what can't be read is remembered.
fn find_unreadable(engine: &Engine, staged: &[(u64, ChunkId)]) {
    for (_, id) in staged {
        let read = engine.read(|rows| {
            let Some(row) = chunk_row(rows, id)? else {
                return Ok(());
            };
            let chunk = ChunkRef {
                id: *id.as_bytes(),
                raw_len: row.raw_len,
            };
            load_chunk(rows, &chunk).map(drop)
        });
        if let Err(error) = read {
            tracing::warn!(%error, "a chunk that is to go can't be read");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::{self, Read};
    use std::sync::Arc;

    use super::*;
    use crate::format::ChunkRow;
    use crate::storage::{Change, Faulty, NewChunk, put_chunk};
    use crate::store::testing::{Tables, content, noise, options};
    use crate::store::{Store, VerifyDepth};
    use crate::tensor::{DType, TensorSlice};

    /// Bytes without a pattern, with a sweep in the middle that knows of no turn.
    struct Swept<'s> {
        store: &'s Store,
        left: usize,
        hasher: blake3::OutputReader,
        done: bool,
    }

    impl Read for Swept<'_> {
        fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
            let count = out.len().min(self.left);
            self.hasher.fill(&mut out[..count]);
            self.left -= count;
            if self.left < 16 << 20 && !self.done {
                self.done = true;
                let swept =
                    sweep(self.store.engine(), Compression::None).map_err(io::Error::other)?;
                assert!(swept.0 > 0, "there was something in flight");
            }
            Ok(count)
        }
    }

    #[test]
    fn a_sweep_that_ignores_a_save_in_flight_is_found() {
        let store = Store::in_memory().unwrap();
        let job = store.job("x").unwrap();
        let source = Swept {
            store: &store,
            left: 96 << 20,
            hasher: blake3::Hasher::new().finalize_xof(),
            done: false,
        };
        let saved = job.save(1).file("s", source).commit();
        assert!(matches!(saved, Err(Error::Corrupt { .. })), "{saved:?}");
        assert!(job.latest().unwrap().is_none());
    }

    fn in_faulty() -> (Faulty, Store) {
        let faulty = Faulty::new(Vec::new());
        let store = Store::create_in(Arc::new(faulty.clone()), options()).unwrap();
        (faulty, store)
    }

    /// From now on the file can't grow.
    fn fill_disk(faulty: &Faulty, store: &Store) {
        // Closing cuts off what is free at its end.
        store.reopen().unwrap();
        let len = faulty.memory.to_vec().len();
        faulty.order().capacity = Some(len as u64);
    }

    #[test]
    fn where_there_is_no_room_for_the_pages_of_many_a_few_are_removed_at_a_time() {
        const MANY: u32 = 3000;
        let (faulty, store) = in_faulty();
        let engine = store.engine();
        let room = noise(1, 40_000);
        let put = engine.write(Durability::Durable, Room::Ordinary, |rows| {
            let mut change = Change::begin(rows, 0)?;
            let small = (0..MANY).map(|at| at.to_le_bytes().to_vec());
            for raw in std::iter::once(room).chain(small) {
                let id = ChunkId::new(*blake3::hash(&raw).as_bytes());
                let number = put_chunk(&mut change, &NewChunk::alone(id, &raw))?;
                change.rows().stage(number, &id)?;
            }
            change.finish()
        });
        put.unwrap();
        store.compact().unwrap();
        let staged = engine.read(|rows| rows.staged(usize::MAX)).unwrap();
        let swept = |store: &Store, count| {
            store
                .engine()
                .write(Durability::Durable, Room::Ballast, |rows| {
                    let some = staged.iter().take(count);
                    some.map(|(number, id)| sweep_chunk(rows, *number, id))
                        .collect::<Result<Vec<_>>>()
                })
        };
        swept(&store, 1).unwrap();
        fill_disk(&faulty, &store);
        // The file is filled up until there is room for the pages of a few, and not of many.
        let has_room = || {
            store.reopen().unwrap();
            let copy = Faulty::new(faulty.memory.to_vec());
            copy.order().capacity = faulty.order().capacity;
            let copy = Store::open_in(Arc::new(copy), options()).unwrap();
            swept(&copy, 1 + SWEEP).is_ok()
        };
        let mut fillers = 0;
        while has_room() {
            fillers += 1;
            let raw = noise(1 + fillers, 16 << 12);
            let id = ChunkId::new(*blake3::hash(&raw).as_bytes());
            let put = engine.write(Durability::Durable, Room::Ordinary, |rows| {
                let mut change = Change::begin(rows, 0)?;
                put_chunk(&mut change, &NewChunk::alone(id, &raw))?;
                change.finish()
            });
            put.unwrap();
        }
        assert!(matches!(swept(&store, 1 + SWEEP), Err(Error::Full { .. })));
        let done = sweep(engine, Compression::Default).unwrap();
        assert_eq!(done, (u64::from(MANY), 4 * u64::from(MANY)));
        let left = engine.read(|rows| rows.counts()).unwrap();
        assert_eq!(left, (fillers, 0));
    }

    #[test]
    fn where_there_is_no_room_to_write_all_deltas_anew_one_makes_room_for_the_next() {
        let (faulty, store) = in_faulty();
        let job = store.job("NQ").unwrap();
        let save = |iteration: u64, filler: usize| {
            let weights = content(iteration)["f32.weights"].clone();
            let states: Vec<Vec<u8>> = (0..8_u8)
                .map(|part| {
                    let words = weights.as_chunks::<4>().0.iter();
                    words
                        .flat_map(|word| [word[0], word[1] ^ part, word[2], word[3]])
                        .collect()
                })
                .collect();
            let filler = noise(iteration, filler);
            let mut save = job.save(iteration).bytes("filler", &filler);
            for (part, state) in states.iter().enumerate() {
                let tensor = TensorSlice::new(DType::F32, &[state.len() / 4], state).unwrap();
                save = save.tensor(&format!("f32.{part}"), tensor);
            }
            save.commit().unwrap();
        };
        let room = noise(9, 200_000);
        job.save(1).bytes("room", &room).commit().unwrap();
        save(2, 70_000);
        save(3, 70_000);
        let whole = |store: &Store| {
            let rows = Tables::of(store).chunks;
            let is_whole = |row: &&ChunkRow| row.raw_len == 80_000 && row.bases.is_empty();
            rows.values().filter(is_whole).count()
        };
        assert_eq!(whole(&store), 8);
        store.compact().unwrap();
        // This makes room in the file for some of them, and not for all.
        job.at(1).unwrap().unwrap().delete(true).unwrap();
        store.reclaim(true).unwrap();
        fill_disk(&faulty, &store);
        job.at(2).unwrap().unwrap().delete(true).unwrap();
        let done = store.reclaim(true).unwrap();
        assert_eq!((done.checkpoints, done.damaged), (1, 0));
        assert!(done.chunks >= 8, "{done:?}");
        assert_eq!(
            Tables::of(&store)
                .chunks
                .values()
                .map(|row| row.deltas)
                .sum::<u32>(),
            0
        );
        assert!(store.verify(VerifyDepth::Full).unwrap().is_clean());
    }
}
