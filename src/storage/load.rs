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
    raw.resize(chunk.raw_len as usize, 0);
    load_chunk_into(rows, chunk, raw)
}

/// [`load_chunk`] into all of `raw`, which is as long as the chunk: its bytes go there at once if
/// they can.
pub(crate) fn load_chunk_into(rows: &dyn Rows, chunk: &ChunkRef, raw: &mut [u8]) -> Result<()> {
    let id = chunk.chunk();
    let loaded = known_row(rows, &id).and_then(|row| {
        if row.raw_len != chunk.raw_len || row.raw_len as usize != raw.len() {
            let why = format!("it has {} bytes, not {}", row.raw_len, chunk.raw_len);
            return Err(Error::corrupt(named(&id), why));
        }
        read_chunk(rows, &id, row, raw)?;
        check_hash(&id, raw)
    });
    let loaded = loaded.map_err(|error| blame_base(rows, &id, error));
    loaded.inspect_err(|error| rows.suspects().note_chunk(id, error))
}

/// Asks about the bytes of a chunk that is stored as it is, which nobody has verified.
pub(crate) fn peek_raw(
    rows: &dyn Rows,
    id: &ChunkId,
    row: &ChunkRow,
    ask: &mut dyn FnMut(&[u8]) -> bool,
) -> Result<bool> {
    let mut buffer = STORED.take();
    let mut answer = false;
    let shown = with_stored(rows, id, row, &mut buffer, &mut |stored| {
        answer = ask(stored);
        Ok(())
    });
    STORED.set(buffer);
    let shown = shown.inspect_err(|error| rows.suspects().note_chunk(*id, error));
    shown.map(|()| answer)
}

/// The encoded bytes of a chunk, without the ids of its bases.
pub(crate) fn load_encoded(rows: &dyn Rows, id: &ChunkId, row: &ChunkRow) -> Result<Vec<u8>> {
    let mut encoded = Vec::new();
    with_stored(rows, id, row, &mut Vec::new(), &mut |stored| {
        encoded.extend_from_slice(encoded_bytes(id, stored, &row.bases)?);
        Ok(())
    })?;
    Ok(encoded)
}

/// The raw bytes that a row leads to, through its bases, which are not verified by themselves: the
/// hash of what comes out vouches for all that went in. A chain is decoded upwards in one buffer,
/// which is `raw` unless something in the chain is longer.
fn read_chunk(rows: &dyn Rows, id: &ChunkId, row: ChunkRow, raw: &mut [u8]) -> Result<()> {
    let mut chain = vec![(*id, row)];
    while let Some((id, row)) = chain.last()
        && row.codec != Codec::Derived.code()
        && let [base] = row.bases[..]
    {
        let below = known_row(rows, &base)?;
        check_chain(id, row, &below)?;
        chain.push((base, below));
    }
    let lengths = chain.iter().map(|(_, row)| row.raw_len as usize);
    let longest = lengths.max().unwrap_or(0);
    let mut stored = STORED.take();
    let read = if longest > raw.len() {
        let mut buffer = vec![0; longest];
        let read = decode_chain(rows, &chain, &mut stored, &mut buffer);
        read.map(|()| raw.copy_from_slice(&buffer[..raw.len()]))
    } else {
        decode_chain(rows, &chain, &mut stored, raw)
    };
    STORED.set(stored);
    read
}

/// Decodes a chain, the last first, in a buffer as long as its longest chunk.
fn decode_chain(
    rows: &dyn Rows,
    chain: &[(ChunkId, ChunkRow)],
    stored: &mut Vec<u8>,
    buffer: &mut [u8],
) -> Result<()> {
    let mut base_len = None;
    for (id, row) in chain.iter().rev() {
        let raw_len = row.raw_len as usize;
        with_stored(rows, id, row, stored, &mut |stored| {
            if row.codec == Codec::Derived.code() {
                return read_copy(rows, id, row, stored, &mut buffer[..raw_len]);
            }
            let encoded = encoded_bytes(id, stored, &row.bases)?;
            let decoded = codec::decode_onto(row.codec, encoded, base_len, raw_len, buffer);
            decoded.map_err(|error| named_in(id, error))
        })?;
        base_len = Some(raw_len);
    }
    Ok(())
}

/// The raw bytes of a chunk that is a rounded copy of others.
fn read_copy(
    rows: &dyn Rows,
    id: &ChunkId,
    row: &ChunkRow,
    stored: &[u8],
    raw: &mut [u8],
) -> Result<()> {
    let mut masters = Vec::with_capacity(row.bases.len());
    for base in &row.bases {
        let below = known_row(rows, base)?;
        check_chain(id, row, &below)?;
        let mut master = vec![0; below.raw_len as usize];
        read_chunk(rows, base, below, &mut master)?;
        masters.push(master);
    }
    let masters: Vec<&[u8]> = masters.iter().map(Vec::as_slice).collect();
    let encoded = encoded_bytes(id, stored, &row.bases)?;
    codec::decode_copy(encoded, &masters, raw).map_err(|error| named_in(id, error))
}

thread_local! {
    /// Stored bytes on their way in; fresh pages for each chunk cost more than their copy.
    static STORED: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

/// A chain ends, and does not branch below its first chunk: so the bytes of no file, whoever made
/// it, take more than a few hundred chunks' work to read.
fn check_chain(id: &ChunkId, row: &ChunkRow, base: &ChunkRow) -> Result<()> {
    if base.depth >= row.depth || base.bases.len() > 1 {
        return Err(Error::corrupt(named(id), "its bases are no chain"));
    }
    Ok(())
}

/// Shows the stored bytes of a chunk: where the engine has them, or put together in the place of
/// what `joined` holds.
fn with_stored(
    rows: &dyn Rows,
    id: &ChunkId,
    row: &ChunkRow,
    joined: &mut Vec<u8>,
    visit: &mut dyn FnMut(&[u8]) -> Result<()>,
) -> Result<()> {
    if row.is_lost() {
        return Err(Error::corrupt(named(id), "its bytes are lost"));
    }
    if row.extents() == 1 && row.bundle == 0 {
        return each_payload(rows, id, row, &mut |payload| {
            check_stored_len(id, row, payload)?;
            visit(payload)
        });
    }
    joined.clear();
    each_payload(rows, id, row, &mut |payload| {
        joined.extend_from_slice(payload);
        Ok(())
    })?;
    if row.bundle > 0 {
        read_frame(rows, id, row, joined)?;
    }
    check_stored_len(id, row, joined)?;
    visit(joined)
}

/// Shows what each extent of a chunk holds of it.
fn each_payload(
    rows: &dyn Rows,
    id: &ChunkId,
    row: &ChunkRow,
    visit: &mut dyn FnMut(&[u8]) -> Result<()>,
) -> Result<()> {
    let fault = |why: String| Error::corrupt(named(id), why);
    for part in 0..row.extents() {
        let key = extent_key(row.number, usize::from(part));
        let found = rows.extent(key, &mut |bytes| {
            let extent = Extent::from_bytes(bytes)
                .map_err(|error| error.of(format!("part {part} of {}", named(id))))?;
            if !matches_row(&extent.header, part, id, row) {
                return Err(fault(format!("part {part} belongs to another chunk")));
            }
            visit(extent.payload)
        })?;
        if !found {
            return Err(fault(format!("part {part} is missing")));
        }
    }
    Ok(())
}

fn check_stored_len(id: &ChunkId, row: &ChunkRow, stored: &[u8]) -> Result<()> {
    if stored.len() == row.stored_len as usize {
        return Ok(());
    }
    let why = format!("{} bytes are stored, not {}", stored.len(), row.stored_len);
    Err(Error::corrupt(named(id), why))
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
