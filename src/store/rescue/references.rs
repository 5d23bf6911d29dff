//! Reference counts and lost bytes of a store that is mended in place.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ops::ControlFlow;

use crate::error::{Error, Result};
use crate::format::{ChunkRef, ChunkRow, ExtentHeader, MAX_PARTS, Node, StoredNode};
use crate::id::{ChunkId, NodeId};
use crate::storage::{Change, Rows, heal_chunk, load_chunk, lose_chunk};
use crate::store::verify::{Content, Findings};

use super::frames::Frames;
use super::plan::Plan;

/// What there was to mend.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Mended {
    pub(super) rows: u64,
    pub(super) lost_nodes: u64,
    pub(super) lost_chunks: u64,
}

/// What to do with a row.
enum Fix<T> {
    Put(T),
    Remove,
}

/// Counts what the checkpoints of a plan name. Nodes that the tables have lost, and the file has
/// elsewhere, are put back first.
pub(super) fn count_content(
    change: &mut Change<'_>,
    plan: &Plan,
    frames: &Frames,
) -> Result<Content> {
    loop {
        let mut content = Content::default();
        let mut findings = Findings::default();
        for (id, record) in &plan.checkpoints {
            content.check_manifest(change.records().0, *id, record, &mut findings)?;
        }
        let mut restored = false;
        for id in content.lost_nodes() {
            if let Some(bytes) = frames.node_bytes(id) {
                let refs = content.node_refs(id);
                change
                    .rows()
                    .put_node(id, &StoredNode::value(id, refs, &bytes))?;
                restored = true;
            }
        }
        // Below those may be others.
        if !restored {
            return Ok(content);
        }
    }
}

/// Makes every node's row say how often it is named; a node whose bytes are spoilt keeps its count.
pub(super) fn mend_nodes(change: &mut Change<'_>, content: &Content) -> Result<Mended> {
    let mut fixes: Vec<(NodeId, Fix<Vec<u8>>)> = Vec::new();
    let mut mended = Mended::default();
    let mut seen: BTreeSet<NodeId> = BTreeSet::new();
    change.records().0.each_node(&mut |id, value| {
        let refs = content.node_refs(&id);
        seen.insert(id);
        let split = StoredNode::split(&id, value);
        // The count may be spoilt, and the bytes after it sound.
        let bytes = value.get(StoredNode::PREFIX_BYTES..).unwrap_or_default();
        let is_sound = Node::from_bytes(&id, bytes).is_ok();
        match split {
            _ if refs == 0 => fixes.push((id, Fix::Remove)),
            Ok((count, _)) if count == refs && is_sound => {}
            _ => {
                mended.lost_nodes += u64::from(!is_sound);
                let bytes = if is_sound { bytes } else { &[] };
                let fixed = StoredNode::value(&id, refs, bytes);
                if fixed != value {
                    fixes.push((id, Fix::Put(fixed)));
                }
            }
        }
        Ok(ControlFlow::Continue(()))
    })?;
    for (id, refs) in content.nodes() {
        if !seen.contains(&id) {
            mended.lost_nodes += 1;
            fixes.push((id, Fix::Put(StoredNode::value(&id, refs, &[]))));
        }
    }
    mended.rows = fixes.len() as u64;
    for (id, fix) in fixes {
        match fix {
            Fix::Put(value) => change.rows().put_node(&id, &value)?,
            Fix::Remove => change.rows().remove_node(&id)?,
        }
    }
    Ok(mended)
}

/// Makes every chunk's row say where its bytes are and how often it is named; the chunks in `bad`
/// are marked as lost. No more than `most` bytes are brought back.
pub(super) fn mend_chunks(
    change: &mut Change<'_>,
    content: &Content,
    bad: &BTreeMap<ChunkId, String>,
    frames: &Frames,
    most: u64,
) -> Result<Mended> {
    let mut room = most;
    let mut mended = Mended::default();
    let mut rows: HashMap<ChunkId, Option<ChunkRow>> = HashMap::new();
    change.records().0.each_chunk(&mut |id, bytes| {
        rows.insert(id, ChunkRow::from_bytes(&id, bytes).ok());
        Ok(ControlFlow::Continue(()))
    })?;
    let needs_scan = content
        .chunk_refs()
        .any(|(chunk, _)| rows.get(&chunk.chunk()).is_none_or(Option::is_none));
    let found = if needs_scan {
        extents(change.records().0)?
    } else {
        HashMap::new()
    };
    for (chunk, refs) in content.chunk_refs() {
        let id = chunk.chunk();
        let row = rows.remove(&id).flatten();
        let is_known = row.is_some();
        let row = row.or_else(|| found.get(&id).and_then(|parts| row_of(&chunk, parts)));
        match row {
            // The row itself may be what is bad, and its chunk sound.
            Some(row) if !is_known || !bad.contains_key(&id) => {
                if row.refs != refs || !is_known {
                    let row = ChunkRow { refs, ..row };
                    change.rows().put_chunk(&id, &row.to_bytes(&id))?;
                    mended.rows += 1;
                }
                // Nobody has read what a row that was put together leads to.
                let loads = is_known || load_chunk(change.records().0, &chunk).is_ok();
                if !loads {
                    mended.lost_chunks += restore_chunk(change, &chunk, refs, (frames, &mut room))?;
                }
            }
            _ => mended.lost_chunks += restore_chunk(change, &chunk, refs, (frames, &mut room))?,
        }
    }
    for (id, row) in rows {
        drop_unnamed(change, &id, row, &mut mended)?;
    }
    Ok(mended)
}

/// Writes a chunk anew from what the file still has of it elsewhere, or notes that it is lost.
/// Returns how many are.
fn restore_chunk(
    change: &mut Change<'_>,
    chunk: &ChunkRef,
    refs: u64,
    (frames, room): (&Frames, &mut u64),
) -> Result<u64> {
    match frames.chunk(chunk) {
        Ok(found) => {
            // Written pages leave the engine's cache for free ones, which are still to be read.
            *room = room
                .checked_sub(found.stored.len() as u64)
                .ok_or_else(|| Error::Beyond {
                    what: "the store".to_owned(),
                    why: "there is more to bring back than can be done in place".to_owned(),
                })?;
            heal_chunk(change, &found, refs).map(|()| 0)
        }
        Err(Error::Corrupt { .. }) => lose_chunk(change, chunk, refs).map(|()| 1),
        Err(other) => Err(other),
    }
}

/// A chunk that nothing names is left to be swept.
fn drop_unnamed(
    change: &mut Change<'_>,
    id: &ChunkId,
    row: Option<ChunkRow>,
    mended: &mut Mended,
) -> Result<()> {
    match row {
        Some(row) => {
            change.rows().stage(row.number, id)?;
            if row.refs != 0 {
                let row = ChunkRow { refs: 0, ..row };
                change.rows().put_chunk(id, &row.to_bytes(id))?;
                mended.rows += 1;
            }
        }
        None => {
            change.rows().remove_chunk(id)?;
            mended.rows += 1;
        }
    }
    Ok(())
}

/// Removes the extents that no chunk's row leads to.
pub(super) fn drop_unnamed_extents(change: &mut Change<'_>) -> Result<()> {
    let mut numbers = BTreeMap::new();
    change.records().0.each_chunk(&mut |id, bytes| {
        if let Ok(row) = ChunkRow::from_bytes(&id, bytes) {
            numbers.insert(row.number, u64::from(row.parts));
        }
        Ok(ControlFlow::Continue(()))
    })?;
    let mut unnamed = Vec::new();
    change.records().0.each_extent(&mut |key, _| {
        let (number, part) = (key / MAX_PARTS as u64, key % MAX_PARTS as u64);
        if numbers.get(&number).is_none_or(|parts| part >= *parts) {
            unnamed.push(key);
        }
        Ok(ControlFlow::Continue(()))
    })?;
    unnamed
        .into_iter()
        .try_for_each(|key| change.rows().remove_extent(key))
}

/// The headers of all extents, by chunk.
fn extents(rows: &dyn Rows) -> Result<HashMap<ChunkId, Vec<ExtentHeader>>> {
    let mut found: HashMap<ChunkId, Vec<ExtentHeader>> = HashMap::new();
    rows.each_extent(&mut |_, bytes| {
        if let Ok(header) = ExtentHeader::from_bytes(bytes) {
            found.entry(header.chunk).or_default().push(header);
        }
        Ok(ControlFlow::Continue(()))
    })?;
    Ok(found)
}

/// The row of a chunk whose extents are all there.
fn row_of(chunk: &ChunkRef, found: &[ExtentHeader]) -> Option<ChunkRow> {
    let first = found.iter().max_by_key(|header| header.number)?;
    let of_number = found.iter().filter(|h| h.number == first.number);
    let is_whole = of_number.count() == usize::from(first.parts);
    let fits = first.raw_len == chunk.raw_len && first.bases == 0;
    (is_whole && fits).then(|| ChunkRow {
        refs: 0,
        number: first.number,
        raw_len: first.raw_len,
        stored_len: first.stored_len,
        codec: first.codec,
        parts: first.parts,
        depth: 0,
        bases: Vec::new(),
    })
}
