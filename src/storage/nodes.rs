//! Manifest nodes: shared, counted, verified. A node's count is how many nodes and checkpoints
//! name it; what it names is counted once, when it comes, and released once, when it goes.

use std::collections::{HashMap, HashSet};

use super::chunks::{release_chunk, retain_chunk};
use super::recount::References;
use super::rows::{Rows, Writes};
use super::suspects::Harm;
use crate::error::{Error, Result};
use crate::format::{ChunkRef, Content, Group, MAX_TREE_DEPTH, Manifest, Node, StoredNode};
use crate::id::{ChunkId, NodeId};

/// Nodes that a save has made, not yet in the store.
#[derive(Debug, Default)]
pub(crate) struct NodeSet {
    nodes: HashMap<NodeId, (Node, Vec<u8>)>,
}

impl NodeSet {
    /// Adds a node; equal ones are one.
    pub(crate) fn add(&mut self, node: Node) -> Result<NodeId> {
        let (id, bytes) = node
            .to_bytes()
            .map_err(|error| match error.of("a manifest") {
                Error::Corrupt { what, why } => Error::invalid(what, why),
                other => other,
            })?;
        self.nodes.entry(id).or_insert((node, bytes));
        Ok(id)
    }

    /// Which of these chunks are named by nodes of this set that the store has already: nodes that
    /// are there gain a reference, and what they name is not counted once more.
    pub(crate) fn named_before(
        &self,
        rows: &dyn Rows,
        chunks: &HashSet<ChunkId>,
    ) -> Result<Vec<ChunkId>> {
        let mut found = Vec::new();
        for (id, (node, _)) in &self.nodes {
            let named: Vec<ChunkId> = chunks_of(node).filter(|id| chunks.contains(id)).collect();
            if !named.is_empty() && rows.has_node(id)? {
                found.extend(named);
            }
        }
        Ok(found)
    }

    /// The nodes' ids.
    pub(crate) fn ids(&self) -> impl Iterator<Item = &NodeId> {
        self.nodes.keys()
    }
}

/// The chunks that a node names itself.
fn chunks_of(node: &Node) -> impl Iterator<Item = ChunkId> {
    let (group, list) = match node {
        Node::Group(group) => (Some(group), None),
        Node::List(chunks) => (None, Some(chunks)),
        Node::Spans(_) | Node::Names(_) => (None, None),
    };
    let entries = group.into_iter().flat_map(|group| &group.entries);
    let in_entries = entries.filter_map(|entry| match &entry.content {
        Content::Chunks(chunks) => Some(chunks),
        _ => None,
    });
    let pack = group.and_then(|group| group.pack.as_ref());
    let all = in_entries.chain(list).flatten().chain(pack);
    all.map(ChunkRef::chunk)
}

/// The node with this id. Its bytes vouch for themselves, whatever became of its count. One that
/// can't be read is remembered.
pub(crate) fn load_node(rows: &dyn Rows, id: &NodeId) -> Result<Node> {
    read_node(rows, id).inspect_err(|error| rows.suspects().note_node(*id, error))
}

fn read_node(rows: &dyn Rows, id: &NodeId) -> Result<Node> {
    let value = rows
        .node(id)?
        .ok_or_else(|| Error::corrupt(named(id), "it is missing"))?;
    let bytes = value.get(StoredNode::PREFIX_BYTES..).unwrap_or_default();
    Node::from_bytes(id, bytes).map_err(|error| error.of(named(id)))
}

/// How often a node is named, and its bytes. A count that is spoilt is made anew from all that name
/// the node.
fn stored(rows: &dyn Rows, id: &NodeId) -> Result<Option<(u64, Vec<u8>)>> {
    let found = rows.node(id);
    let found = found.inspect_err(|error| rows.suspects().note_node(*id, error));
    let Some(value) = found? else {
        return Ok(None);
    };
    Ok(Some(match StoredNode::split(id, &value) {
        Ok((refs, bytes)) => (refs, bytes.to_vec()),
        Err(_) => {
            let bytes = value.get(StoredNode::PREFIX_BYTES..).unwrap_or_default();
            (References::count(rows)?.of_node(id), bytes.to_vec())
        }
    }))
}

/// Counts a checkpoint's references, putting the nodes of `fresh` that the store lacks.
pub(crate) fn retain_manifest(
    rows: &mut dyn Writes,
    manifest: &Manifest,
    fresh: &NodeSet,
) -> Result<()> {
    match manifest {
        Manifest::Inline(group) => retain_group(rows, group, fresh),
        Manifest::Tree { root, .. } => retain_node(rows, &NodeId::new(*root), fresh, 0),
    }
}

fn retain_group(rows: &mut dyn Writes, group: &Group, fresh: &NodeSet) -> Result<()> {
    if let Some(pack) = &group.pack {
        retain_chunk(rows, pack)?;
    }
    for entry in &group.entries {
        match &entry.content {
            Content::Inline(_) | Content::Packed(_) => {}
            Content::Chunks(chunks) => {
                chunks
                    .iter()
                    .try_for_each(|chunk| retain_chunk(rows, chunk))?;
            }
            Content::Tree { root, .. } => retain_node(rows, &NodeId::new(*root), fresh, 0)?,
        }
    }
    Ok(())
}

/// A node that is there gains a reference, and nothing below it is touched. One whose bytes are
/// spoilt gets them anew.
fn retain_node(rows: &mut dyn Writes, id: &NodeId, fresh: &NodeSet, depth: u8) -> Result<()> {
    check_depth(id, depth)?;
    let new = fresh.nodes.get(id);
    let known = stored(rows, id)?;
    let refs = 1 + known.as_ref().map_or(0, |(refs, _)| *refs);
    match (known, new) {
        (Some((_, bytes)), _) if !bytes.is_empty() => {
            let bytes = new.map_or(&bytes, |(_, new)| new);
            rows.put_node(id, &StoredNode::value(id, refs, bytes))
        }
        (_, Some((node, bytes))) => {
            // Below it first: a count that has to be made anew does not have this node in it yet.
            retain_below(rows, node, fresh, depth)?;
            rows.put_node(id, &StoredNode::value(id, refs, bytes))
        }
        (_, None) => Err(Error::corrupt(named(id), "it is missing")),
    }
}

/// What came back of nodes.
#[derive(Debug, Default)]
pub(crate) struct HealedNodes {
    /// How many were marked as lost.
    pub(crate) marked: u64,
    /// Those whose rows were gone. What names them may be missing too: they are to be counted once
    /// more when all is in its place.
    pub(crate) uncounted: Vec<NodeId>,
}

/// Brings back what this manifest has of nodes that are lost or known to be spoilt, wherever in the
/// store they are.
pub(crate) fn heal_nodes(rows: &mut dyn Writes, fresh: &NodeSet) -> Result<HealedNodes> {
    let mut marked = 0;
    for id in fresh.nodes.keys() {
        marked += u64::from(stored(rows, id)?.is_some_and(|(_, bytes)| bytes.is_empty()));
    }
    let mut lost = Vec::new();
    for (id, (node, bytes)) in &fresh.nodes {
        let is_suspect = rows.suspects().node(id) == Some(Harm::Spoilt);
        match stored(rows, id)? {
            Some((refs, known)) if known.is_empty() => {
                // A repair counted out what it named.
                retain_below(rows, node, fresh, 0)?;
                rows.put_node(id, &StoredNode::value(id, refs, bytes))?;
            }
            Some((refs, _)) if is_suspect => {
                rows.put_node(id, &StoredNode::value(id, refs, bytes))?;
            }
            // Its row is gone; what it names still counts it.
            None if is_suspect => lost.push((id, bytes)),
            _ => {}
        }
    }
    let uncounted = lost.iter().map(|(id, _)| **id).collect();
    put_back(rows, lost, None)?;
    Ok(HealedNodes { marked, uncounted })
}

/// Puts nodes back whose rows are gone, and counts who names them. One that nothing names went as
/// it should, and comes back as a new one.
fn put_back(
    rows: &mut dyn Writes,
    mut lost: Vec<(&NodeId, &Vec<u8>)>,
    unwritten: Option<&Manifest>,
) -> Result<()> {
    // All of them first: they may name each other.
    for (id, bytes) in &lost {
        rows.put_node(id, &StoredNode::value(id, 1, bytes))?;
    }
    while !lost.is_empty() {
        let mut counts = References::count(rows)?;
        if let Some(manifest) = unwritten {
            counts.add(manifest);
        }
        let (named, unnamed): (Vec<_>, Vec<_>) =
            lost.into_iter().partition(|(id, _)| counts.of_node(id) > 0);
        if unnamed.is_empty() {
            return named.into_iter().try_for_each(|(id, bytes)| {
                let refs = counts.of_node(id);
                rows.put_node(id, &StoredNode::value(id, refs, bytes))
            });
        }
        for (id, _) in unnamed {
            rows.remove_node(id)?;
        }
        lost = named;
    }
    Ok(())
}

/// Puts those of a counted manifest's nodes back that are missing all the same: nodes that are
/// there gain a reference, and nobody looks at what they name. Counts them, and those that have
/// come back before. `unwritten` is the manifest of a checkpoint whose record is not there yet.
/// Returns the chunks that they name. Costs a lookup for each node.
pub(crate) fn restore_nodes(
    rows: &mut dyn Writes,
    fresh: &NodeSet,
    uncounted: &[NodeId],
    unwritten: Option<&Manifest>,
) -> Result<Vec<ChunkId>> {
    let mut lost = Vec::new();
    let mut named = Vec::new();
    for (id, (node, bytes)) in &fresh.nodes {
        if !rows.has_node(id)? {
            named.extend(chunks_of(node));
            lost.push((id, bytes));
        } else if uncounted.contains(id) {
            lost.push((id, bytes));
        }
    }
    put_back(rows, lost, unwritten)?;
    Ok(named)
}

/// Counts what a node that has just come names.
fn retain_below(rows: &mut dyn Writes, node: &Node, fresh: &NodeSet, depth: u8) -> Result<()> {
    match node {
        Node::Group(group) => retain_group(rows, group, fresh),
        Node::List(chunks) => chunks
            .iter()
            .try_for_each(|chunk| retain_chunk(rows, chunk)),
        Node::Spans(children) => children
            .iter()
            .try_for_each(|child| retain_node(rows, &NodeId::new(child.node), fresh, depth + 1)),
        Node::Names(children) => children
            .iter()
            .try_for_each(|child| retain_node(rows, &NodeId::new(child.node), fresh, depth + 1)),
    }
}

/// Releases a checkpoint's references.
pub(crate) fn release_manifest(rows: &mut dyn Writes, manifest: &Manifest) -> Result<()> {
    match manifest {
        Manifest::Inline(group) => release_group(rows, group),
        Manifest::Tree { root, .. } => release_node(rows, &NodeId::new(*root), 0),
    }
}

fn release_group(rows: &mut dyn Writes, group: &Group) -> Result<()> {
    if let Some(pack) = &group.pack {
        release_chunk(rows, &pack.chunk())?;
    }
    for entry in &group.entries {
        match &entry.content {
            Content::Inline(_) | Content::Packed(_) => {}
            Content::Chunks(chunks) => {
                chunks
                    .iter()
                    .try_for_each(|chunk| release_chunk(rows, &chunk.chunk()))?;
            }
            Content::Tree { root, .. } => release_node(rows, &NodeId::new(*root), 0)?,
        }
    }
    Ok(())
}

/// Releases one reference to a node; with the last one it goes, and releases what it names.
pub(crate) fn release_node(rows: &mut dyn Writes, id: &NodeId, depth: u8) -> Result<()> {
    check_depth(id, depth)?;
    let (refs, bytes) =
        stored(rows, id)?.ok_or_else(|| Error::corrupt(named(id), "it is missing"))?;
    if refs > 1 {
        let value = StoredNode::value(id, refs - 1, &bytes);
        return rows.put_node(id, &value);
    }
    if bytes.is_empty() {
        // What it named was counted out when its bytes were found lost.
        return rows.remove_node(id);
    }
    // Below it first: a count that has to be made anew still has this node in it.
    match Node::from_bytes(id, &bytes).map_err(|error| error.of(named(id)))? {
        Node::Group(group) => release_group(rows, &group)?,
        Node::List(chunks) => chunks
            .iter()
            .try_for_each(|chunk| release_chunk(rows, &chunk.chunk()))?,
        Node::Spans(children) => children
            .iter()
            .try_for_each(|child| release_node(rows, &NodeId::new(child.node), depth + 1))?,
        Node::Names(children) => children
            .iter()
            .try_for_each(|child| release_node(rows, &NodeId::new(child.node), depth + 1))?,
    }
    rows.remove_node(id)
}

/// A tree that is deeper than any that is written would be a loop.
fn check_depth(id: &NodeId, depth: u8) -> Result<()> {
    if depth > MAX_TREE_DEPTH + 1 {
        return Err(Error::corrupt(named(id), "it lies too deep"));
    }
    Ok(())
}

fn named(id: &NodeId) -> String {
    format!("manifest node {id}")
}

#[cfg(test)]
mod tests {
    use super::super::chunks::put_chunk;
    use super::super::testing::{deep_nodes, engine};
    use super::*;
    use crate::storage::{Durability, Engine, NewChunk, Room};

    /// Nodes above a list: the highest that may be, and one more.
    const DEPTHS: [(usize, bool); 3] = [
        (1, true),
        (MAX_TREE_DEPTH as usize + 1, true),
        (MAX_TREE_DEPTH as usize + 2, false),
    ];

    fn with_chunk() -> Engine {
        let id = crate::id::ChunkId::new(*blake3::hash(&[9; 1000]).as_bytes());
        engine(|change| put_chunk(change, &NewChunk::alone(id, &[9; 1000])).map(drop))
    }

    fn changed<T>(engine: &Engine, run: impl FnOnce(&mut dyn Writes) -> Result<T>) -> Result<T> {
        engine.write(Durability::Durable, Room::Ordinary, run)
    }

    #[test]
    fn a_tree_is_counted_and_released_as_deep_as_one_can_be_and_no_deeper() {
        for (above, is_sound) in DEPTHS {
            for by_name in [false, true] {
                let (nodes, chunk) = deep_nodes(above, by_name);
                let root = *nodes.last().unwrap().1.as_bytes();
                let manifest = Manifest::Tree { root, depth: 0 };
                let mut fresh = NodeSet::default();
                for (node, _, _) in &nodes {
                    fresh.add(node.clone()).unwrap();
                }
                assert_eq!(fresh.ids().count(), nodes.len());
                let engine = with_chunk();
                let retained = changed(&engine, |rows| retain_manifest(rows, &manifest, &fresh));
                assert_eq!(retained.is_ok(), is_sound, "{above}: {retained:?}");
                // However it came to be there.
                let engine = with_chunk();
                let put = changed(&engine, |rows| {
                    for (_, id, bytes) in &nodes {
                        rows.put_node(id, &StoredNode::value(id, 1, bytes))?;
                    }
                    retain_chunk(rows, &chunk)
                });
                put.unwrap();
                let released = changed(&engine, |rows| release_manifest(rows, &manifest));
                assert_eq!(released.is_ok(), is_sound, "{above}: {released:?}");
                if let (Err(one), Err(other)) = (retained, released) {
                    let told = (one.to_string(), other.to_string());
                    assert!(told.0.contains("manifest node"), "{told:?}");
                    assert!(told.0.contains("it lies too deep"), "{told:?}");
                    assert_eq!(told.0, told.1);
                } else {
                    assert_eq!(engine.read(|rows| rows.counts()).unwrap(), (1, 0));
                }
            }
        }
    }

    #[test]
    fn a_node_that_is_named_again_gains_and_loses_one_and_is_named_when_it_is_not_there() {
        let (nodes, _) = deep_nodes(1, false);
        let root = *nodes[1].1.as_bytes();
        let manifest = Manifest::Tree { root, depth: 1 };
        let mut fresh = NodeSet::default();
        for (node, _, _) in &nodes {
            fresh.add(node.clone()).unwrap();
        }
        let engine = with_chunk();
        let refs = |engine: &Engine| {
            let of = |rows: &dyn Rows, id| Ok(stored(rows, id)?.map(|(refs, _)| refs));
            let read = engine.read(|rows| Ok((of(rows, &nodes[1].1)?, of(rows, &nodes[0].1)?)));
            read.unwrap()
        };
        let none = NodeSet::default();
        let missing = changed(&engine, |rows| retain_manifest(rows, &manifest, &none));
        let told = missing.unwrap_err().to_string();
        assert!(
            told.contains(&format!("manifest node {}", nodes[1].1)),
            "{told}"
        );
        changed(&engine, |rows| retain_manifest(rows, &manifest, &fresh)).unwrap();
        assert_eq!(refs(&engine), (Some(1), Some(1)));
        // Once there, it needs no bytes.
        changed(&engine, |rows| retain_manifest(rows, &manifest, &none)).unwrap();
        assert_eq!(refs(&engine), (Some(2), Some(1)));
        changed(&engine, |rows| release_manifest(rows, &manifest)).unwrap();
        assert_eq!(refs(&engine), (Some(1), Some(1)));
        changed(&engine, |rows| release_manifest(rows, &manifest)).unwrap();
        assert_eq!(refs(&engine), (None, None));
    }
}
