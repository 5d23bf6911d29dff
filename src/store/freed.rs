//! What a set of checkpoints alone holds: the bytes that dropping them would free.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use crate::error::{Error, Result};
use crate::format::{Content, Group, MAX_TREE_DEPTH, Manifest, Node, StoredNode};
use crate::id::{CheckpointId, ChunkId, NodeId};
use crate::storage::{Records, Rows, chunk_row, load_node};
use crate::store::Store;

/// References that would be left, worked out without changing any.
#[derive(Default)]
struct Trial {
    nodes: HashMap<NodeId, u64>,
    /// How often manifests name them, and their stored bytes.
    chunks: HashMap<ChunkId, (u64, u32)>,
    freed: u64,
}

/// Stored bytes of the chunks that nothing would refer to any more without these checkpoints.
/// Chunks that they share with each other count once, those that others share not at all. What is a
/// delta against one of them takes more afterwards, by what it is shorter now. Costs a walk over
/// the nodes that would go.
pub(super) fn freed_by(rows: &dyn Rows, ids: &[u64]) -> Result<u64> {
    let mut trial = Trial::default();
    for id in ids {
        match trial.checkpoint(rows, *id) {
            // What a damaged one holds can't be told, and it does not hide what the others hold.
            Ok(()) | Err(Error::Corrupt { .. }) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(trial.freed)
}

impl Store {
    /// Stored bytes that only these checkpoints hold: what deleting and reclaiming them would free.
    /// Chunks that they share with each other count once, those that others share not at all. What
    /// is a delta against one of them takes more afterwards, by what it is shorter now.
    ///
    /// # Errors
    /// From the disk, or [`Error::Corrupt`].
    pub fn freed_by(&self, ids: &[CheckpointId]) -> Result<u64> {
        let ids: Vec<u64> = ids.iter().map(|id| id.get()).collect();
        self.read(|rows| freed_by(rows, &ids))
    }
}

impl Trial {
    fn checkpoint(&mut self, rows: &dyn Rows, id: u64) -> Result<()> {
        match &Records(rows).known_checkpoint(id)?.saved.manifest {
            Manifest::Inline(group) => self.group(rows, group),
            Manifest::Tree { root, .. } => self.node(rows, &NodeId::new(*root), 0),
        }
    }

    fn group(&mut self, rows: &dyn Rows, group: &Group) -> Result<()> {
        if let Some(pack) = &group.pack {
            self.chunk(rows, pack.chunk())?;
        }
        for entry in &group.entries {
            match &entry.content {
                Content::Inline(_) | Content::Packed(_) => {}
                Content::Chunks(chunks) => {
                    for chunk in chunks {
                        self.chunk(rows, chunk.chunk())?;
                    }
                }
                Content::Tree { root, .. } => self.node(rows, &NodeId::new(*root), 0)?,
            }
        }
        Ok(())
    }

    /// Takes a reference from a node; with the last one, from what it names.
    fn node(&mut self, rows: &dyn Rows, id: &NodeId, depth: u8) -> Result<()> {
        if depth > MAX_TREE_DEPTH + 1 {
            return Err(Error::corrupt(
                format!("manifest node {id}"),
                "it lies too deep",
            ));
        }
        let left = match self.nodes.get(id) {
            Some(left) => *left,
            None => match rows.node(id)? {
                Some(value) => StoredNode::split(id, &value)
                    .map(|(refs, _)| refs)
                    .map_err(|error| error.of(format!("manifest node {id}")))?,
                None => 0,
            },
        };
        self.nodes.insert(*id, left.saturating_sub(1));
        if left != 1 {
            return Ok(());
        }
        match load_node(rows, id)? {
            Node::Group(group) => self.group(rows, &group),
            Node::List(chunks) => chunks
                .iter()
                .try_for_each(|chunk| self.chunk(rows, chunk.chunk())),
            Node::Spans(children) => children
                .iter()
                .try_for_each(|child| self.node(rows, &NodeId::new(child.node), depth + 1)),
            Node::Names(children) => children
                .iter()
                .try_for_each(|child| self.node(rows, &NodeId::new(child.node), depth + 1)),
        }
    }

    /// Takes a reference from a chunk. Deltas against it do not keep it: they are written anew.
    fn chunk(&mut self, rows: &dyn Rows, id: ChunkId) -> Result<()> {
        let (left, stored) = match self.chunks.entry(id) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(unknown) => match chunk_row(rows, &id)? {
                Some(row) => unknown.insert((row.refs, row.stored_len)),
                None => return Ok(()),
            },
        };
        *left = left.saturating_sub(1);
        if *left == 0 {
            self.freed += u64::from(*stored);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::{CheckpointRecord, TableCode};
    use crate::storage::{Change, NewChunk, count_chunk, deep_nodes, put_chunk};
    use crate::store::testing::{keys, put, record, sample, tampered};

    #[test]
    fn what_a_checkpoint_alone_holds_is_followed_as_deep_as_a_tree_can_be() {
        let image = sample();
        let deepest = usize::from(MAX_TREE_DEPTH) + 1;
        for (above, is_followed) in [(1, true), (deepest, true), (deepest + 1, false)] {
            for by_name in [false, true] {
                let (nodes, chunk) = deep_nodes(above, by_name);
                let mut checkpoint = 0;
                let store = tampered(&image, |rows| {
                    let mut change = Change::begin(rows, 0)?;
                    let new = NewChunk::alone(chunk.chunk(), &[9; 1000]);
                    put_chunk(&mut change, &new)?;
                    count_chunk(change.rows(), &chunk.chunk(), (1, 0))?;
                    change.finish()?;
                    for (_, id, bytes) in &nodes {
                        rows.put_node(id, &StoredNode::value(id, 1, bytes))?;
                    }
                    checkpoint = *keys(rows, TableCode::Checkpoints).last().unwrap();
                    let mut known: CheckpointRecord = record(rows, checkpoint);
                    known.saved.manifest = Manifest::Tree {
                        root: *nodes.last().unwrap().1.as_bytes(),
                        depth: 1,
                    };
                    put(rows, checkpoint, &known)
                });
                let freed = store.freed_by(&[CheckpointId::new(checkpoint)]).unwrap();
                assert_eq!(freed, if is_followed { 1000 } else { 0 }, "{above}");
            }
        }
    }
}
