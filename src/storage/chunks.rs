//! Chunks: into extents and out again, counted and verified.

use super::records::Change;
use super::rows::{Rows, Writes};
use super::suspects::Harm;
use crate::codec;
use crate::error::{Error, Result};
use crate::format::{
    ChunkRef, ChunkRow, Extent, ExtentHeader, MAX_CHAIN_DEPTH, MAX_PARTS, cut_extents,
};
use crate::id::ChunkId;

/// A chunk that the store does not have yet, encoded.
#[derive(Debug)]
pub(crate) struct NewChunk {
    /// Hash of the raw bytes.
    pub(crate) id: ChunkId,
    /// Their length.
    pub(crate) raw_len: u32,
    /// The codec's code.
    pub(crate) codec: u8,
    /// The chunks that it is a delta against; the store has them, or gets them before this one.
    pub(crate) bases: Vec<ChunkId>,
    /// How many deltas were written since the last chunk without base.
    pub(crate) position: u8,
    /// The bases' ids, then the encoded bytes.
    pub(crate) stored: Vec<u8>,
}

impl NewChunk {
    /// A chunk as it is.
    pub(crate) fn alone(id: ChunkId, raw: &[u8]) -> Self {
        Self {
            id,
            raw_len: u32::try_from(raw.len()).unwrap_or(u32::MAX),
            codec: codec::Codec::Raw.code(),
            bases: Vec::new(),
            position: 0,
            stored: raw.to_vec(),
        }
    }
}

/// A chunk's row, if the store has the chunk.
pub(crate) fn chunk_row(rows: &dyn Rows, id: &ChunkId) -> Result<Option<ChunkRow>> {
    let Some(bytes) = rows.chunk(id)? else {
        return Ok(None);
    };
    ChunkRow::from_bytes(id, &bytes)
        .map(Some)
        .map_err(|error| error.of(named(id)))
}

fn known_row(rows: &dyn Rows, id: &ChunkId) -> Result<ChunkRow> {
    chunk_row(rows, id)?.ok_or_else(|| Error::corrupt(named(id), "it is missing"))
}

/// Writes a chunk that nothing refers to yet, and counts it at its bases. Returns its number.
pub(crate) fn put_chunk(change: &mut Change<'_>, chunk: &NewChunk) -> Result<u64> {
    put_counted(change, chunk, 0, 0)
}

/// Writes a chunk that is named so often.
fn put_counted(change: &mut Change<'_>, chunk: &NewChunk, refs: u64, deltas: u32) -> Result<u64> {
    let number = change.next_chunk();
    let mut depth = 0;
    for base in &chunk.bases {
        let below = retain_base(change.rows(), base)?;
        depth = depth.max(below.depth.saturating_add(1));
        if depth > MAX_CHAIN_DEPTH || below.bases.len() > 1 {
            return Err(Error::corrupt(named(&chunk.id), "its bases are no chain"));
        }
    }
    let stored_len = u32::try_from(chunk.stored.len())
        .map_err(|_| Error::invalid(named(&chunk.id), "its stored bytes are too long"))?;
    let header = ExtentHeader {
        part: 0,
        parts: 0,
        codec: chunk.codec,
        bases: u8::try_from(chunk.bases.len()).unwrap_or(u8::MAX),
        number,
        chunk: chunk.id,
        raw_len: chunk.raw_len,
        stored_len,
        payload_len: 0,
    };
    let extents = cut_extents(header, &chunk.stored).map_err(|error| error.of(named(&chunk.id)))?;
    let row = ChunkRow {
        refs,
        deltas,
        number,
        raw_len: chunk.raw_len,
        stored_len,
        codec: chunk.codec,
        parts: u8::try_from(extents.len()).unwrap_or(u8::MAX),
        depth,
        position: chunk.position,
        bases: chunk.bases.clone(),
    };
    let rows = change.rows();
    for (part, extent) in extents.iter().enumerate() {
        rows.put_extent(extent_key(number, part), extent)?;
    }
    rows.put_chunk(&chunk.id, &row.to_bytes(&chunk.id))?;
    Ok(number)
}

/// Writes a chunk's bytes anew: in the place of bytes that the store has lost or spoilt, which
/// makes every checkpoint that names it whole again, or of an encoding that is not wanted any more.
/// What is left of the old bytes goes, unless the disk can't read it. It stays named as often as is
/// said.
pub(crate) fn replace_chunk(
    change: &mut Change<'_>,
    chunk: &NewChunk,
    (refs, deltas): (u64, u32),
) -> Result<()> {
    let rows = change.rows();
    // A row that can't be read says nothing of its extents; they stay, unnamed, for a repair.
    let old = chunk_row(rows, &chunk.id).ok().flatten();
    if let Some(old) = &old {
        remove_extents(rows, &chunk.id, old)?;
        rows.unstage(old.number)?;
    }
    let number = put_counted(change, chunk, refs, deltas)?;
    // After the new ones are counted: a base that both have must not fall to nothing between.
    for base in old.iter().flat_map(|old| &old.bases) {
        release_base(change.rows(), base)?;
    }
    if refs == 0 {
        change.rows().stage(number, &chunk.id)?;
    }
    Ok(())
}

/// Notes that a chunk's bytes are lost, and how often it is named.
pub(crate) fn lose_chunk(
    change: &mut Change<'_>,
    chunk: &ChunkRef,
    (refs, deltas): (u64, u32),
) -> Result<()> {
    let id = chunk.chunk();
    let number = match chunk_row(change.rows(), &id) {
        Ok(Some(old)) => {
            remove_extents(change.rows(), &id, &old)?;
            for base in &old.bases {
                release_base(change.rows(), base)?;
            }
            old.number
        }
        _ => change.next_chunk(),
    };
    let row = ChunkRow::lost(refs, deltas, number, chunk.raw_len);
    change.rows().put_chunk(&id, &row.to_bytes(&id))
}

fn remove_extents(rows: &mut dyn Writes, id: &ChunkId, row: &ChunkRow) -> Result<()> {
    if rows.suspects().chunk(id) == Some(Harm::Unreadable) {
        return Ok(());
    }
    (0..usize::from(row.parts))
        .try_for_each(|part| rows.remove_extent(extent_key(row.number, part)))
}

/// Sets how often a chunk is named; one that no checkpoint names is left to be swept.
pub(crate) fn count_chunk(
    rows: &mut dyn Writes,
    id: &ChunkId,
    (refs, deltas): (u64, u32),
) -> Result<()> {
    let row = ChunkRow {
        refs,
        deltas,
        ..known_row(rows, id)?
    };
    if refs == 0 {
        rows.stage(row.number, id)?;
    } else {
        rows.unstage(row.number)?;
    }
    rows.put_chunk(id, &row.to_bytes(id))
}

/// Counts one more reference to a chunk.
pub(crate) fn retain_chunk(rows: &mut dyn Writes, chunk: &ChunkRef) -> Result<()> {
    let id = chunk.chunk();
    let mut row = known_row(rows, &id)?;
    if row.raw_len != chunk.raw_len {
        let why = format!("it has {} bytes, not {}", row.raw_len, chunk.raw_len);
        return Err(Error::corrupt(named(&id), why));
    }
    row.refs += 1;
    rows.put_chunk(&id, &row.to_bytes(&id))
}

/// Counts one more delta against a chunk.
fn retain_base(rows: &mut dyn Writes, id: &ChunkId) -> Result<ChunkRow> {
    let mut row = known_row(rows, id)?;
    row.deltas += 1;
    rows.put_chunk(id, &row.to_bytes(id))?;
    Ok(row)
}

/// Counts one delta less against a chunk; one that nothing names is left to be swept. A base whose
/// row is gone or spoilt has no count: whoever brings it back counts anew.
fn release_base(rows: &mut dyn Writes, id: &ChunkId) -> Result<()> {
    let mut row = match chunk_row(rows, id) {
        Ok(Some(row)) => row,
        Ok(None) | Err(Error::Corrupt { .. }) => return Ok(()),
        Err(other) => return Err(other),
    };
    row.deltas = row.deltas.saturating_sub(1);
    if row.is_unused() {
        rows.stage(row.number, id)?;
    }
    rows.put_chunk(id, &row.to_bytes(id))
}

/// Counts one reference less; a chunk without any is left to be swept, or, if deltas need it, to
/// have these written against another.
pub(crate) fn release_chunk(rows: &mut dyn Writes, id: &ChunkId) -> Result<()> {
    let mut row = known_row(rows, id)?;
    row.refs = row
        .refs
        .checked_sub(1)
        .ok_or_else(|| Error::corrupt(named(id), "its reference count is too small"))?;
    if row.refs == 0 {
        rows.stage(row.number, id)?;
    }
    rows.put_chunk(id, &row.to_bytes(id))
}

/// Removes a staged chunk if nothing refers to it. Returns the stored bytes that this freed.
pub(crate) fn sweep_chunk(rows: &mut dyn Writes, number: u64, id: &ChunkId) -> Result<Option<u64>> {
    rows.unstage(number)?;
    let row = match chunk_row(rows, id)? {
        Some(row) if row.is_unused() && row.number == number => row,
        _ => return Ok(None),
    };
    remove_extents(rows, id, &row)?;
    rows.remove_chunk(id)?;
    for base in &row.bases {
        release_base(rows, base)?;
    }
    Ok(Some(u64::from(row.stored_len)))
}

/// A chunk's raw bytes, verified: whatever is wrong with them is an error, and remembered.
pub(crate) fn load_chunk(rows: &dyn Rows, chunk: &ChunkRef) -> Result<Vec<u8>> {
    let id = chunk.chunk();
    let loaded = known_row(rows, &id).and_then(|row| {
        if row.raw_len != chunk.raw_len {
            let why = format!("it has {} bytes, not {}", row.raw_len, chunk.raw_len);
            return Err(Error::corrupt(named(&id), why));
        }
        let raw = read_chunk(rows, &id, &row)?;
        check_hash(&id, &raw)?;
        Ok(raw)
    });
    let loaded = loaded.map_err(|error| blame_base(rows, &id, error));
    loaded.inspect_err(|error| rows.suspects().note_chunk(id, error))
}

/// The encoded bytes of a chunk, without the ids of its bases.
pub(crate) fn load_encoded(rows: &dyn Rows, id: &ChunkId, row: &ChunkRow) -> Result<Vec<u8>> {
    let mut stored = stored_bytes(rows, id, row)?;
    let ids = stored.len().min(32 * row.bases.len());
    Ok(stored.split_off(ids))
}

/// The raw bytes that a row leads to, through its bases, which are not verified by themselves: the
/// hash of what comes out vouches for all that went in.
fn read_chunk(rows: &dyn Rows, id: &ChunkId, row: &ChunkRow) -> Result<Vec<u8>> {
    let stored = stored_bytes(rows, id, row)?;
    let mut bases = Vec::with_capacity(row.bases.len());
    for base in &row.bases {
        let below = known_row(rows, base)?;
        check_chain(id, row, &below)?;
        bases.push(read_chunk(rows, base, &below)?);
    }
    decoded(id, row.codec, stored, &row.bases, &bases, row.raw_len)
}

/// A chain ends, and does not branch below its first chunk: so the bytes of no file, whoever made
/// it, take more than a few dozen chunks' work to read.
fn check_chain(id: &ChunkId, row: &ChunkRow, base: &ChunkRow) -> Result<()> {
    if base.depth >= row.depth || base.bases.len() > 1 {
        return Err(Error::corrupt(named(id), "its bases are no chain"));
    }
    Ok(())
}

/// The stored bytes of a chunk, all its parts.
fn stored_bytes(rows: &dyn Rows, id: &ChunkId, row: &ChunkRow) -> Result<Vec<u8>> {
    let fault = |why: String| Error::corrupt(named(id), why);
    if row.is_lost() {
        return Err(fault("its bytes are lost".to_owned()));
    }
    let mut stored = Vec::with_capacity(row.stored_len as usize);
    for part in 0..row.parts {
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
    if stored.len() != row.stored_len as usize {
        return Err(fault(format!(
            "{} bytes are stored, not {}",
            stored.len(),
            row.stored_len
        )));
    }
    Ok(stored)
}

/// The raw bytes of a chunk that is stored like this. Its id has yet to vouch for them.
pub(super) fn decoded(
    id: &ChunkId,
    codec: u8,
    mut stored: Vec<u8>,
    bases: &[ChunkId],
    base_bytes: &[Vec<u8>],
    raw_len: u32,
) -> Result<Vec<u8>> {
    let fault = |why: String| Error::corrupt(named(id), why);
    let (ids, encoded) = stored
        .split_at_checked(32 * bases.len())
        .ok_or_else(|| fault("it is too short".to_owned()))?;
    if !ids
        .chunks(32)
        .eq(bases.iter().map(|base| &base.as_bytes()[..]))
    {
        return Err(fault("its bases are not those of its row".to_owned()));
    }
    if codec == codec::Codec::Raw.code() && bases.is_empty() {
        if stored.len() != raw_len as usize {
            return Err(fault("its stored length is not its raw length".to_owned()));
        }
        return Ok(std::mem::take(&mut stored));
    }
    let bytes: Vec<&[u8]> = base_bytes.iter().map(Vec::as_slice).collect();
    codec::decode(codec, encoded, &bytes, raw_len as usize).map_err(|error| match error {
        Error::Corrupt { why, .. } => fault(why),
        other => other,
    })
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

const fn extent_key(number: u64, part: usize) -> u64 {
    number * MAX_PARTS as u64 + part as u64
}

fn named(id: &ChunkId) -> String {
    format!("chunk {id}")
}
