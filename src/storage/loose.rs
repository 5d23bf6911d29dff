//! Chunks out of extents that were found outside their table.

use std::collections::{HashMap, HashSet};

use super::chunks::NewChunk;
use super::load::{check_hash, decoded};
use super::raw::{LooseExtent, RawMedium};
use crate::error::{Error, Result};
use crate::format::{ChunkRef, Extent, MAX_CHAIN_DEPTH};
use crate::id::ChunkId;

/// Several copies of a part may be found, some of them spoilt. No more ways to put a chunk together
/// are tried than this.
const MOST_TRIES: usize = 256;

/// The extents that were found, by chunk.
#[derive(Debug, Default)]
pub(crate) struct LooseChunks {
    extents: HashMap<ChunkId, Vec<LooseExtent>>,
}

impl LooseChunks {
    /// Takes note of an extent.
    pub(crate) fn note(&mut self, extent: LooseExtent) {
        self.extents
            .entry(extent.header.chunk)
            .or_default()
            .push(extent);
    }

    /// How many chunks there are extents of.
    pub(crate) fn len(&self) -> usize {
        self.extents.len()
    }

    /// Puts a chunk together; its raw bytes are verified, and come with it.
    pub(crate) fn load(&self, raw: &RawMedium, chunk: &ChunkRef) -> Result<(NewChunk, Vec<u8>)> {
        self.load_at(raw, chunk, 0, &mut HashSet::new())
    }

    /// How long a chunk is, by its extents.
    pub(crate) fn raw_len(&self, id: &ChunkId) -> Option<u32> {
        let found = self.extents.get(id)?;
        found.first().map(|extent| extent.header.raw_len)
    }

    /// [`LooseChunks::load`] of a chunk so many deltas above the first that was asked for.
    /// Those in `failed` are not tried again: there may be several encodings of each chunk of a
    /// chain, and all ways through them are too many.
    fn load_at(
        &self,
        raw: &RawMedium,
        chunk: &ChunkRef,
        above: u8,
        failed: &mut HashSet<ChunkId>,
    ) -> Result<(NewChunk, Vec<u8>)> {
        let id = chunk.chunk();
        let lost = |why: &str| Error::corrupt(format!("chunk {id}"), why);
        let found = self.extents.get(&id).ok_or_else(|| lost("it is missing"))?;
        if failed.contains(&id) {
            return Err(lost("its bytes do not verify"));
        }
        // Parts belong together only if they were written together.
        let mut numbers: Vec<u64> = found.iter().map(|extent| extent.header.number).collect();
        numbers.sort_unstable();
        numbers.dedup();
        let mut fault = lost("a part of it is missing");
        // The newest first: an older one may be an encoding that was given up, and its base with
        // it.
        for number in numbers.into_iter().rev() {
            let of_number = found.iter().filter(|e| e.header.number == number);
            let mut parts: Vec<Vec<&LooseExtent>> = Vec::new();
            for extent in of_number {
                parts.resize_with(usize::from(extent.header.parts).max(parts.len()), Vec::new);
                if let Some(part) = parts.get_mut(usize::from(extent.header.part)) {
                    part.push(extent);
                }
            }
            for copies in &mut parts {
                drop_equal(raw, copies);
            }
            let ways = parts.iter().map(Vec::len).fold(1, usize::saturating_mul);
            for way in 0..ways.min(MOST_TRIES) {
                let put_together = assemble(raw, chunk, &parts, way)
                    .and_then(|whole| self.decode(raw, whole, above, failed));
                match put_together {
                    Ok(whole) => return Ok(whole),
                    Err(error @ Error::Corrupt { .. }) => fault = error,
                    Err(other) => return Err(other),
                }
            }
        }
        failed.insert(id);
        Err(fault)
    }

    /// The raw bytes of what was put together, through its bases.
    fn decode(
        &self,
        raw: &RawMedium,
        chunk: NewChunk,
        above: u8,
        failed: &mut HashSet<ChunkId>,
    ) -> Result<(NewChunk, Vec<u8>)> {
        let fault = |why: &str| Error::corrupt(format!("chunk {}", chunk.id), why);
        if above > MAX_CHAIN_DEPTH || (above > 0 && chunk.bases.len() > 1) {
            return Err(fault("its bases are no chain"));
        }
        let mut bases = Vec::with_capacity(chunk.bases.len());
        for base in &chunk.bases {
            let raw_len = self
                .raw_len(base)
                .ok_or_else(|| fault("its base is missing"))?;
            let base = ChunkRef {
                id: *base.as_bytes(),
                raw_len,
            };
            bases.push(self.load_at(raw, &base, above + 1, failed)?.1);
        }
        let masters: Vec<&[u8]> = bases.iter().map(Vec::as_slice).collect();
        let (id, raw_len) = (&chunk.id, chunk.raw_len);
        let stored = &chunk.stored;
        let bytes = decoded(id, chunk.codec, stored, &chunk.bases, &masters, raw_len)?;
        check_hash(id, &bytes)?;
        Ok((chunk, bytes))
    }
}

/// Of copies with the same bytes, one is enough.
fn drop_equal(raw: &RawMedium, copies: &mut Vec<&LooseExtent>) {
    if copies.len() > 1 {
        let mut seen = HashSet::new();
        copies.retain(|copy| {
            let bytes = raw.bytes(copy.at, copy.header.extent_len());
            seen.insert(blake3::hash(&bytes))
        });
    }
}

/// One of the ways to choose a copy of each part. Nothing vouches for the bytes yet.
fn assemble(
    raw: &RawMedium,
    chunk: &ChunkRef,
    parts: &[Vec<&LooseExtent>],
    mut way: usize,
) -> Result<NewChunk> {
    let id = chunk.chunk();
    let fault = |why: String| Error::corrupt(format!("chunk {id}"), why);
    let mut stored = Vec::new();
    let (mut codec, mut bases) = (0, 0);
    for copies in parts {
        let extent = copies
            .get(way % copies.len())
            .ok_or_else(|| fault("a part of it is missing".to_owned()))?;
        way /= copies.len();
        let bytes = raw.bytes(extent.at, extent.header.extent_len());
        let read = Extent::from_bytes(&bytes).map_err(|error| error.of(format!("chunk {id}")))?;
        (codec, bases) = (read.header.codec, usize::from(read.header.bases));
        stored.extend_from_slice(read.payload);
    }
    let (ids, _) = stored
        .split_at_checked(32 * bases)
        .ok_or_else(|| fault("it is too short".to_owned()))?;
    let (ids, _) = ids.as_chunks::<32>();
    Ok(NewChunk {
        id,
        raw_len: chunk.raw_len,
        codec,
        bases: ids.iter().map(|id| ChunkId::new(*id)).collect(),
        // What it was is not told by its extents; the next delta above it starts a new chain.
        position: if bases == 0 { 0 } else { u8::MAX },
        stored,
    })
}
