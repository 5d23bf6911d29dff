//! Manifest nodes: shared, counted, verified. A node's count is how many nodes and checkpoints
//! name it; what it names is counted once, when it comes, and released once, when it goes.

use std::collections::HashMap;

use super::chunks::{release_chunk, retain_chunk};
use super::rows::{Rows, Writes};
use crate::error::{Error, Result};
use crate::format::{Content, Group, MAX_TREE_DEPTH, Manifest, Node, StoredNode};
use crate::id::NodeId;

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
}

/// The node with this id. Its bytes vouch for themselves, whatever became of its count.
pub(crate) fn load_node(rows: &dyn Rows, id: &NodeId) -> Result<Node> {
    let value = rows
        .node(id)?
        .ok_or_else(|| Error::corrupt(named(id), "it is missing"))?;
    let bytes = value.get(StoredNode::PREFIX_BYTES..).unwrap_or_default();
    Node::from_bytes(id, bytes).map_err(|error| error.of(named(id)))
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
    let mut refs = 1;
    let new = fresh.nodes.get(id);
    if let Some(value) = rows.node(id)? {
        let (known, bytes) = StoredNode::split(id, &value).map_err(|e| e.of(named(id)))?;
        refs += known;
        let is_sound = new.is_none_or(|(_, new)| new == bytes);
        if is_sound || !bytes.is_empty() {
            let bytes = new.map_or(bytes, |(_, new)| new);
            return rows.put_node(id, &StoredNode::value(id, refs, bytes));
        }
    }
    let (node, bytes) = new.ok_or_else(|| Error::corrupt(named(id), "it is missing"))?;
    rows.put_node(id, &StoredNode::value(id, refs, bytes))?;
    retain_below(rows, node, fresh, depth)
}

/// Brings back what this manifest has of nodes whose bytes a repair found lost, below nodes that
/// are there. Returns how many.
pub(crate) fn heal_nodes(rows: &mut dyn Writes, fresh: &NodeSet) -> Result<u64> {
    let mut healed = 0;
    for (id, (node, bytes)) in &fresh.nodes {
        let Some(value) = rows.node(id)? else {
            continue;
        };
        let (refs, known) = StoredNode::split(id, &value).map_err(|e| e.of(named(id)))?;
        if known.is_empty() {
            rows.put_node(id, &StoredNode::value(id, refs, bytes))?;
            retain_below(rows, node, fresh, 0)?;
            healed += 1;
        }
    }
    Ok(healed)
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
    let value = rows
        .node(id)?
        .ok_or_else(|| Error::corrupt(named(id), "it is missing"))?;
    let (refs, bytes) = StoredNode::split(id, &value).map_err(|error| error.of(named(id)))?;
    if refs > 1 {
        let value = StoredNode::value(id, refs - 1, bytes);
        return rows.put_node(id, &value);
    }
    if bytes.is_empty() {
        // What it named was counted out when its bytes were found lost.
        return rows.remove_node(id);
    }
    let node = Node::from_bytes(id, bytes).map_err(|error| error.of(named(id)))?;
    rows.remove_node(id)?;
    match node {
        Node::Group(group) => release_group(rows, &group),
        Node::List(chunks) => chunks
            .iter()
            .try_for_each(|chunk| release_chunk(rows, &chunk.chunk())),
        Node::Spans(children) => children
            .iter()
            .try_for_each(|child| release_node(rows, &NodeId::new(child.node), depth + 1)),
        Node::Names(children) => children
            .iter()
            .try_for_each(|child| release_node(rows, &NodeId::new(child.node), depth + 1)),
    }
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
