//! Reading one checkpoint in full, for nothing but to see that it can be.

use std::collections::BTreeMap;

use super::read::check_entries;
use super::source::{Source, reading};
use super::walk::{each_chunk, each_group};
use crate::error::{Error, Result};
use crate::storage::{load_chunk_to, unless_of_another};

/// Reads every byte of a checkpoint. Returns their number; memory is that of one chunk and of the
/// list of them.
pub(super) fn check(checkpoint: Source<'_>) -> Result<u64> {
    let record = checkpoint.record;
    let content = record
        .saved
        .content_hash(checkpoint.store.id(), checkpoint.id);
    if content
        .map_err(|error| error.of("a checkpoint"))?
        .as_bytes()
        != &record.content
    {
        let what = format!("the record of {}", checkpoint.label());
        return Err(Error::corrupt(what, "its content hash does not match"));
    }
    let mut chunks = BTreeMap::new();
    let (mut entries, mut bytes) = (0, 0);
    reading(checkpoint, |rows| {
        (entries, bytes) = (0, 0);
        each_group(rows, &record.saved.manifest, &mut |group| {
            chunks.extend(group.pack.map(|pack| (pack.id, pack)));
            for entry in &group.entries {
                entries += 1;
                bytes += entry.bytes;
                let mut length = 0;
                let mut counted = false;
                each_chunk(rows, entry, &mut |chunk| {
                    counted = true;
                    length += u64::from(chunk.raw_len);
                    chunks.insert(chunk.id, *chunk);
                    Ok(())
                })?;
                if counted && length != entry.bytes {
                    return Err(Error::corrupt("an entry's chunk list", "it is too short"));
                }
            }
            Ok(())
        })
    })?;
    check_entries(checkpoint, entries)?;
    let mut raw = Vec::new();
    for chunk in chunks.values() {
        checkpoint
            .store
            .go_on(chunk.raw_len as usize, "verifying")?;
        unless_of_another(|| reading(checkpoint, |rows| load_chunk_to(rows, chunk, &mut raw)))?;
    }
    Ok(bytes)
}
