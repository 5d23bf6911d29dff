//! Tensors of a stored checkpoint that are others of it, rounded: as saves find them among what
//! they are given, these are found among what is stored.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet};

use crate::codec::{Codec, Encoder, Narrow, Texture};
use crate::error::Result;
use crate::format::{
    CheckpointRecord, ChunkRef, ChunkRow, Content, KindRecord, MAX_CHAIN_DEPTH, SMALL_ENTRY_BYTES,
};
use crate::id::ChunkId;
use crate::storage::{NewChunk, Rows, chunk_row, load_chunk};
use crate::store::Store;
use crate::store::bases::unless_damaged;
use crate::store::walk::{each_chunk, each_group};
use crate::tensor::DType;

/// Bytes of a copy that are looked at before all of them are: most that are none differ there.
const PROBE: usize = 2 << 10;

/// A chunk, and those that it is the rounding of, end to end.
#[derive(Clone, Debug)]
pub(super) struct Copy {
    pub(super) chunk: ChunkRef,
    narrow: Narrow,
    masters: Vec<ChunkRef>,
}

/// A tensor that is not packed, and its chunks.
struct Tensor {
    dtype: DType,
    shape: Vec<u64>,
    chunks: Vec<ChunkRef>,
}

/// The chunks of a checkpoint that are stored otherwise and could be derived from others of it.
/// Each tensor of four bytes that has the shape of one of two is read in part, and those that begin
/// alike as a whole; those of which all chunks have been `seen` are not looked at again.
pub(super) fn copies(
    store: &Store,
    record: &CheckpointRecord,
    seen: &HashSet<ChunkId>,
) -> Result<Vec<Copy>> {
    let tensors = store.read(|rows| tensors(rows, record))?;
    let mut masters: HashMap<&[u64], Vec<&Tensor>> = HashMap::new();
    for tensor in tensors.iter().filter(|tensor| tensor.dtype == DType::F32) {
        masters.entry(&tensor.shape).or_default().push(tensor);
    }
    let mut beginnings = HashMap::new();
    let mut found = Vec::new();
    for tensor in &tensors {
        let narrow = match tensor.dtype {
            DType::Bf16 => Narrow::Bf16,
            DType::F16 => Narrow::F16,
            _ => continue,
        };
        let candidates = masters.get(&*tensor.shape).map_or(&[][..], Vec::as_slice);
        if candidates.is_empty() || !is_any_due(store, tensor, seen)? {
            continue;
        }
        let Some(begins) = beginning(store, tensor, PROBE)? else {
            continue;
        };
        for master in candidates {
            let Some(first) = master.chunks.first() else {
                continue;
            };
            let like = match beginnings.entry(first.id) {
                Entry::Occupied(known) => known.into_mut(),
                Entry::Vacant(new) => new.insert(beginning(store, master, 2 * PROBE)?),
            };
            let like = like.as_deref();
            if like.is_some_and(|like| narrow.is_rounded(&begins, &[like]))
                && let Some(copies) = copies_of(store, tensor, narrow, master)?
            {
                found.extend(copies);
                break;
            }
        }
    }
    // Zeros are their own rounding. What others are derived from is stored by itself.
    let needed: HashSet<[u8; 32]> = found.iter().flat_map(Copy::master_ids).collect();
    found.retain(|copy| !needed.contains(&copy.chunk.id));
    Ok(found)
}

/// The tensors that may be copies or masters.
fn tensors(rows: &dyn Rows, record: &CheckpointRecord) -> Result<Vec<Tensor>> {
    let mut found = Vec::new();
    each_group(rows, &record.saved.manifest, &mut |group| {
        for entry in &group.entries {
            let KindRecord::Tensor { dtype, shape } = &entry.kind else {
                continue;
            };
            let is_stored_apart = match entry.content {
                Content::Inline(_) | Content::Packed(_) => false,
                Content::Chunks(_) | Content::Tree { .. } => true,
            };
            if let Some(dtype @ (DType::F32 | DType::Bf16 | DType::F16)) = DType::from_code(*dtype)
                && is_stored_apart
                && entry.bytes >= SMALL_ENTRY_BYTES as u64
            {
                let mut chunks = Vec::new();
                each_chunk(rows, entry, &mut |chunk| {
                    chunks.push(*chunk);
                    Ok(())
                })?;
                found.push(Tensor {
                    dtype,
                    shape: shape.clone(),
                    chunks,
                });
            }
        }
        Ok(())
    })?;
    Ok(found)
}

/// Whether any chunk is stored otherwise than derived, and has not been seen.
fn is_any_due(store: &Store, tensor: &Tensor, seen: &HashSet<ChunkId>) -> Result<bool> {
    let read = store.read(|rows| {
        let is_new = |chunk: &&ChunkRef| !seen.contains(&chunk.chunk());
        for chunk in tensor.chunks.iter().filter(is_new) {
            let row = chunk_row(rows, &chunk.chunk())?;
            if row.is_some_and(|row| row.codec != Codec::Derived.code()) {
                return Ok(true);
            }
        }
        Ok(false)
    });
    Ok(unless_damaged(read)?.unwrap_or(false))
}

/// The first bytes of a tensor, unless they can't be read.
fn beginning(store: &Store, tensor: &Tensor, bytes: usize) -> Result<Option<Vec<u8>>> {
    let Some(first) = tensor.chunks.first() else {
        return Ok(None);
    };
    let raw = loaded(store, first)?;
    Ok(raw.map(|mut raw| {
        raw.truncate(bytes);
        raw.shrink_to_fit();
        raw
    }))
}

fn loaded(store: &Store, chunk: &ChunkRef) -> Result<Option<Vec<u8>>> {
    unless_damaged(store.read(|rows| load_chunk(rows, chunk)))
}

/// The chunks of one tensor, if all of them are the other's, rounded. A chunk is as long as two of
/// the master, or what is left.
fn copies_of(
    store: &Store,
    tensor: &Tensor,
    narrow: Narrow,
    master: &Tensor,
) -> Result<Option<Vec<Copy>>> {
    let pairs = master.chunks.chunks(2);
    if pairs.len() != tensor.chunks.len() {
        return Ok(None);
    }
    let mut copies = Vec::with_capacity(tensor.chunks.len());
    for (chunk, masters) in tensor.chunks.iter().zip(pairs) {
        let copy = Copy {
            chunk: *chunk,
            narrow,
            masters: masters.to_vec(),
        };
        if copy.encoded(store)?.is_none() {
            return Ok(None);
        }
        copies.push(copy);
    }
    Ok(Some(copies))
}

impl Copy {
    fn master_ids(&self) -> impl Iterator<Item = [u8; 32]> {
        self.masters.iter().map(|master| master.id)
    }

    /// What kind of bytes it has.
    pub(super) const fn texture(&self) -> Texture {
        Texture::of(match self.narrow {
            Narrow::Bf16 => DType::Bf16,
            Narrow::F16 => DType::F16,
        })
    }

    /// What the chunk is stored as, if all that it takes can be read.
    fn encoded(&self, store: &Store) -> Result<Option<NewChunk>> {
        let Some(raw) = loaded(store, &self.chunk)? else {
            return Ok(None);
        };
        let mut wide = Vec::with_capacity(self.masters.len());
        for master in &self.masters {
            match loaded(store, master)? {
                Some(master) => wide.push(master),
                None => return Ok(None),
            }
        }
        let wide: Vec<&[u8]> = wide.iter().map(Vec::as_slice).collect();
        let masters: Vec<ChunkId> = self.masters.iter().map(ChunkRef::chunk).collect();
        let derived = Encoder::derive(self.narrow, &raw, &wide, &masters);
        Ok(derived.map(|encoded| NewChunk {
            id: self.chunk.chunk(),
            raw_len: self.chunk.raw_len,
            codec: encoded.codec.code(),
            bases: masters,
            // Nothing is to be written against it.
            position: u8::MAX,
            stored: encoded.bytes,
        }))
    }

    /// The chunk as it is written anew, and its stored bytes before; none where that gains nothing,
    /// or something is written against it: what has several bases is nobody's.
    pub(super) fn derived(&self, store: &Store) -> Result<Option<(NewChunk, u32)>> {
        let fits = store.read(|rows| {
            let row = chunk_row(rows, &self.chunk.chunk())?;
            let row = row.filter(|row| row.deltas == 0 && row.refs > 0);
            let bears = |row: &ChunkRow| {
                let is_whole = row.bases.len() <= 1 && row.codec != Codec::Derived.code();
                row.depth < MAX_CHAIN_DEPTH && is_whole
            };
            for master in &self.masters {
                let below = chunk_row(rows, &master.chunk())?;
                if master.id == self.chunk.id || !below.as_ref().is_some_and(bears) {
                    return Ok(None);
                }
            }
            Ok(row.filter(|row| row.codec != Codec::Derived.code()))
        });
        let Some(row) = unless_damaged(fits)?.flatten() else {
            return Ok(None);
        };
        let new = self.encoded(store)?;
        let new = new.filter(|new| new.stored.len() < row.stored_len as usize);
        Ok(new.map(|new| (new, row.stored_len)))
    }
}
