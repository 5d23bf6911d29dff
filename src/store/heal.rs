//! Healing: a save that has the bytes of a damaged chunk writes them anew.

use std::collections::HashMap;
use std::ops::ControlFlow;

use crate::error::{Error, Result};
use crate::format::{ChunkRef, Content, Group, Manifest, Node, StoredNode};
use crate::id::ChunkId;
use crate::storage::{Change, NewChunk, Records, Rows, chunk_row, heal_chunk, load_chunk};
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
    /// A chunk's raw bytes, verified. One that is damaged is remembered.
    pub(super) fn load_chunk(&self, rows: &dyn Rows, chunk: &ChunkRef) -> Result<Vec<u8>> {
        load_chunk(rows, chunk).inspect_err(|error| {
            if matches!(error, Error::Corrupt { .. }) {
                self.suspects().known().insert(chunk.chunk());
            }
        })
    }

    /// Whether a save may share a chunk. Its bytes are not read for that: a chunk counts as sound
    /// until a load, a verification or a repair finds it damaged.
    pub(super) fn presence(&self, id: &ChunkId) -> Result<Presence> {
        let row = self.read(|rows| match chunk_row(rows, id) {
            // A spoilt row is no reason to refuse the save that can heal it.
            Err(Error::Corrupt { .. }) => Ok(None),
            row => row.map(Some),
        })?;
        Ok(match row {
            Some(None) => Presence::Absent,
            Some(Some(row)) if !row.is_lost() && !self.suspects().known().contains(id) => {
                Presence::Present
            }
            _ => Presence::Damaged,
        })
    }

    /// Forgets chunks that are sound again.
    pub(super) fn healed(&self, chunks: &[NewChunk]) {
        let mut known = self.suspects().known();
        for chunk in chunks {
            known.remove(&chunk.id);
        }
    }
}

/// Writes damaged chunks anew from the good bytes of a save. That is right whether or not the
/// save succeeds.
pub(super) fn heal(change: &mut Change<'_>, chunks: &[NewChunk]) -> Result<()> {
    let mut counted = None;
    for chunk in chunks {
        let refs = match chunk_row(change.records().0, &chunk.id) {
            Ok(Some(row)) => {
                let lost = change.lost().saturating_sub(u64::from(row.is_lost()));
                change.set_lost(lost);
                row.refs
            }
            // The row is gone or spoilt, and with it the count.
            Ok(None) | Err(Error::Corrupt { .. }) => {
                let counts = match counted.take() {
                    Some(counts) => counts,
                    None => references(change.records())?,
                };
                let refs = counts.get(&chunk.id).copied().unwrap_or(0);
                counted = Some(counts);
                refs
            }
            Err(other) => return Err(other),
        };
        heal_chunk(change, chunk, refs)?;
    }
    Ok(())
}

/// How often every chunk is named, by a pass over all nodes and inline manifests: for the rare case
/// that a row which says so can't be read.
fn references(records: Records<'_>) -> Result<HashMap<ChunkId, u64>> {
    let mut counts = HashMap::new();
    records.0.each_node(&mut |id, value| {
        if let Ok(stored) = StoredNode::from_bytes(&id, value) {
            match &stored.node {
                Node::Group(group) => count_group(&mut counts, group),
                Node::List(chunks) => chunks.iter().for_each(|chunk| count(&mut counts, chunk)),
                Node::Spans(_) | Node::Names(_) => {}
            }
        }
        Ok(ControlFlow::Continue(()))
    })?;
    records.checkpoints((0, u64::MAX), false, &mut |_, record| {
        if let Ok(record) = record
            && let Manifest::Inline(group) = &record.saved.manifest
        {
            count_group(&mut counts, group);
        }
        Ok(ControlFlow::Continue(()))
    })?;
    Ok(counts)
}

fn count_group(counts: &mut HashMap<ChunkId, u64>, group: &Group) {
    if let Some(pack) = &group.pack {
        count(counts, pack);
    }
    for entry in &group.entries {
        if let Content::Chunks(chunks) = &entry.content {
            for chunk in chunks {
                count(counts, chunk);
            }
        }
    }
}

fn count(counts: &mut HashMap<ChunkId, u64>, chunk: &ChunkRef) {
    *counts.entry(chunk.chunk()).or_default() += 1;
}
