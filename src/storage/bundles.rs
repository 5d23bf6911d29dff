//! Short chunks and the ends of others, several in one row of the extents.

use super::records::{Change, Records};
use super::rows::{Rows, Writes};
use crate::error::{Error, Result};
use crate::format::{
    Extent, ExtentHeader, MAX_BUNDLE_BYTES, extent_key, frame_of, frames, is_bundle_len,
    is_whole_bundle, with_frame, without,
};

/// Puts the end of a chunk into the open bundle, or into a new one if that is full, which lies
/// where the extent of that end would be. Returns the bundle's key.
pub(super) fn put_frame(change: &mut Change<'_>, frame: &Extent<'_>) -> Result<u64> {
    let open = change.bundle();
    let fuller = bundle(change.rows(), open)?.and_then(|bytes| with_frame(&bytes, frame));
    let (key, bytes) = match fuller {
        Some(bytes) => (open, bytes),
        None => {
            let ExtentHeader {
                chunk,
                number,
                part,
                ..
            } = &frame.header;
            let fault = || Error::invalid(format!("chunk {chunk}"), "it is too long for a bundle");
            let key = extent_key(*number, usize::from(*part));
            (key, with_frame(&[], frame).ok_or_else(fault)?)
        }
    };
    change.rows().put_extent(key, &bytes)?;
    change.set_bundle(key);
    Ok(key)
}

/// The bytes of a bundle that may be added to.
fn bundle(rows: &dyn Rows, key: u64) -> Result<Option<Vec<u8>>> {
    if !is_readable(rows, key) {
        return Ok(None);
    }
    let mut found = None;
    rows.extent(key, &mut |bytes| {
        found = is_whole_bundle(bytes).then(|| bytes.to_vec());
        Ok(())
    })?;
    Ok(found)
}

/// Whether a row of the extents is a bundle, and not a part of one chunk.
pub(crate) fn is_bundle(row: &[u8]) -> bool {
    let is_part = || ExtentHeader::from_bytes(row).is_ok_and(|header| !header.bundled);
    row.len() <= MAX_BUNDLE_BYTES && !is_part() && frames(row).next().is_some()
}

/// Shows every frame of a bundle that can be read.
pub(crate) fn each_frame(
    rows: &dyn Rows,
    bundle: u64,
    visit: &mut dyn FnMut(Extent<'_>),
) -> Result<()> {
    rows.extent(bundle, &mut |bytes| {
        frames(bytes).for_each(|(_, frame)| visit(frame));
        Ok(())
    })
    .map(drop)
}

/// Takes a chunk out of its bundle. What is spoilt so that it is not found stays there, and so does
/// all of a row that the engine shows shorter or longer than it was: what is missing of it may be
/// found in the file.
pub(crate) fn remove_frame(rows: &mut dyn Writes, bundle: u64, number: u64) -> Result<()> {
    let mut left = None;
    rows.extent(bundle, &mut |bytes| {
        let found = frame_of(bytes, number).filter(|_| is_bundle_len(bytes.len()));
        left = found.map(|(range, _)| without(bytes, range));
        Ok(())
    })?;
    match left {
        Some(Some(bytes)) => rows.put_extent(bundle, &bytes),
        Some(None) => rows.remove_extent(bundle),
        None => Ok(()),
    }
}

/// The key of the open bundle, if there is one that is not known to be unreadable.
pub(super) fn open_bundle(rows: &dyn Rows) -> Option<u64> {
    let key = Records(rows).head().ok()?.bundle;
    is_readable(rows, key).then_some(key)
}

/// Whether there is such a bundle, as far as is known.
fn is_readable(rows: &dyn Rows, key: u64) -> bool {
    key != 0 && !rows.suspects().has_bundle(key)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use memchr::memmem;

    use super::super::chunks::{NewChunk, chunk_row, put_chunk, sweep_chunk};
    use super::super::load::load_chunk;
    use super::super::testing::{Faulty, OPTIONS, engine, engine_in, write};
    use super::*;
    use crate::format::{ChunkRef, ChunkRow, EXTENT_MAGIC};
    use crate::id::ChunkId;
    use crate::storage::{Durability, Engine, Room};

    fn chunk(byte: u8) -> NewChunk {
        let raw = [byte; 1000];
        NewChunk::alone(ChunkId::new(*blake3::hash(&raw).as_bytes()), &raw)
    }

    fn put(engine: &Engine, byte: u8) -> Result<u64> {
        engine.write(Durability::Durable, Room::Ordinary, |rows| {
            let mut change = Change::begin(rows, 0)?;
            let number = put_chunk(&mut change, &chunk(byte))?;
            change.finish()?;
            Ok(number)
        })
    }

    fn row(engine: &Engine, byte: u8) -> ChunkRow {
        let row = engine.read(|rows| chunk_row(rows, &chunk(byte).id));
        row.unwrap().unwrap()
    }

    fn load(engine: &Engine, byte: u8) -> Result<Vec<u8>> {
        let named = ChunkRef {
            id: *chunk(byte).id.as_bytes(),
            raw_len: 1000,
        };
        engine.read(|rows| load_chunk(rows, &named))
    }

    #[test]
    fn short_chunks_of_many_transactions_share_a_bundle_until_it_is_full() {
        let engine = engine(|_| Ok(()));
        for byte in 1..=40 {
            // Whoever goes on with the store goes on with the bundle.
            engine.reopen().unwrap();
            put(&engine, byte).unwrap();
        }
        // 15 of 1,064 bytes are 15,960.
        for byte in 1..=40 {
            let first = 1 + u64::from(byte - 1) / 15 * 15;
            assert_eq!(row(&engine, byte).bundle, 16 * first);
            assert_eq!(load(&engine, byte).unwrap(), chunk(byte).stored);
        }
        assert_eq!(engine.read(|rows| rows.extent_count()).unwrap(), 3);
        // The others are there when one goes, and the bundle goes with the last.
        for byte in (1..=40).rev() {
            write(&engine, |rows| {
                sweep_chunk(rows, byte.into(), &chunk(byte).id).map(drop)
            });
            for other in 1..byte {
                assert_eq!(load(&engine, other).unwrap(), chunk(other).stored);
            }
            let left = engine.read(|rows| rows.extent_count()).unwrap();
            assert_eq!(left, u64::from(byte - 1).div_ceil(15));
        }
        // The open one is gone: the next begins anew.
        put(&engine, 41).unwrap();
        assert_eq!(row(&engine, 41).bundle, 16 * 41);
    }

    #[test]
    fn a_bundle_that_the_disk_can_not_read_keeps_no_later_chunk_from_being_written() {
        let medium = Faulty::new(Vec::new());
        let first = engine_in(Arc::new(medium.clone()), |change| {
            put_chunk(change, &chunk(1)).map(drop)
        });
        drop(first);
        let image = medium.memory.to_vec();
        let at = memmem::rfind(&image, EXTENT_MAGIC).unwrap();
        medium.order().bad_byte = Some(at as u64 + 70);
        // In each process that comes upon it.
        for byte in 2..=4 {
            let engine = Engine::open(Arc::new(medium.clone()), OPTIONS).unwrap();
            assert!(matches!(load(&engine, 1), Err(Error::Io { .. })));
            put(&engine, byte).unwrap();
            assert_eq!(row(&engine, byte).bundle, 16 * 2);
            assert_eq!(load(&engine, byte).unwrap(), chunk(byte).stored);
        }
        // Nobody has met it before the write does.
        let engine = Engine::open(Arc::new(medium.clone()), OPTIONS).unwrap();
        write(&engine, |rows| {
            let mut change = Change::begin(rows, 0)?;
            change.set_bundle(16);
            change.finish()
        });
        drop(engine);
        let engine = Engine::open(Arc::new(medium.clone()), OPTIONS).unwrap();
        put(&engine, 5).unwrap();
        assert_eq!(row(&engine, 5).bundle, 16 * 5);
        medium.order().bad_byte = None;
        for byte in 1..=5 {
            assert_eq!(load(&engine, byte).unwrap(), chunk(byte).stored);
        }
    }

    #[test]
    fn a_bundle_whose_page_is_spoilt_stays_as_it_is_and_later_chunks_go_elsewhere() {
        let medium = Faulty::new(Vec::new());
        let first = engine_in(Arc::new(medium.clone()), |change| {
            (1..=3).try_for_each(|byte| put_chunk(change, &chunk(byte)).map(drop))
        });
        drop(first);
        let image = medium.memory.to_vec();
        let page = memmem::rfind(&image, EXTENT_MAGIC).unwrap() / 4096 * 4096;
        // What kind of page it is, how many rows it has, and where the one there is ends.
        for (at, bit) in [(0, 0x40), (2, 1), (4, 4), (5, 1), (5, 0x80), (7, 0x80)] {
            let mut spoilt = image.clone();
            spoilt[page + at] ^= bit;
            let medium = Faulty::new(spoilt);
            let engine = Engine::open(Arc::new(medium.clone()), OPTIONS).unwrap();
            load(&engine, 3).unwrap_err();
            for byte in [8, 9] {
                put(&engine, byte).unwrap();
                assert_eq!(load(&engine, byte).unwrap(), chunk(byte).stored);
            }
            let kind = (Durability::Durable, Room::Ballast);
            let _ = engine.write(kind.0, kind.1, |rows| {
                sweep_chunk(rows, 2, &chunk(2).id).map(drop)
            });
            drop(engine);
            // Nothing was written over: with the bit turned back, all is there.
            let mut mended = medium.memory.to_vec();
            mended[page + at] ^= bit;
            let engine = Engine::open(Arc::new(Faulty::new(mended)), OPTIONS).unwrap();
            for byte in [1, 3, 8, 9] {
                let loaded = load(&engine, byte);
                assert!(loaded.is_ok(), "{byte} with {at} {bit}: {loaded:?}");
            }
        }
    }

    #[test]
    fn what_is_no_bundle_is_not_added_to() {
        let long = NewChunk::alone(ChunkId::new([9; 32]), &[7; 9000]);
        let engine = engine(|change| put_chunk(change, &long).map(drop));
        write(&engine, |rows| {
            let mut change = Change::begin(rows, 0)?;
            // A part of a chunk, and nothing at all.
            for (byte, stale) in [(1, 16), (2, 77)] {
                change.set_bundle(stale);
                let number = put_chunk(&mut change, &chunk(byte))?;
                assert_eq!(change.bundle(), 16 * number);
            }
            change.finish()
        });
        assert_eq!(load(&engine, 1).unwrap(), chunk(1).stored);
        assert_eq!(load(&engine, 2).unwrap(), chunk(2).stored);
    }
}
