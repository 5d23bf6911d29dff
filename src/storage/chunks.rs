//! Chunks: into extents, counted, and removed. `load` reads them.

use std::cell::Cell;

use super::bundles::{put_frame, remove_frame};
use super::records::Change;
use super::rows::{Rows, Writes};
use super::suspects::Harm;
use crate::codec;
use crate::error::{Error, Result};
use crate::format::{
    ChunkRef, ChunkRow, Extent, ExtentHeader, MAX_CHAIN_DEPTH, cut_parts, extent_key,
};
use crate::id::ChunkId;

/// A chunk that the store does not have yet, encoded.
#[derive(Clone, Debug)]
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

pub(super) fn known_row(rows: &dyn Rows, id: &ChunkId) -> Result<ChunkRow> {
    chunk_row(rows, id)?.ok_or_else(|| Error::corrupt(named(id), "it is missing"))
}

/// Writes a chunk that nothing refers to yet, and counts it at its bases. Returns its number.
pub(crate) fn put_chunk(change: &mut Change<'_>, chunk: &NewChunk) -> Result<u64> {
    put_counted(change, chunk, (0, 0), MAX_CHAIN_DEPTH)
}

/// Writes a chunk that is named so often, and lies no deeper in a chain than this.
fn put_counted(
    change: &mut Change<'_>,
    chunk: &NewChunk,
    (refs, deltas): (u64, u32),
    deepest: u8,
) -> Result<u64> {
    let number = change.next_chunk();
    let mut depth = 0;
    if chunk.bases.contains(&chunk.id) {
        return Err(Error::corrupt(named(&chunk.id), "it would be its own base"));
    }
    for base in &chunk.bases {
        let below = retain_base(change.rows(), base)?;
        depth = depth.max(below.depth.saturating_add(1));
        if depth > deepest || below.bases.len() > 1 {
            return Err(Error::corrupt(named(&chunk.id), "its bases are no chain"));
        }
    }
    let stored_len = u32::try_from(chunk.stored.len())
        .map_err(|_| Error::invalid(named(&chunk.id), "its stored bytes are too long"))?;
    let header = ExtentHeader {
        part: 0,
        parts: 0,
        bundled: false,
        codec: chunk.codec,
        bases: u8::try_from(chunk.bases.len()).unwrap_or(u8::MAX),
        number,
        chunk: chunk.id,
        raw_len: chunk.raw_len,
        stored_len,
        payload_len: 0,
    };
    let parts = cut_parts(header, &chunk.stored).map_err(|error| error.of(named(&chunk.id)))?;
    let bundle = put_parts(change, &parts)?;
    let row = ChunkRow {
        refs,
        deltas,
        number,
        raw_len: chunk.raw_len,
        stored_len,
        codec: chunk.codec,
        parts: u8::try_from(parts.len()).unwrap_or(u8::MAX),
        depth,
        position: chunk.position,
        bases: chunk.bases.clone(),
        bundle,
    };
    change
        .rows()
        .put_chunk(&chunk.id, &row.to_bytes(&chunk.id))?;
    Ok(number)
}

/// Writes the parts of a chunk. Returns the key of the bundle that the last is in, or 0.
fn put_parts(change: &mut Change<'_>, parts: &[Extent<'_>]) -> Result<u64> {
    let mut bytes = WRITTEN.take();
    let mut bundle = 0;
    for part in parts {
        if part.header.bundled {
            // The last, if any.
            bundle = put_frame(change, part)?;
        } else {
            part.write_to(&mut bytes);
            let key = extent_key(part.header.number, part.header.part.into());
            change.rows().put_extent(key, &bytes)?;
        }
    }
    WRITTEN.set(bytes);
    Ok(bundle)
}

thread_local! {
    /// An extent on its way out; fresh pages for each would cost more than the copy.
    static WRITTEN: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
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
    // What is written against it lies deeper, and has to.
    let deepest = old.as_ref().filter(|_| deltas > 0);
    let deepest = deepest.map_or(MAX_CHAIN_DEPTH, |old| old.depth);
    let number = put_counted(change, chunk, (refs, deltas), deepest)?;
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
    if row.bundle > 0 {
        remove_frame(rows, row.bundle, row.number)?;
    }
    (0..usize::from(row.extents()))
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

pub(super) fn named(id: &ChunkId) -> String {
    format!("chunk {id}")
}

#[cfg(test)]
mod tests {
    use super::super::testing::{engine, write};
    use super::*;
    use crate::storage::{Durability, Engine, Room};

    /// A store with one chunk that nothing names.
    fn with_chunk() -> (Engine, ChunkId) {
        let raw = [5_u8; 3000];
        let chunk = NewChunk::alone(ChunkId::new(*blake3::hash(&raw).as_bytes()), &raw);
        let id = chunk.id;
        let engine = engine(|change| put_chunk(change, &chunk).map(drop));
        (engine, id)
    }

    #[test]
    fn what_others_are_written_against_never_moves_up_its_chain() {
        let chunk = |byte: u8, base: Option<ChunkId>| {
            let raw = [byte; 3000];
            let alone = NewChunk::alone(ChunkId::new(*blake3::hash(&raw).as_bytes()), &raw);
            NewChunk {
                bases: base.into_iter().collect(),
                ..alone
            }
        };
        let (lowest, above) = (chunk(1, None), chunk(2, None));
        let (lowest_id, id) = (lowest.id, above.id);
        let top = chunk(3, Some(id));
        let engine = engine(|change| {
            for chunk in [&lowest, &above, &top] {
                put_chunk(change, chunk)?;
            }
            Ok(())
        });
        let replace = |chunk: &NewChunk, uses| {
            engine.write(Durability::Durable, Room::Ordinary, |rows| {
                let mut change = Change::begin(rows, 0)?;
                replace_chunk(&mut change, chunk, uses)?;
                change.finish()
            })
        };
        // Where nothing is written against it, it may lie anywhere.
        let deeper = chunk(2, Some(lowest_id));
        assert!(matches!(
            replace(&deeper, (1, 1)),
            Err(Error::Corrupt { .. })
        ));
        replace(&chunk(2, None), (1, 1)).unwrap();
        replace(&chunk(3, Some(lowest_id)), (1, 0)).unwrap();
        replace(&deeper, (1, 0)).unwrap();
        let depth = |id| engine.read(|rows| Ok(known_row(rows, &id)?.depth)).unwrap();
        assert_eq!((depth(lowest_id), depth(id)), (0, 1));
    }

    #[test]
    fn a_count_is_what_was_set_and_what_nothing_names_is_staged() {
        let (engine, id) = with_chunk();
        let set = |uses| {
            write(&engine, |rows| count_chunk(rows, &id, uses));
            let read = |rows: &dyn Rows| Ok((known_row(rows, &id)?, rows.staged(9)?));
            let (row, staged) = engine.read(read).unwrap();
            assert_eq!((row.refs, row.deltas), uses);
            assert_eq!(
                (row.raw_len, row.bundle),
                (3000, 16),
                "all else is as it was"
            );
            staged.len()
        };
        assert_eq!(set((3, 2)), 0);
        assert_eq!(set((0, 2)), 1);
        assert_eq!(set((0, 0)), 1);
        assert_eq!(set((1, 0)), 0);
    }

    #[test]
    fn a_chain_is_as_long_as_the_limit_and_no_longer() {
        let made = engine(|change| {
            let mut base: Option<ChunkId> = None;
            for depth in 0..=u32::from(MAX_CHAIN_DEPTH) + 1 {
                let raw = depth.to_le_bytes();
                let id = ChunkId::new(*blake3::hash(&raw).as_bytes());
                let chunk = NewChunk {
                    bases: base.into_iter().collect(),
                    ..NewChunk::alone(id, &raw)
                };
                let put = put_chunk(change, &chunk);
                let is_short = depth <= u32::from(MAX_CHAIN_DEPTH);
                assert_eq!(put.is_ok(), is_short, "{depth}: {put:?}");
                if let Err(error) = put {
                    let told = error.to_string();
                    assert!(
                        told.contains(&format!("chunk {id} is damaged: its bases are no chain")),
                        "{told}"
                    );
                    return Ok(());
                }
                base = Some(id);
            }
            Ok(())
        });
        assert_eq!(
            made.read(|rows| rows.counts()).unwrap().0,
            u64::from(MAX_CHAIN_DEPTH) + 1
        );
    }

    #[test]
    fn what_is_written_anew_is_swept_if_nothing_names_it() {
        let (engine, id) = with_chunk();
        let replace = |uses| {
            let kind = (Durability::Durable, Room::Ordinary);
            let replaced = engine.write(kind.0, kind.1, |rows| {
                let mut change = Change::begin(rows, 0)?;
                replace_chunk(&mut change, &NewChunk::alone(id, &[5; 3000]), uses)?;
                change.finish()
            });
            replaced.unwrap();
            let read = |rows: &dyn Rows| {
                let row = known_row(rows, &id)?;
                Ok((row.number, row.refs, rows.staged(9)?, rows.extent_count()?))
            };
            engine.read(read).unwrap()
        };
        assert_eq!(replace((0, 0)), (2, 0, vec![(2, id)], 1));
        assert_eq!(replace((3, 0)), (3, 3, vec![], 1));
        assert_eq!(replace((0, 0)), (4, 0, vec![(4, id)], 1));
        assert_eq!(replace((0, 0)), (5, 0, vec![(5, id)], 1));
    }
}
