//! Chunks out of their extents, through their chains, verified.

use std::cell::Cell;

use super::chunks::{chunk_row, known_row, named};
use super::rows::Rows;
use crate::codec::{self, Codec};
use crate::error::{Error, Result};
use crate::format::{ChunkRef, ChunkRow, Extent, ExtentHeader, extent_key, frame_of};
use crate::id::ChunkId;

/// A chunk's raw bytes, verified: whatever is wrong with them is an error, and remembered.
pub(crate) fn load_chunk(rows: &dyn Rows, chunk: &ChunkRef) -> Result<Vec<u8>> {
    let mut raw = Vec::new();
    load_chunk_to(rows, chunk, &mut raw)?;
    Ok(raw)
}

/// [`load_chunk`] in the place of what `raw` holds: who loads many needs one buffer.
pub(crate) fn load_chunk_to(rows: &dyn Rows, chunk: &ChunkRef, raw: &mut Vec<u8>) -> Result<()> {
    let id = chunk.chunk();
    let loaded = known_row(rows, &id).and_then(|row| {
        if row.raw_len != chunk.raw_len {
            let why = format!("it has {} bytes, not {}", row.raw_len, chunk.raw_len);
            return Err(Error::corrupt(named(&id), why));
        }
        read_chunk(rows, &id, row, raw)?;
        check_hash(&id, raw)
    });
    let loaded = loaded.map_err(|error| blame_base(rows, &id, error));
    loaded.inspect_err(|error| rows.suspects().note_chunk(id, error))
}

/// The encoded bytes of a chunk, without the ids of its bases.
pub(crate) fn load_encoded(rows: &dyn Rows, id: &ChunkId, row: &ChunkRow) -> Result<Vec<u8>> {
    let mut stored = Vec::new();
    read_stored(rows, id, row, &mut stored)?;
    let ids = stored.len().min(32 * row.bases.len());
    Ok(stored.split_off(ids))
}

/// The raw bytes that a row leads to, through its bases, which are not verified by themselves: the
/// hash of what comes out vouches for all that went in. A chain is decoded upwards in one buffer.
fn read_chunk(rows: &dyn Rows, id: &ChunkId, row: ChunkRow, raw: &mut Vec<u8>) -> Result<()> {
    let mut chain = vec![(*id, row)];
    while let Some((id, row)) = chain.last()
        && let [base] = row.bases[..]
    {
        let below = known_row(rows, &base)?;
        check_chain(id, row, &below)?;
        chain.push((base, below));
    }
    let mut stored = STORED.take();
    let read = chain.iter().rev().try_for_each(|(id, row)| {
        read_stored(rows, id, row, &mut stored)?;
        if row.bases.len() > 1 {
            *raw = read_copy(rows, id, row, &stored)?;
            return Ok(());
        }
        decode_onto(id, row, &stored, raw)
    });
    STORED.set(stored);
    read
}

/// The raw bytes of a chunk that has several bases.
fn read_copy(rows: &dyn Rows, id: &ChunkId, row: &ChunkRow, stored: &[u8]) -> Result<Vec<u8>> {
    let mut masters = Vec::with_capacity(row.bases.len());
    for base in &row.bases {
        let below = known_row(rows, base)?;
        check_chain(id, row, &below)?;
        let mut master = Vec::new();
        read_chunk(rows, base, below, &mut master)?;
        masters.push(master);
    }
    let masters: Vec<&[u8]> = masters.iter().map(Vec::as_slice).collect();
    decoded(id, row.codec, stored, &row.bases, &masters, row.raw_len)
}

thread_local! {
    /// Stored bytes on their way in; fresh pages for each chunk cost more than their copy.
    static STORED: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

/// A chain ends, and does not branch below its first chunk: so the bytes of no file, whoever made
/// it, take more than a few dozen chunks' work to read.
fn check_chain(id: &ChunkId, row: &ChunkRow, base: &ChunkRow) -> Result<()> {
    if base.depth >= row.depth || base.bases.len() > 1 {
        return Err(Error::corrupt(named(id), "its bases are no chain"));
    }
    Ok(())
}

/// The stored bytes of a chunk, all its parts, in the place of what `stored` holds.
fn read_stored(rows: &dyn Rows, id: &ChunkId, row: &ChunkRow, stored: &mut Vec<u8>) -> Result<()> {
    let fault = |why: String| Error::corrupt(named(id), why);
    if row.is_lost() {
        return Err(fault("its bytes are lost".to_owned()));
    }
    stored.clear();
    for part in 0..row.extents() {
        let key = extent_key(row.number, usize::from(part));
        let found = rows.extent(key, &mut |bytes| {
            let extent = Extent::from_bytes(bytes)
                .map_err(|error| error.of(format!("part {part} of {}", named(id))))?;
            if !matches_row(&extent.header, part, id, row) {
                return Err(fault(format!("part {part} belongs to another chunk")));
            }
            stored.extend_from_slice(extent.payload);
            Ok(())
        })?;
        if !found {
            return Err(fault(format!("part {part} is missing")));
        }
    }
    if row.bundle > 0 {
        read_frame(rows, id, row, stored)?;
    }
    if stored.len() != row.stored_len as usize {
        return Err(fault(format!(
            "{} bytes are stored, not {}",
            stored.len(),
            row.stored_len
        )));
    }
    Ok(())
}

/// The part of a chunk that is in a bundle.
fn read_frame(rows: &dyn Rows, id: &ChunkId, row: &ChunkRow, stored: &mut Vec<u8>) -> Result<()> {
    let fault = |why: &str| Error::corrupt(named(id), why);
    let found = rows.extent(row.bundle, &mut |bytes| {
        let (_, frame) = frame_of(bytes, row.number)
            .ok_or_else(|| fault("it is not in its bundle, or spoilt there"))?;
        if !matches_row(&frame.header, row.parts - 1, id, row) {
            return Err(fault("its place in the bundle belongs to another chunk"));
        }
        stored.extend_from_slice(frame.payload);
        Ok(())
    })?;
    if found {
        Ok(())
    } else {
        Err(fault("its bundle is missing"))
    }
}

/// Decodes what is stored, in `raw`, which holds the bytes of the base if there is one. The id has
/// yet to vouch for what comes out.
fn decode_onto(id: &ChunkId, row: &ChunkRow, stored: &[u8], raw: &mut Vec<u8>) -> Result<()> {
    if row.codec == Codec::Derived.code() {
        let master = std::mem::take(raw);
        let masters: &[&[u8]] = if row.bases.is_empty() {
            &[]
        } else {
            &[&master]
        };
        *raw = decoded(id, row.codec, stored, &row.bases, masters, row.raw_len)?;
        return Ok(());
    }
    let encoded = encoded_bytes(id, stored, &row.bases)?;
    let with_base = !row.bases.is_empty();
    let decoded = codec::decode_onto(row.codec, encoded, with_base, row.raw_len as usize, raw);
    decoded.map_err(|error| named_in(id, error))
}

/// The raw bytes of what is stored. Its id has yet to vouch for them.
pub(super) fn decoded(
    id: &ChunkId,
    codec: u8,
    stored: &[u8],
    bases: &[ChunkId],
    base_bytes: &[&[u8]],
    raw_len: u32,
) -> Result<Vec<u8>> {
    let encoded = encoded_bytes(id, stored, bases)?;
    let decoded = codec::decode(codec, encoded, base_bytes, raw_len as usize);
    decoded.map_err(|error| named_in(id, error))
}

fn named_in(id: &ChunkId, error: Error) -> Error {
    match error {
        Error::Corrupt { why, .. } => Error::corrupt(named(id), why),
        other => other,
    }
}

/// What follows the ids of the bases, which are those of the row.
fn encoded_bytes<'a>(id: &ChunkId, stored: &'a [u8], bases: &[ChunkId]) -> Result<&'a [u8]> {
    let fault = |why: &str| Error::corrupt(named(id), why);
    let (ids, encoded) = stored
        .split_at_checked(32 * bases.len())
        .ok_or_else(|| fault("it is too short"))?;
    let named_there = ids.chunks(32);
    if !named_there.eq(bases.iter().map(|base| &base.as_bytes()[..])) {
        return Err(fault("its bases are not those of its row"));
    }
    Ok(encoded)
}

/// The bytes are those that were saved.
pub(super) fn check_hash(id: &ChunkId, raw: &[u8]) -> Result<()> {
    if blake3::hash(raw).as_bytes() != id.as_bytes() {
        return Err(Error::corrupt(
            named(id),
            "its bytes are not what was saved",
        ));
    }
    Ok(())
}

/// What is wrong with a delta may be wrong with its base: then that is named, and remembered too.
fn blame_base(rows: &dyn Rows, id: &ChunkId, error: Error) -> Error {
    let Ok(Some(row)) = chunk_row(rows, id) else {
        return error;
    };
    for base in &row.bases {
        let Ok(Some(below)) = chunk_row(rows, base) else {
            rows.suspects().note_missing(*base);
            return Error::corrupt(named(id), format!("its base, {}, has no row", named(base)));
        };
        if check_chain(id, &row, &below).is_err() {
            return error;
        }
        let chunk = ChunkRef {
            id: *base.as_bytes(),
            raw_len: below.raw_len,
        };
        if let Err(Error::Corrupt { what, why }) = load_chunk(rows, &chunk) {
            return Error::corrupt(named(id), format!("its base is damaged: {what}: {why}"));
        }
    }
    error
}

fn matches_row(header: &ExtentHeader, part: u8, id: &ChunkId, row: &ChunkRow) -> bool {
    let expected = ExtentHeader {
        part,
        parts: row.parts,
        bundled: row.bundle > 0 && part + 1 == row.parts,
        codec: row.codec,
        bases: u8::try_from(row.bases.len()).unwrap_or(u8::MAX),
        number: row.number,
        chunk: *id,
        raw_len: row.raw_len,
        stored_len: row.stored_len,
        payload_len: header.payload_len,
    };
    *header == expected
}

#[cfg(test)]
mod tests {
    use super::super::chunks::{NewChunk, put_chunk};
    use super::super::testing::{engine, write};
    use super::*;

    #[test]
    fn a_chain_falls_with_each_base_and_does_not_branch_below_its_first_chunk() {
        let row = |depth, bases: usize| ChunkRow {
            depth,
            bases: vec![ChunkId::new([1; 32]); bases],
            ..ChunkRow::lost(1, 0, 1, 8)
        };
        let id = ChunkId::new([2; 32]);
        let check = |above: ChunkRow, below: ChunkRow| check_chain(&id, &above, &below);
        check(row(2, 1), row(1, 1)).unwrap();
        check(row(1, 2), row(0, 0)).unwrap();
        // As deep, or deeper.
        check(row(2, 1), row(2, 1)).unwrap_err();
        check(row(1, 1), row(2, 1)).unwrap_err();
        // A copy of others is no base.
        check(row(2, 1), row(1, 2)).unwrap_err();
    }

    #[test]
    fn bytes_of_another_chunk_are_told_from_these_before_they_are_decoded() {
        let chunk = |byte: u8| {
            let raw = [byte; 9000];
            NewChunk::alone(ChunkId::new(*blake3::hash(&raw).as_bytes()), &raw)
        };
        let (one, two) = (chunk(1), chunk(2));
        let engine = engine(|change| {
            put_chunk(change, &one)?;
            put_chunk(change, &two).map(drop)
        });
        let named = ChunkRef {
            id: *one.id.as_bytes(),
            raw_len: 9000,
        };
        let load = || engine.read(|rows| load_chunk(rows, &named));
        assert_eq!(load().unwrap(), [1; 9000]);
        let copied = |from, to| {
            write(&engine, |rows| {
                let mut bytes = Vec::new();
                rows.extent(from, &mut |found| {
                    bytes.extend_from_slice(found);
                    Ok(())
                })?;
                rows.put_extent(to, &bytes)
            });
        };
        copied(extent_key(2, 0), extent_key(1, 0));
        let told = load().unwrap_err().to_string();
        assert!(told.contains("part 0 belongs to another chunk"), "{told}");
    }

    #[test]
    fn a_short_chunk_is_found_in_its_bundle_by_its_number_and_told_from_others() {
        let chunk = |byte: u8| {
            let raw = [byte; 700];
            NewChunk::alone(ChunkId::new(*blake3::hash(&raw).as_bytes()), &raw)
        };
        let chunks: Vec<NewChunk> = (1..=30).map(chunk).collect();
        let engine = engine(|change| {
            chunks
                .iter()
                .try_for_each(|c| put_chunk(change, c).map(drop))
        });
        let load = |at: usize| {
            let named = ChunkRef {
                id: *chunks[at].id.as_bytes(),
                raw_len: 700,
            };
            let loaded = engine.read(|rows| load_chunk(rows, &named));
            loaded.map_err(|error| error.to_string())
        };
        let row = |at: usize| engine.read(|rows| known_row(rows, &chunks[at].id)).unwrap();
        for (at, chunk) in chunks.iter().enumerate() {
            assert_eq!(load(at).unwrap(), chunk.stored);
            // 21 of 764 bytes are 16,044.
            assert_eq!(row(at).bundle, 16 * if at < 21 { 1 } else { 22 });
        }
        assert_eq!(engine.read(|rows| rows.extent_count()).unwrap(), 2);
        // Its row says another number, or another bundle, or none.
        let with = |at: usize, alter: &dyn Fn(&mut ChunkRow)| {
            let mut altered = row(at);
            alter(&mut altered);
            let id = chunks[at].id;
            write(&engine, |rows| rows.put_chunk(&id, &altered.to_bytes(&id)));
            load(at).unwrap_err()
        };
        let another = with(3, &|row| row.number = 5);
        assert!(another.contains("belongs to another chunk"), "{another}");
        let elsewhere = with(25, &|row| row.bundle = 16);
        assert!(elsewhere.contains("it is not in its bundle"), "{elsewhere}");
        let nowhere = with(26, &|row| row.bundle = 17);
        assert!(nowhere.contains("its bundle is missing"), "{nowhere}");
    }

    #[test]
    fn what_is_encoded_comes_without_the_ids_of_its_bases() {
        let base = NewChunk::alone(ChunkId::new([1; 32]), &[1; 3000]);
        let delta = NewChunk {
            bases: vec![base.id],
            stored: [base.id.as_bytes().as_slice(), b"encoded"].concat(),
            ..NewChunk::alone(ChunkId::new([2; 32]), &[2; 3000])
        };
        let engine = engine(|change| {
            put_chunk(change, &base)?;
            put_chunk(change, &delta).map(drop)
        });
        let encoded = |id| {
            let read = |rows: &dyn Rows| load_encoded(rows, &id, &known_row(rows, &id)?);
            engine.read(read).unwrap()
        };
        assert_eq!(encoded(delta.id), b"encoded");
        assert_eq!(encoded(base.id), [1; 3000]);
    }
}
