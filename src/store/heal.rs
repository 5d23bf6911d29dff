//! Healing: a save that has the bytes of a damaged chunk writes them anew.

use std::collections::HashSet;
use std::ops::ControlFlow;

use crate::error::{Error, Result};
use crate::format::{ChunkRow, Manifest};
use crate::id::{ChunkId, NodeId};
use crate::storage::{
    Change, NewChunk, NodeSet, References, Rows, chunk_row, count_chunk, heal_nodes, replace_chunk,
};
use crate::store::Store;

/// What the store has of a chunk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Presence {
    Absent,
    /// There, as far as is known.
    Present,
    /// Named by checkpoints, but its bytes are lost or spoilt.
    Damaged,
}

impl Store {
    /// Whether a save may share a chunk. Its bytes are not read for that: a chunk counts as sound
    /// until a load, a verification or a repair finds it damaged. `is_due`: the parent has it.
    pub(super) fn presence(&self, id: &ChunkId, is_due: bool) -> Result<Presence> {
        let suspect = self.engine().suspects().chunk(id);
        let row = self.read(|rows| match chunk_row(rows, id) {
            // A spoilt row is no reason to refuse the save that can heal it.
            Err(Error::Corrupt { .. }) => Ok(None),
            Ok(Some(row)) => Ok(Some(Some(is_whole(rows, &row)))),
            Ok(None) => Ok(Some(None)),
            Err(other) => Err(other),
        })?;
        Ok(match row {
            // Its row is gone, and whoever looked for it was led there.
            Some(None) if is_due || suspect.is_some() => Presence::Damaged,
            Some(None) => Presence::Absent,
            Some(Some(true)) if suspect.is_none() => Presence::Present,
            _ => Presence::Damaged,
        })
    }

    /// Forgets chunks that are sound again.
    pub(super) fn healed(&self, chunks: &[NewChunk]) {
        let chunks = chunks.iter().map(|chunk| &chunk.id);
        self.engine().suspects().forget(chunks, []);
    }
}

/// Whether neither a chunk nor any that it is a delta against is known to be lost or spoilt.
fn is_whole(rows: &dyn Rows, row: &ChunkRow) -> bool {
    let below = |base: &ChunkId| match chunk_row(rows, base) {
        Ok(Some(below)) => {
            let is_chain = below.depth < row.depth && below.bases.len() <= 1;
            is_chain && rows.suspects().chunk(base).is_none() && is_whole(rows, &below)
        }
        _ => false,
    };
    !row.is_lost() && row.bases.iter().all(below)
}

/// A chunk whose count was lost.
#[derive(Clone, Copy, Debug)]
pub(super) struct Uncounted {
    pub(super) id: ChunkId,
    pub(super) raw_len: u64,
    pub(super) stored_len: u64,
    /// Whether anything that can be read names it.
    pub(super) is_named: bool,
}

/// Writes damaged chunks anew from the good bytes of a save. That is right whether or not the
/// save succeeds. Returns those whose counts were lost: what names them may be damaged as well, so
/// that they are to be counted again once the save has healed that.
pub(super) fn heal(change: &mut Change<'_>, chunks: &[NewChunk]) -> Result<Vec<Uncounted>> {
    let mut counted = None;
    let mut uncounted = Vec::new();
    for chunk in chunks {
        let uses = match chunk_row(change.records().0, &chunk.id) {
            Ok(Some(row)) => {
                let lost = change.lost().saturating_sub(u64::from(row.is_lost()));
                change.set_lost(lost);
                (row.refs, row.deltas)
            }
            // The row is gone or spoilt, and with it the count.
            Ok(None) | Err(Error::Corrupt { .. }) => {
                let counts = match counted.take() {
                    Some(counts) => counts,
                    None => References::count(change.records().0)?,
                };
                let uses = counted.insert(counts).of_chunk(&chunk.id);
                uncounted.push(Uncounted {
                    id: chunk.id,
                    raw_len: chunk.raw_len.into(),
                    stored_len: chunk.stored.len() as u64,
                    is_named: uses != (0, 0),
                });
                uses
            }
            Err(other) => return Err(other),
        };
        replace_chunk(change, chunk, uses)?;
    }
    Ok(uncounted)
}

/// Brings back nodes that are known to be lost, where this save has their bytes. Returns those that
/// are to be counted once more.
pub(super) fn mend_nodes(change: &mut Change<'_>, nodes: &NodeSet) -> Result<Vec<NodeId>> {
    let lost = change.lost();
    if lost == 0 && !change.records().0.suspects().has_nodes() {
        return Ok(Vec::new());
    }
    let healed = heal_nodes(change.rows(), nodes)?;
    change.set_lost(lost.saturating_sub(healed.marked));
    Ok(healed.uncounted)
}

/// Counts these chunks again, after all else that the save brings is in its place. `unwritten` is
/// the manifest of the checkpoint whose record is not.
pub(super) fn recount(
    change: &mut Change<'_>,
    chunks: &HashSet<ChunkId>,
    unwritten: Option<&Manifest>,
) -> Result<()> {
    if chunks.is_empty() {
        return Ok(());
    }
    let mut counts = References::count(change.records().0)?;
    if let Some(manifest) = unwritten {
        counts.add(manifest);
    }
    for id in chunks {
        count_chunk(change.rows(), id, counts.of_chunk(id))?;
    }
    // What a row that was lost had as its bases is not known.
    let mut miscounted = Vec::new();
    change.records().0.each_chunk(&mut |id, bytes| {
        let uses = counts.of_chunk(&id);
        match ChunkRow::from_bytes(&id, bytes) {
            // Rows that can't be read may have deltas that are not counted.
            Ok(row) if row.deltas < uses.1 || (row.deltas > uses.1 && counts.is_whole()) => {
                miscounted.push((id, (row.refs, uses.1)));
            }
            _ => {}
        }
        Ok(ControlFlow::Continue(()))
    })?;
    for (id, uses) in miscounted {
        count_chunk(change.rows(), &id, uses)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::MAX_CHUNK_BYTES;
    use crate::storage::{Durability, Room, put_chunk};
    use crate::tensor::{DType, TensorSlice};

    fn save(store: &Store, iteration: u64, bytes: &[u8]) -> Result<()> {
        let tensor = TensorSlice::new(DType::U8, &[bytes.len()], bytes)?;
        let job = store.job("a")?;
        job.save(iteration).tensor("w", tensor).commit().map(drop)
    }

    /// A store in which a chunk of `held` has the name of `named`.
    fn with_collision(named: &[u8], held: &[u8]) -> Store {
        let store = Store::in_memory().unwrap();
        let id = ChunkId::new(*blake3::hash(named).as_bytes());
        let kind = (Durability::Durable, Room::Ordinary);
        let put = store.engine().write(kind.0, kind.1, |rows| {
            let mut change = Change::begin(rows, 0)?;
            put_chunk(&mut change, &NewChunk::alone(id, held))?;
            change.finish()
        });
        put.unwrap();
        store
    }

    #[test]
    fn two_chunks_with_one_name_are_an_error_and_never_each_other() {
        let named = vec![3; MAX_CHUNK_BYTES / 2];
        // Of another length: the save is refused, and others go on.
        let store = with_collision(&named, &[4; 3000]);
        assert!(matches!(
            save(&store, 1, &named),
            Err(Error::Corrupt { .. })
        ));
        save(&store, 1, &vec![5; 70_000]).unwrap();
        // Of the same length, which only the hash of what is read can tell. A save that follows
        // then writes the right bytes.
        let store = with_collision(&named, &vec![4; named.len()]);
        save(&store, 1, &named).unwrap();
        let latest = || store.job("a").unwrap().latest().unwrap().unwrap();
        let found = latest().load();
        assert!(matches!(found, Err(Error::Corrupt { .. })), "{found:?}");
        save(&store, 2, &named).unwrap();
        let found = latest().load().unwrap();
        assert!(found["w"].1 == named);
    }
}
