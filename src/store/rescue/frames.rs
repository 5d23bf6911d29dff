//! A file's bytes as evidence: every frame in them, sorted by what it belongs to.

use std::collections::{BTreeMap, HashMap, HashSet};

use super::evidence::Evidence;
use crate::error::{Error, Result};
use crate::format::{ChunkRef, Content, Group, MAX_TREE_DEPTH, Manifest, Node, StoreTag};
use crate::id::{ChunkId, NodeId};
use crate::storage::{Frame, LooseChunks, NewChunk, NodeSet, RawMedium};

/// What the scan of a file found.
#[derive(Debug)]
pub(super) struct Frames {
    raw: RawMedium,
    /// Records, by the store that they say they belong to: a store may lie in a store's chunks.
    stores: BTreeMap<StoreTag, Evidence>,
    nodes: HashMap<NodeId, (u64, usize)>,
    chunks: LooseChunks,
    /// Chunks that were put together ahead, each so that it needs no other.
    kept: HashMap<ChunkId, NewChunk>,
}

impl Frames {
    pub(super) fn scan(raw: RawMedium, progress: &mut dyn FnMut(u64, u64)) -> Result<Self> {
        let mut stores: BTreeMap<StoreTag, Evidence> = BTreeMap::new();
        let mut nodes = HashMap::new();
        let mut chunks = LooseChunks::default();
        raw.scan(progress, &mut |frame| {
            match frame {
                Frame::Record(record, bytes) => stores
                    .entry(record.store)
                    .or_insert_with(|| Evidence::new(record.store.store()))
                    .take(record.table, record.key, bytes),
                Frame::Node(id, at, len) => {
                    nodes.insert(id, (at, len));
                }
                Frame::Extent(extent) => chunks.note(extent),
            }
            Ok(())
        })?;
        Ok(Self {
            raw,
            stores,
            nodes,
            chunks,
            kept: HashMap::new(),
        })
    }

    pub(super) const fn raw(&self) -> &RawMedium {
        &self.raw
    }

    /// How many nodes and chunks were found.
    pub(super) fn counts(&self) -> (u64, u64) {
        (self.nodes.len() as u64, self.chunks.len() as u64)
    }

    /// The largest chunk number that was found.
    pub(super) fn last_chunk_number(&self) -> u64 {
        self.chunks.last_number()
    }

    /// A node's bytes, if some that verify were found.
    pub(super) fn node_bytes(&self, id: &NodeId) -> Option<Vec<u8>> {
        let (at, len) = self.nodes.get(id)?;
        let bytes = self.raw.bytes(*at, *len);
        Node::from_bytes(id, &bytes).ok().map(|_| bytes)
    }

    /// A chunk, put together from what was found of it and verified, and its raw bytes.
    pub(super) fn chunk_and_raw(&self, chunk: &ChunkRef) -> Result<(NewChunk, Vec<u8>)> {
        self.chunks.load(&self.raw, chunk)
    }

    /// Puts these chunks together now, as long as they have no more than so many bytes: what a
    /// change writes may take the places of those that are still to be read.
    pub(super) fn keep<'a>(&mut self, ids: impl IntoIterator<Item = &'a ChunkId>, most: u64) {
        let mut left = most;
        for id in ids {
            let alone = self.base(id).and_then(|chunk| self.chunk_alone(&chunk));
            let Ok(alone) = alone else {
                continue;
            };
            let Some(rest) = left.checked_sub(alone.stored.len() as u64) else {
                continue;
            };
            left = rest;
            self.kept.insert(*id, alone);
        }
    }

    /// A chunk as it was found, encoded so that it needs no other.
    pub(super) fn chunk_alone(&self, chunk: &ChunkRef) -> Result<NewChunk> {
        let kept = self.kept.get(&chunk.chunk());
        if let Some(kept) = kept.filter(|kept| kept.raw_len == chunk.raw_len) {
            return Ok(kept.clone());
        }
        let (found, raw) = self.chunks.load(&self.raw, chunk)?;
        Ok(if found.bases.is_empty() {
            found
        } else {
            NewChunk::alone(found.id, &raw)
        })
    }

    /// A base of a chunk that was found, which says no length of it.
    pub(super) fn base(&self, id: &ChunkId) -> Result<ChunkRef> {
        let raw_len = self.chunks.raw_len(id);
        let raw_len =
            raw_len.ok_or_else(|| Error::corrupt(format!("chunk {id}"), "it is missing"))?;
        Ok(ChunkRef {
            id: *id.as_bytes(),
            raw_len,
        })
    }

    /// The evidence of this store; without one named, of that which has the most.
    pub(super) fn take_evidence(&mut self, store: Option<StoreTag>) -> Option<Evidence> {
        let most = || {
            let by_records = |(_, evidence): &(&StoreTag, &Evidence)| evidence.records;
            self.stores
                .iter()
                .max_by_key(by_records)
                .map(|(tag, _)| *tag)
        };
        let tag = store
            .filter(|tag| self.stores.contains_key(tag))
            .or_else(most)?;
        self.stores.remove(&tag)
    }

    /// The nodes of a manifest that are not in `known`, and the chunks that these name.
    pub(super) fn follow(&self, manifest: &Manifest, known: &HashSet<NodeId>) -> Result<Reached> {
        let mut reached = Reached::default();
        match manifest {
            Manifest::Inline(group) => self.group(group, known, &mut reached)?,
            Manifest::Tree { root, .. } => {
                self.node(NodeId::new(*root), known, 0, &mut reached)?;
            }
        }
        Ok(reached)
    }

    fn group(&self, group: &Group, known: &HashSet<NodeId>, reached: &mut Reached) -> Result<()> {
        reached.chunks.extend(group.pack);
        for entry in &group.entries {
            match &entry.content {
                Content::Inline(_) | Content::Packed(_) => {}
                Content::Chunks(chunks) => reached.chunks.extend(chunks),
                Content::Tree { root, .. } => self.node(NodeId::new(*root), known, 0, reached)?,
            }
        }
        Ok(())
    }

    fn node(
        &self,
        id: NodeId,
        known: &HashSet<NodeId>,
        depth: u8,
        reached: &mut Reached,
    ) -> Result<()> {
        if known.contains(&id) || reached.ids.contains(&id) {
            return Ok(());
        }
        let lost = |why: &str| Error::corrupt(format!("manifest node {id}"), why);
        if depth > MAX_TREE_DEPTH + 1 {
            return Err(lost("it lies too deep"));
        }
        let (at, len) = self.nodes.get(&id).ok_or_else(|| lost("it is missing"))?;
        let node = Node::from_bytes(&id, &self.raw.bytes(*at, *len))
            .map_err(|error| error.of(format!("manifest node {id}")))?;
        match &node {
            Node::Group(group) => self.group(group, known, reached)?,
            Node::List(chunks) => reached.chunks.extend(chunks),
            Node::Spans(children) => {
                for child in children {
                    self.node(NodeId::new(child.node), known, depth + 1, reached)?;
                }
            }
            Node::Names(children) => {
                for child in children {
                    self.node(NodeId::new(child.node), known, depth + 1, reached)?;
                }
            }
        }
        reached.nodes.add(node)?;
        reached.ids.insert(id);
        Ok(())
    }
}

/// What a manifest leads to that was not known before.
#[derive(Debug, Default)]
pub(super) struct Reached {
    pub(super) nodes: NodeSet,
    pub(super) ids: HashSet<NodeId>,
    pub(super) chunks: Vec<ChunkRef>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::SpanChild;
    use crate::storage::{MemoryMedium, deep_nodes};

    #[test]
    fn a_tree_is_followed_in_the_bytes_of_a_file_as_deep_as_one_can_be() {
        let deepest = usize::from(MAX_TREE_DEPTH) + 1;
        for (above, is_followed) in [(1, true), (deepest, true), (deepest + 1, false)] {
            for by_name in [false, true] {
                let (nodes, chunk) = deep_nodes(above, by_name);
                let bytes: Vec<u8> = nodes
                    .iter()
                    .flat_map(|(_, _, bytes)| bytes.clone())
                    .collect();
                let medium = MemoryMedium::new(bytes);
                let raw = RawMedium::open(&medium).unwrap();
                let frames = Frames::scan(raw, &mut |_, _| {}).unwrap();
                assert_eq!(frames.counts(), (nodes.len() as u64, 0));
                let (_, root, bytes) = nodes.last().unwrap();
                assert_eq!(frames.node_bytes(root).as_ref(), Some(bytes));
                let manifest = Manifest::Tree {
                    root: *root.as_bytes(),
                    depth: 1,
                };
                let found = frames.follow(&manifest, &HashSet::new());
                assert_eq!(found.is_ok(), is_followed, "{above}");
                let Ok(reached) = found else { continue };
                assert_eq!(reached.chunks, [chunk]);
                assert_eq!(reached.ids.len(), nodes.len());
                // What is known already is not followed again.
                let below = HashSet::from([nodes[0].1]);
                let reached = frames.follow(&manifest, &below).unwrap();
                assert_eq!(
                    (reached.chunks.len(), reached.ids.len()),
                    (0, nodes.len() - 1)
                );
                let lost = Manifest::Tree {
                    root: [1; 32],
                    depth: 1,
                };
                assert!(frames.follow(&lost, &below).is_err());
            }
        }
    }

    #[test]
    fn a_node_that_several_name_is_followed_once() {
        let (nodes, chunk) = deep_nodes(0, false);
        let child = SpanChild {
            node: *nodes[0].1.as_bytes(),
            bytes: 1000,
        };
        let (root, bytes) = Node::Spans(vec![child, child]).to_bytes().unwrap();
        let medium = MemoryMedium::new([nodes[0].2.clone(), bytes].concat());
        let raw = RawMedium::open(&medium).unwrap();
        let frames = Frames::scan(raw, &mut |_, _| {}).unwrap();
        let root = *root.as_bytes();
        let manifest = Manifest::Tree { root, depth: 1 };
        let reached = frames.follow(&manifest, &HashSet::new()).unwrap();
        assert_eq!((reached.chunks, reached.ids.len()), (vec![chunk], 2));
    }
}
