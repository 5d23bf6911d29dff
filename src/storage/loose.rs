//! Chunks out of extents that were found outside their table.

use std::collections::{HashMap, HashSet};

use super::chunks::NewChunk;
use super::load::{check_hash, decoded};
use super::raw::{LooseExtent, RawMedium};
use crate::error::{Error, Result};
use crate::format::{ChunkRef, Extent, MAX_CHAIN_DEPTH, MAX_NUMBER};
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

    /// The largest number that a chunk has, of those that leave room for more: what is beyond that
    /// is somebody else's.
    pub(crate) fn last_number(&self) -> u64 {
        let all = self.extents.values().flatten();
        let numbers = all.map(|extent| extent.header.number);
        numbers
            .filter(|number| *number < MAX_NUMBER / 2)
            .max()
            .unwrap_or(0)
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
                let many = usize::from(extent.header.parts);
                parts.resize_with(many.max(parts.len()), Vec::new);
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

#[cfg(test)]
mod tests {
    use super::super::memory::MemoryMedium;
    use super::super::raw::Frame;
    use super::*;
    use crate::codec::Codec;
    use crate::format::{ExtentHeader, cut_parts};

    /// An extent for each part of what is stored of a chunk, in a place of their own.
    fn extents(number: u64, raw: &[u8], bases: &[&[u8]], codec: u8, stored: &[u8]) -> Vec<Vec<u8>> {
        let ids = bases.iter().flat_map(|base| *blake3::hash(base).as_bytes());
        let stored: Vec<u8> = ids.chain(stored.iter().copied()).collect();
        let header = ExtentHeader {
            part: 0,
            parts: 0,
            bundled: false,
            codec,
            bases: u8::try_from(bases.len()).unwrap(),
            number,
            chunk: ChunkId::new(*blake3::hash(raw).as_bytes()),
            raw_len: u32::try_from(raw.len()).unwrap(),
            stored_len: u32::try_from(stored.len()).unwrap(),
            payload_len: 0,
        };
        let cut = cut_parts(header, &stored).unwrap();
        let written = |extent: &Extent<'_>| {
            let mut bytes = Vec::new();
            extent.write_to(&mut bytes);
            bytes
        };
        cut.iter().map(written).collect()
    }

    fn found(frames: &[Vec<u8>], raw: &[u8]) -> Result<(NewChunk, Vec<u8>)> {
        let medium = MemoryMedium::new(frames.concat());
        let medium = RawMedium::open(&medium).unwrap();
        let mut chunks = LooseChunks::default();
        let scanned = medium.scan(&mut |_, _| {}, &mut |frame| {
            if let Frame::Extent(extent) = frame {
                chunks.note(extent);
            }
            Ok(())
        });
        scanned.unwrap();
        let named = ChunkRef {
            id: *blake3::hash(raw).as_bytes(),
            raw_len: u32::try_from(raw.len()).unwrap(),
        };
        chunks.load(&medium, &named)
    }

    /// A chunk in two parts, and one of its parts spoilt.
    fn in_two() -> (Vec<u8>, Vec<Vec<u8>>, Vec<u8>) {
        let raw: Vec<u8> = (0..12_100_u32).map(|at| at.to_le_bytes()[0] | 1).collect();
        let sound = extents(1, &raw, &[], Codec::Raw.code(), &raw);
        assert_eq!(sound.len(), 2);
        let mut spoilt = sound[0].clone();
        spoilt[1000] ^= 0x10;
        (raw, sound, spoilt)
    }

    #[test]
    fn of_several_copies_the_sound_ones_are_put_together_however_many_are_alike() {
        let (raw, sound, spoilt) = in_two();
        assert!(found(&sound, &raw).unwrap().1 == raw);
        assert!(found(&sound[..1], &raw).is_err());
        let lost = found(&[spoilt.clone(), sound[1].clone()], &raw);
        assert!(matches!(lost, Err(Error::Corrupt { .. })));
        let both = [spoilt.clone(), sound[0].clone(), sound[1].clone()];
        assert!(found(&both, &raw).unwrap().1 == raw);
        let both = [sound[1].clone(), sound[0].clone(), spoilt.clone()];
        assert!(found(&both, &raw).unwrap().1 == raw);
        // The same spoilt bytes over and over count once.
        let mut many = vec![spoilt; MOST_TRIES];
        many.extend(sound.clone());
        assert!(found(&many, &raw).unwrap().1 == raw);
        // Every way to choose among copies of both parts is tried.
        let spoil = |part: usize, at: usize| {
            let mut bytes = sound[part].clone();
            bytes[at] ^= 0x10;
            bytes
        };
        let mixed = [
            spoil(0, 1000),
            spoil(0, 1001),
            sound[0].clone(),
            spoil(1, 1000),
            spoil(1, 1001),
            sound[1].clone(),
        ];
        assert!(found(&mixed, &raw).unwrap().1 == raw);
    }

    #[test]
    fn a_chain_is_followed_as_deep_as_one_can_be_and_branches_only_at_its_top() {
        // Copies of two others: each is put together from both.
        let raw = |at: u32| [at.to_le_bytes().as_slice(), &[7; 3000]].concat();
        let alone = |at| extents(1, &raw(at), &[], Codec::Raw.code(), &raw(at)).remove(0);
        // With a base, raw bytes are not a delta: what is told is how far it was followed.
        let above = |at: u32, bases: &[u32]| {
            let bases: Vec<Vec<u8>> = bases.iter().map(|base| raw(*base)).collect();
            let bases: Vec<&[u8]> = bases.iter().map(Vec::as_slice).collect();
            extents(1, &raw(at), &bases, Codec::Sparse.code(), &[]).remove(0)
        };
        let told = |frames: &[Vec<u8>], at| found(frames, &raw(at)).unwrap_err().to_string();
        let missing = told(&[above(2, &[1])], 2);
        assert!(missing.contains("its base is missing"), "{missing}");
        let chain = |deltas: u32| -> Vec<Vec<u8>> {
            let above = (1..=deltas).map(|at| above(at, &[at - 1]));
            above.chain([alone(0)]).collect()
        };
        let deepest = u32::from(MAX_CHAIN_DEPTH);
        for (deltas, is_chain) in [(1, true), (deepest, true), (deepest + 1, false)] {
            let why = told(&chain(deltas), deltas);
            assert_eq!(!why.contains("no chain"), is_chain, "{deltas}: {why}");
        }
        let below = told(&[above(3, &[2]), above(2, &[0, 1]), alone(0), alone(1)], 3);
        assert!(below.contains("no chain"), "{below}");
        let top = told(&[above(2, &[0, 1]), alone(0), alone(1)], 2);
        assert!(!top.contains("no chain"), "{top}");
    }
}
