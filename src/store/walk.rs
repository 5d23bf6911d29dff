//! Through a manifest: to a group by name, to a chunk by place, to all of them in order.

use crate::error::{Error, Result};
use crate::format::{ChunkRef, Content, EntryRecord, Group, MAX_TREE_DEPTH, Manifest, Node};
use crate::id::NodeId;
use crate::storage::{Rows, load_node};

/// Shows every group of a manifest to `visit`, in the order of names, which is checked.
pub(super) fn each_group(
    rows: &dyn Rows,
    manifest: &Manifest,
    visit: &mut dyn FnMut(&Group) -> Result<()>,
) -> Result<()> {
    let mut last: Option<String> = None;
    let mut in_order = |group: &Group| {
        let first = group.entries.first().map(|entry| &entry.name);
        if last.is_some() && last.as_ref() >= first {
            return Err(Error::corrupt("a manifest", "its names are not in order"));
        }
        last = group.entries.last().map(|entry| entry.name.clone());
        visit(group)
    };
    match manifest {
        Manifest::Inline(group) => in_order(group),
        Manifest::Tree { root, depth } => {
            groups_below(rows, &NodeId::new(*root), *depth, &mut in_order)
        }
    }
}

fn groups_below(
    rows: &dyn Rows,
    id: &NodeId,
    depth: u8,
    visit: &mut dyn FnMut(&Group) -> Result<()>,
) -> Result<()> {
    match (load_node(rows, id)?, depth) {
        (Node::Group(group), 0) => visit(&group),
        (Node::Names(children), 1..) => children
            .iter()
            .try_for_each(|child| groups_below(rows, &NodeId::new(child.node), depth - 1, visit)),
        _ => Err(misplaced(id)),
    }
}

/// The group that has the entry of this name, if any does.
pub(super) fn group_of(rows: &dyn Rows, manifest: &Manifest, name: &str) -> Result<Group> {
    let (mut id, depth) = match manifest {
        Manifest::Inline(group) => return Ok(group.clone()),
        Manifest::Tree { root, depth } => (NodeId::new(*root), *depth),
    };
    for _ in 0..depth {
        let Node::Names(children) = load_node(rows, &id)? else {
            return Err(misplaced(&id));
        };
        let place = children.partition_point(|child| child.first.as_str() <= name);
        let child = children
            .get(place.saturating_sub(1))
            .ok_or_else(|| misplaced(&id))?;
        id = NodeId::new(child.node);
    }
    match load_node(rows, &id)? {
        Node::Group(group) => Ok(group),
        _ => Err(misplaced(&id)),
    }
}

/// The chunk of an entry that has the byte at `offset`, and where it begins; by the shortest way
/// through the entry's tree.
pub(super) fn chunk_at(
    rows: &dyn Rows,
    entry: &EntryRecord,
    offset: u64,
) -> Result<(ChunkRef, u64)> {
    let short = || Error::corrupt("an entry's chunk list", "it is too short");
    let mut begins = 0;
    let (root, depth) = match &entry.content {
        Content::Chunks(chunks) => return listed(chunks, begins, offset).ok_or_else(short),
        Content::Tree { root, depth } => (NodeId::new(*root), *depth),
        Content::Inline(_) | Content::Packed(_) => return Err(short()),
    };
    let mut id = root;
    for _ in 0..depth.min(MAX_TREE_DEPTH) {
        let Node::Spans(children) = load_node(rows, &id)? else {
            return Err(misplaced(&id));
        };
        let mut below = None;
        for child in children {
            if offset - begins < child.bytes {
                below = Some(child.node);
                break;
            }
            begins += child.bytes;
        }
        id = NodeId::new(below.ok_or_else(short)?);
    }
    match load_node(rows, &id)? {
        Node::List(chunks) => listed(&chunks, begins, offset).ok_or_else(short),
        _ => Err(misplaced(&id)),
    }
}

/// Of chunks of which the first begins at `begins`, the one that has the byte at `offset`.
fn listed(chunks: &[ChunkRef], mut begins: u64, offset: u64) -> Option<(ChunkRef, u64)> {
    for chunk in chunks {
        let ends = begins.checked_add(u64::from(chunk.raw_len))?;
        if offset < ends {
            return Some((*chunk, begins));
        }
        begins = ends;
    }
    None
}

/// Every chunk of an entry, in order; they are not longer than it.
pub(super) fn each_chunk(
    rows: &dyn Rows,
    entry: &EntryRecord,
    visit: &mut dyn FnMut(&ChunkRef) -> Result<()>,
) -> Result<()> {
    let mut left = entry.bytes;
    let mut visit = |chunk: &ChunkRef| {
        let rest = left.checked_sub(u64::from(chunk.raw_len));
        left = rest.ok_or_else(|| Error::corrupt("an entry's chunk list", "it is too long"))?;
        visit(chunk)
    };
    match &entry.content {
        Content::Inline(_) | Content::Packed(_) => Ok(()),
        Content::Chunks(chunks) => chunks.iter().try_for_each(visit),
        Content::Tree { root, depth } => {
            chunks_below(rows, &NodeId::new(*root), *depth, &mut visit)
        }
    }
}

fn chunks_below(
    rows: &dyn Rows,
    id: &NodeId,
    depth: u8,
    visit: &mut dyn FnMut(&ChunkRef) -> Result<()>,
) -> Result<()> {
    match (load_node(rows, id)?, depth) {
        (Node::List(chunks), 0) => chunks.iter().try_for_each(visit),
        (Node::Spans(children), 1..) => children
            .iter()
            .try_for_each(|child| chunks_below(rows, &NodeId::new(child.node), depth - 1, visit)),
        _ => Err(misplaced(id)),
    }
}

fn misplaced(id: &NodeId) -> Error {
    Error::corrupt(
        format!("manifest node {id}"),
        "it is not where its kind belongs",
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::KindRecord;
    use crate::store::Store;

    #[test]
    fn a_list_of_chunks_is_not_followed_beyond_the_bytes_of_its_entry() {
        let chunk = |raw_len| ChunkRef {
            id: [1; 32],
            raw_len,
        };
        let entry = |bytes| EntryRecord {
            name: "weights".to_owned(),
            kind: KindRecord::File,
            bytes,
            content: Content::Chunks(vec![chunk(600), chunk(500)]),
        };
        let store = Store::in_memory().unwrap();
        let seen = |bytes| {
            let mut seen = 0;
            let walked = store.read(|rows| {
                each_chunk(rows, &entry(bytes), &mut |_| {
                    seen += 1;
                    Ok(())
                })
            });
            (seen, walked.is_ok())
        };
        assert_eq!(seen(1100), (2, true));
        assert_eq!(seen(1099), (1, false));
    }
}
