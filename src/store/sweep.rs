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
    let encoder = &mut Encoder::new(compression);
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

    use super::*;
    use crate::store::Store;

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
            left: 40 << 20,
            hasher: blake3::Hasher::new().finalize_xof(),
            done: false,
        };
        let saved = job.save(1).file("s", source).commit();
        assert!(matches!(saved, Err(Error::Corrupt { .. })), "{saved:?}");
        assert!(job.latest().unwrap().is_none());
    }
}
