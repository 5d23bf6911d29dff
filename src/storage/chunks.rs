//! Chunks: into extents and out again, counted and verified.

use super::records::Change;
use super::rows::{Rows, Writes};
use super::suspects::Harm;
use crate::codec;
use crate::error::{Error, Result};
use crate::format::{ChunkRef, ChunkRow, Extent, ExtentHeader, MAX_PARTS, cut_extents};
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
    /// The encoded bytes.
    pub(crate) stored: Vec<u8>,
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

/// Writes a chunk that nothing refers to yet. Returns its number.
pub(crate) fn put_chunk(change: &mut Change<'_>, chunk: &NewChunk) -> Result<u64> {
    let number = change.next_chunk();
    let stored_len = u32::try_from(chunk.stored.len())
        .map_err(|_| Error::invalid(named(&chunk.id), "its stored bytes are too long"))?;
    let header = ExtentHeader {
        part: 0,
        parts: 0,
        codec: chunk.codec,
        bases: 0,
        number,
        chunk: chunk.id,
        raw_len: chunk.raw_len,
        stored_len,
        payload_len: 0,
    };
    let extents = cut_extents(header, &chunk.stored).map_err(|error| error.of(named(&chunk.id)))?;
    let row = ChunkRow {
        refs: 0,
        number,
        raw_len: chunk.raw_len,
        stored_len,
        codec: chunk.codec,
        parts: u8::try_from(extents.len()).unwrap_or(u8::MAX),
        depth: 0,
        bases: Vec::new(),
    };
    let rows = change.rows();
    for (part, extent) in extents.iter().enumerate() {
        rows.put_extent(extent_key(number, part), extent)?;
    }
    rows.put_chunk(&chunk.id, &row.to_bytes(&chunk.id))?;
    Ok(number)
}

/// Writes a chunk's bytes anew where the store has lost or spoilt them: every checkpoint that names
/// it is whole again. What is left of the old bytes goes, unless the disk can't read it.
pub(crate) fn heal_chunk(change: &mut Change<'_>, chunk: &NewChunk, refs: u64) -> Result<()> {
    let rows = change.rows();
    // A row that can't be read says nothing of its extents; they stay, unnamed, for a repair.
    if let Ok(Some(old)) = chunk_row(rows, &chunk.id) {
        remove_extents(rows, &chunk.id, &old)?;
        rows.unstage(old.number)?;
        for base in &old.bases {
            release_chunk(rows, base)?;
        }
    }
    let number = put_chunk(change, chunk)?;
    let rows = change.rows();
    let mut row = known_row(rows, &chunk.id)?;
    row.refs = refs;
    if refs == 0 {
        rows.stage(number, &chunk.id)?;
    }
    rows.put_chunk(&chunk.id, &row.to_bytes(&chunk.id))
}

/// Notes that a chunk's bytes are lost, and how often it is named.
pub(crate) fn lose_chunk(change: &mut Change<'_>, chunk: &ChunkRef, refs: u64) -> Result<()> {
    let id = chunk.chunk();
    let number = match chunk_row(change.rows(), &id) {
        Ok(Some(old)) => {
            remove_extents(change.rows(), &id, &old)?;
            old.number
        }
        _ => change.next_chunk(),
    };
    let row = ChunkRow::lost(refs, number, chunk.raw_len);
    change.rows().put_chunk(&id, &row.to_bytes(&id))
}

fn remove_extents(rows: &mut dyn Writes, id: &ChunkId, row: &ChunkRow) -> Result<()> {
    if rows.suspects().chunk(id) == Some(Harm::Unreadable) {
        return Ok(());
    }
    (0..usize::from(row.parts))
        .try_for_each(|part| rows.remove_extent(extent_key(row.number, part)))
}

/// Sets how often a chunk is named; one that nothing names is left to be swept.
pub(crate) fn count_chunk(rows: &mut dyn Writes, id: &ChunkId, refs: u64) -> Result<()> {
    let row = ChunkRow {
        refs,
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

/// Counts one reference less; a chunk without any is left to be swept.
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
        Some(row) if row.refs == 0 && row.number == number => row,
        _ => return Ok(None),
    };
    remove_extents(rows, id, &row)?;
    rows.remove_chunk(id)?;
    for base in &row.bases {
        release_chunk(rows, base)?;
    }
    Ok(Some(u64::from(row.stored_len)))
}

/// A chunk's raw bytes, verified: whatever is wrong with them is an error, and remembered.
pub(crate) fn load_chunk(rows: &dyn Rows, chunk: &ChunkRef) -> Result<Vec<u8>> {
    read_chunk(rows, chunk).inspect_err(|error| rows.suspects().note_chunk(chunk.chunk(), error))
}

fn read_chunk(rows: &dyn Rows, chunk: &ChunkRef) -> Result<Vec<u8>> {
    let id = chunk.chunk();
    let row = known_row(rows, &id)?;
    let fault = |why: String| Error::corrupt(named(&id), why);
    if row.raw_len != chunk.raw_len {
        return Err(fault(format!(
            "it has {} bytes, not {}",
            row.raw_len, chunk.raw_len
        )));
    }
    if row.is_lost() {
        return Err(fault("its bytes are lost".to_owned()));
    }
    let mut stored = Vec::with_capacity(row.stored_len as usize);
    for part in 0..row.parts {
        let key = extent_key(row.number, usize::from(part));
        let found = rows.extent(key, &mut |bytes| {
            let extent = Extent::from_bytes(bytes)
                .map_err(|error| error.of(format!("part {part} of {}", named(&id))))?;
            if !matches_row(&extent.header, part, &id, &row) {
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
    decoded(&id, row.codec, stored, row.raw_len)
}

/// The raw bytes of a chunk that is stored like this, verified.
pub(super) fn decoded(id: &ChunkId, codec: u8, stored: Vec<u8>, raw_len: u32) -> Result<Vec<u8>> {
    let fault = |why: String| Error::corrupt(named(id), why);
    let raw = if codec == codec::Codec::Raw.code() {
        stored
    } else {
        codec::decode(codec, &stored, raw_len as usize).map_err(|error| match error {
            Error::Corrupt { why, .. } => fault(why),
            other => other,
        })?
    };
    if raw.len() != raw_len as usize || blake3::hash(&raw).as_bytes() != id.as_bytes() {
        return Err(fault("its bytes are not what was saved".to_owned()));
    }
    Ok(raw)
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
