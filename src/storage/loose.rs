//! Chunks out of extents that were found outside their table.

use std::collections::{HashMap, HashSet};

use super::chunks::{NewChunk, decoded};
use super::raw::{LooseExtent, RawMedium};
use crate::error::{Error, Result};
use crate::format::{ChunkRef, Extent};
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

    /// Puts a chunk together; its raw bytes are verified.
    pub(crate) fn load(&self, raw: &RawMedium, chunk: &ChunkRef) -> Result<NewChunk> {
        let id = chunk.chunk();
        let lost = |why: &str| Error::corrupt(format!("chunk {id}"), why);
        let found = self.extents.get(&id).ok_or_else(|| lost("it is missing"))?;
        // Parts belong together only if they were written together.
        let mut numbers: Vec<u64> = found.iter().map(|extent| extent.header.number).collect();
        numbers.sort_unstable();
        numbers.dedup();
        let mut fault = lost("a part of it is missing");
        for number in numbers {
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
                match assemble(raw, chunk, &parts, way) {
                    Ok(whole) => return Ok(whole),
                    Err(error @ Error::Corrupt { .. }) => fault = error,
                    Err(other) => return Err(other),
                }
            }
        }
        Err(fault)
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

/// One of the ways to choose a copy of each part.
fn assemble(
    raw: &RawMedium,
    chunk: &ChunkRef,
    parts: &[Vec<&LooseExtent>],
    mut way: usize,
) -> Result<NewChunk> {
    let id = chunk.chunk();
    let fault = |why: String| Error::corrupt(format!("chunk {id}"), why);
    let mut stored = Vec::new();
    let mut codec = 0;
    for copies in parts {
        let extent = copies
            .get(way % copies.len())
            .ok_or_else(|| fault("a part of it is missing".to_owned()))?;
        way /= copies.len();
        let bytes = raw.bytes(extent.at, extent.header.extent_len());
        let read = Extent::from_bytes(&bytes).map_err(|error| error.of(format!("chunk {id}")))?;
        if read.header.bases != 0 {
            return Err(fault("its bases are of a later release".to_owned()));
        }
        codec = read.header.codec;
        stored.extend_from_slice(read.payload);
    }
    decoded(&id, codec, stored.clone(), chunk.raw_len)?;
    Ok(NewChunk {
        id,
        raw_len: chunk.raw_len,
        codec,
        stored,
    })
}
