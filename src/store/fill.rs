//! Chunks into the buffers that they belong to, with several threads where there is much to load.

use super::source::{Source, reading};
use super::threads::{BESIDE_BYTES, each};
use super::walk::each_chunk;
use crate::error::{Error, Result};
use crate::format::{ChunkRef, EntryRecord};
use crate::name::printable;
use crate::platform::Buffer;
use crate::storage::{load_chunk_into, unless_of_another};

/// A chunk, and where its bytes belong.
#[derive(Debug)]
pub(super) struct Slot<'b> {
    chunk: ChunkRef,
    out: &'b mut [u8],
}

/// The chunks of an entry. Together they are as long as it is.
pub(super) fn chunks_of(checkpoint: Source<'_>, entry: &EntryRecord) -> Result<Vec<ChunkRef>> {
    let mut chunks = Vec::new();
    let mut bytes = 0;
    reading(checkpoint, |rows| {
        (chunks, bytes) = (Vec::new(), 0);
        each_chunk(rows, entry, &mut |chunk| {
            chunks.push(*chunk);
            bytes += u64::from(chunk.raw_len);
            Ok(())
        })
    })?;
    if bytes != entry.bytes {
        let why = format!("its chunks have {bytes} bytes, it has {}", entry.bytes);
        let what = format!(
            "entry `{}` of {}",
            printable(&entry.name),
            checkpoint.label()
        );
        return Err(Error::corrupt(what, why));
    }
    Ok(chunks)
}

/// A buffer for an entry, if it fits in memory.
pub(super) fn buffer(entry: &EntryRecord) -> Result<Buffer> {
    let length = usize::try_from(entry.bytes).ok();
    let buffer = length.and_then(|length| Buffer::new(length).ok());
    buffer.ok_or_else(|| {
        let what = format!("entry `{}`", printable(&entry.name));
        Error::invalid(what, "it does not fit in memory")
    })
}

/// The slots of chunks that follow each other in a buffer, which is as long as they are.
pub(super) fn slots<'b>(chunks: &[ChunkRef], mut out: &'b mut [u8]) -> Vec<Slot<'b>> {
    let slot = |chunk: &ChunkRef| {
        let length = (chunk.raw_len as usize).min(out.len());
        let (own, rest) = std::mem::take(&mut out).split_at_mut(length);
        out = rest;
        Slot {
            chunk: *chunk,
            out: own,
        }
    };
    chunks.iter().map(slot).collect()
}

/// Fills all of them. Of several failures, that of the first slot is told.
pub(super) fn fill(checkpoint: Source<'_>, slots: Vec<Slot<'_>>) -> Result<()> {
    let bytes: usize = slots.iter().map(|slot| slot.out.len()).sum();
    let threads = match checkpoint.store.options().threads {
        _ if bytes < BESIDE_BYTES => 1,
        threads => threads.min(slots.len()),
    };
    each(threads, slots.into_iter(), |slot| load(checkpoint, slot))
}

fn load(checkpoint: Source<'_>, slot: Slot<'_>) -> Result<()> {
    let Slot { chunk, out } = slot;
    checkpoint.store.go_on(out.len(), "reading")?;
    unless_of_another(|| reading(checkpoint, |rows| load_chunk_into(rows, &chunk, out)))
}
