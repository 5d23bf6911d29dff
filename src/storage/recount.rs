//! How often chunks and nodes are named, by a pass over all nodes and inline manifests: for the
//! rare case that a row which says so is lost or can't be read.

use std::collections::HashMap;
use std::ops::ControlFlow;

use super::records::Records;
use super::rows::Rows;
use crate::error::Result;
use crate::format::{ChunkRef, ChunkRow, Content, Group, Manifest, Node, StoredNode};
use crate::id::{ChunkId, NodeId};

/// The counts that the readable part of a store adds up to.
#[derive(Debug, Default)]
pub(crate) struct References {
    chunks: HashMap<ChunkId, (u64, u32)>,
    nodes: HashMap<NodeId, u64>,
    /// Rows of chunks that could not be read.
    unread: u64,
}

impl References {
    /// Counts all of them. A node that can't be read names nothing here.
    pub(crate) fn count(rows: &dyn Rows) -> Result<Self> {
        let mut counts = Self::default();
        rows.each_node(&mut |id, value| {
            // The count before a node's bytes may be what is spoilt.
            let bytes = value.get(StoredNode::PREFIX_BYTES..).unwrap_or_default();
            if let Ok(node) = Node::from_bytes(&id, bytes) {
                counts.node(&node);
            }
            Ok(ControlFlow::Continue(()))
        })?;
        rows.each_chunk(&mut |id, bytes| {
            match ChunkRow::from_bytes(&id, bytes) {
                Ok(row) => {
                    for base in row.bases {
                        counts.chunks.entry(base).or_default().1 += 1;
                    }
                }
                Err(_) => counts.unread += 1,
            }
            Ok(ControlFlow::Continue(()))
        })?;
        Records(rows).checkpoints((0, u64::MAX), false, &mut |_, record| {
            if let Ok(record) = record {
                counts.add(&record.saved.manifest);
            }
            Ok(ControlFlow::Continue(()))
        })?;
        Ok(counts)
    }

    /// Counts what one more manifest names by itself.
    pub(crate) fn add(&mut self, manifest: &Manifest) {
        match manifest {
            Manifest::Inline(group) => self.group(group),
            Manifest::Tree { root, .. } => self.name(*root),
        }
    }

    /// How often a chunk is named by nodes and manifests, and by deltas.
    pub(crate) fn of_chunk(&self, id: &ChunkId) -> (u64, u32) {
        self.chunks.get(id).copied().unwrap_or_default()
    }

    /// Whether every delta is counted.
    pub(crate) const fn is_whole(&self) -> bool {
        self.unread == 0
    }

    /// How often a node is named.
    pub(crate) fn of_node(&self, id: &NodeId) -> u64 {
        self.nodes.get(id).copied().unwrap_or(0)
    }

    fn node(&mut self, node: &Node) {
        match node {
            Node::Group(group) => self.group(group),
            Node::List(chunks) => chunks.iter().for_each(|chunk| self.chunk(chunk)),
            Node::Spans(children) => children.iter().for_each(|child| self.name(child.node)),
            Node::Names(children) => children.iter().for_each(|child| self.name(child.node)),
        }
    }

    fn group(&mut self, group: &Group) {
        group.pack.iter().for_each(|pack| self.chunk(pack));
        for entry in &group.entries {
            match &entry.content {
                Content::Inline(_) | Content::Packed(_) => {}
                Content::Chunks(chunks) => chunks.iter().for_each(|chunk| self.chunk(chunk)),
                Content::Tree { root, .. } => self.name(*root),
            }
        }
    }

    fn chunk(&mut self, chunk: &ChunkRef) {
        self.chunks.entry(chunk.chunk()).or_default().0 += 1;
    }

    fn name(&mut self, node: [u8; 32]) {
        *self.nodes.entry(NodeId::new(node)).or_default() += 1;
    }
}
