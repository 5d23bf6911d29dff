//! Entries out of the store: found through the manifest, verified chunk by chunk.

use std::collections::BTreeMap;
use std::io::Write;
use std::ops::Range;

use bytes::Bytes;

use crate::checkpoint::{EntryInfo, EntryKind};
use crate::chunking::Grid;
use crate::error::{Error, Result};
use crate::format::{
    ChunkRef, Content, EntryRecord, Group, KindRecord, MAX_CHUNK_BYTES, MAX_TREE_DEPTH, Manifest,
    Node,
};
use crate::id::NodeId;
use crate::name::printable;
use crate::platform;
use crate::storage::{Records, Rows, load_chunk, load_node};
use crate::store::Checkpoint;
use crate::tensor::DType;

const GRID: Grid = Grid::new(MAX_CHUNK_BYTES);

/// An entry with what it takes to read it.
struct Located {
    record: EntryRecord,
    pack: Option<ChunkRef>,
}

/// Runs reads of a checkpoint. What fails because it was reclaimed meanwhile says so.
fn reading<T>(checkpoint: &Checkpoint, run: impl FnOnce(&dyn Rows) -> Result<T>) -> Result<T> {
    checkpoint.store().read(|rows| {
        run(rows).map_err(|error| match error {
            Error::Corrupt { .. } if is_gone(rows, checkpoint) => {
                Error::Deleted { id: checkpoint.id }
            }
            Error::Corrupt { what, why } => {
                let of = format!("{what} (of {}@{})", checkpoint.job, checkpoint.iteration);
                Error::corrupt(of, why)
            }
            other => other,
        })
    })
}

fn is_gone(rows: &dyn Rows, checkpoint: &Checkpoint) -> bool {
    matches!(Records(rows).checkpoint(checkpoint.id.get()), Ok(None))
}

/// Shows every group of a manifest to `visit`, in the order of names.
pub(super) fn each_group(
    rows: &dyn Rows,
    manifest: &Manifest,
    visit: &mut dyn FnMut(&Group) -> Result<()>,
) -> Result<()> {
    match manifest {
        Manifest::Inline(group) => visit(group),
        Manifest::Tree { root, depth } => groups_below(rows, &NodeId::new(*root), *depth, visit),
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
fn group_of(rows: &dyn Rows, manifest: &Manifest, name: &str) -> Result<Group> {
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

fn locate(rows: &dyn Rows, checkpoint: &Checkpoint, name: &str) -> Result<Option<Located>> {
    let group = group_of(rows, &checkpoint.record().saved.manifest, name)?;
    let place = group
        .entries
        .binary_search_by(|entry| entry.name.as_str().cmp(name));
    let found = place
        .ok()
        .and_then(|place| group.entries.into_iter().nth(place));
    Ok(found.map(|record| Located {
        record,
        pack: group.pack,
    }))
}

fn located(checkpoint: &Checkpoint, name: &str) -> Result<Located> {
    match reading(checkpoint, |rows| locate(rows, checkpoint, name))? {
        Some(located) => Ok(located),
        None => Err(no_entry(checkpoint, name)),
    }
}

fn no_entry(checkpoint: &Checkpoint, name: &str) -> Error {
    let mut names: Vec<String> = entries(checkpoint)
        .unwrap_or_default()
        .into_iter()
        .map(|entry| entry.name)
        .collect();
    // Those that begin alike are likely what was meant.
    let alike = |other: &str| {
        other
            .chars()
            .zip(name.chars())
            .take_while(|(a, b)| a == b)
            .count()
    };
    names.sort_by_key(|other| std::cmp::Reverse(alike(other)));
    let near: Vec<String> = names.iter().take(3).map(|name| printable(name)).collect();
    let hint = format!(
        "it has {} entries, among them {}",
        names.len(),
        near.join(", ")
    );
    let of = format!("{}@{}", checkpoint.job, checkpoint.iteration);
    Error::not_found(format!("entry `{}` in {of}", printable(name)), hint)
}

pub(super) fn info_of(record: &EntryRecord) -> EntryInfo {
    let kind = match &record.kind {
        KindRecord::Tensor { dtype, shape } => EntryKind::Tensor {
            // A record with an unknown element type does not decode.
            dtype: DType::from_code(*dtype).unwrap_or(DType::U8),
            shape: shape.clone(),
        },
        KindRecord::Document => EntryKind::Document,
        KindRecord::File => EntryKind::File,
    };
    EntryInfo {
        name: record.name.clone(),
        kind,
        bytes: record.bytes,
    }
}

pub(super) fn entries(checkpoint: &Checkpoint) -> Result<Vec<EntryInfo>> {
    reading(checkpoint, |rows| {
        let mut found = Vec::new();
        each_group(rows, &checkpoint.record().saved.manifest, &mut |group| {
            found.extend(group.entries.iter().map(info_of));
            Ok(())
        })?;
        let expected = checkpoint.entries;
        let in_order = found.windows(2).all(|pair| pair[0].name < pair[1].name);
        if found.len() as u64 != expected || !in_order {
            let why = format!("{} entries are listed, {expected} were saved", found.len());
            return Err(Error::corrupt("the manifest", why));
        }
        Ok(found)
    })
}

pub(super) fn entry(checkpoint: &Checkpoint, name: &str) -> Result<EntryInfo> {
    located(checkpoint, name).map(|located| info_of(&located.record))
}

pub(super) fn whole(checkpoint: &Checkpoint, name: &str) -> Result<(EntryInfo, Bytes)> {
    let located = located(checkpoint, name)?;
    let info = info_of(&located.record);
    let data = bytes_of(checkpoint, &located, 0..info.bytes)?;
    Ok((info, data))
}

pub(super) fn range(checkpoint: &Checkpoint, name: &str, range: Range<u64>) -> Result<Bytes> {
    let located = located(checkpoint, name)?;
    let bytes = located.record.bytes;
    if range.start > range.end || range.end > bytes {
        let why = format!("bytes {}..{} of {bytes}", range.start, range.end);
        return Err(Error::invalid(
            format!("range of entry `{}`", printable(name)),
            why,
        ));
    }
    bytes_of(checkpoint, &located, range)
}

pub(super) fn into(checkpoint: &Checkpoint, name: &str, out: &mut [u8]) -> Result<()> {
    let located = located(checkpoint, name)?;
    let bytes = located.record.bytes;
    if out.len() as u64 != bytes {
        let why = format!("it has {} bytes, the entry {bytes}", out.len());
        return Err(Error::invalid(
            format!("buffer for entry `{}`", printable(name)),
            why,
        ));
    }
    let mut rest = out;
    pieces(checkpoint, &located, 0..bytes, &mut |piece| {
        let (to, after) = std::mem::take(&mut rest).split_at_mut(piece.len());
        to.copy_from_slice(piece);
        rest = after;
        Ok(())
    })
}

pub(super) fn copy(checkpoint: &Checkpoint, name: &str, out: &mut dyn Write) -> Result<u64> {
    let located = located(checkpoint, name)?;
    let bytes = located.record.bytes;
    pieces(checkpoint, &located, 0..bytes, &mut |piece| {
        let operation = format!("writing out entry `{}` of", printable(name));
        let path = checkpoint.store().path();
        out.write_all(piece)
            .map_err(|error| platform::io_error(&operation, path, error))
    })?;
    Ok(bytes)
}

pub(super) fn all(checkpoint: &Checkpoint) -> Result<BTreeMap<String, (EntryKind, Bytes)>> {
    let mut found = BTreeMap::new();
    for info in entries(checkpoint)? {
        let (info, data) = whole(checkpoint, &info.name)?;
        found.insert(info.name, (info.kind, data));
    }
    Ok(found)
}

fn bytes_of(checkpoint: &Checkpoint, located: &Located, range: Range<u64>) -> Result<Bytes> {
    let length = usize::try_from(range.end - range.start)
        .map_err(|_| Error::invalid("the entry", "it does not fit in memory"))?;
    let mut data = Vec::new();
    // The length is vouched for by the manifest's hash, but memory is only taken as chunks come.
    data.try_reserve_exact(length.min(MAX_CHUNK_BYTES))
        .map_err(|_| Error::invalid("the entry", "it does not fit in memory"))?;
    pieces(checkpoint, located, range, &mut |piece| {
        data.try_reserve(piece.len())
            .map_err(|_| Error::invalid("the entry", "it does not fit in memory"))?;
        data.extend_from_slice(piece);
        Ok(())
    })?;
    Ok(data.into())
}

/// Shows the bytes of a range to `visit`, in order, each piece verified before.
fn pieces(
    checkpoint: &Checkpoint,
    located: &Located,
    range: Range<u64>,
    visit: &mut dyn FnMut(&[u8]) -> Result<()>,
) -> Result<()> {
    if range.is_empty() {
        return Ok(());
    }
    let slice = |bytes: &[u8], from: u64, to: u64| -> Result<Vec<u8>> {
        let bounds = usize::try_from(from).ok().zip(usize::try_from(to).ok());
        let piece = bounds.and_then(|(from, to)| bytes.get(from..to));
        piece
            .map(<[u8]>::to_vec)
            .ok_or_else(|| Error::corrupt("a chunk", "it is too short"))
    };
    match &located.record.content {
        Content::Inline(bytes) => visit(&slice(bytes, range.start, range.end)?),
        Content::Packed(offset) => {
            let pack = located
                .pack
                .ok_or_else(|| Error::corrupt("a manifest's group", "its pack is missing"))?;
            let bytes = reading(checkpoint, |rows| load_chunk(rows, &pack))?;
            let offset = u64::from(*offset);
            visit(&slice(&bytes, offset + range.start, offset + range.end)?)
        }
        Content::Chunks(_) | Content::Tree { .. } => {
            let total = located.record.bytes;
            let first = range.start / MAX_CHUNK_BYTES as u64;
            let last = (range.end - 1) / MAX_CHUNK_BYTES as u64;
            for index in first..=last {
                let covered = GRID.range(index, total);
                let bytes = reading(checkpoint, |rows| {
                    let chunk = chunk_at(rows, &located.record, index)?;
                    if u64::from(chunk.raw_len) != covered.end - covered.start {
                        return Err(Error::corrupt(
                            "an entry's chunk list",
                            "it is off the grid",
                        ));
                    }
                    load_chunk(rows, &chunk)
                })?;
                let from = range.start.max(covered.start) - covered.start;
                let to = range.end.min(covered.end) - covered.start;
                if from == 0 && to == bytes.len() as u64 {
                    visit(&bytes)?;
                } else {
                    visit(&slice(&bytes, from, to)?)?;
                }
            }
            Ok(())
        }
    }
}

/// Chunk `index` of an entry, by the shortest way through its tree.
fn chunk_at(rows: &dyn Rows, entry: &EntryRecord, index: u64) -> Result<ChunkRef> {
    let short = || Error::corrupt("an entry's chunk list", "it is too short");
    let nth = |chunks: &[ChunkRef], index: u64| {
        usize::try_from(index)
            .ok()
            .and_then(|i| chunks.get(i).copied())
            .ok_or_else(short)
    };
    let (root, depth) = match &entry.content {
        Content::Chunks(chunks) => return nth(chunks, index),
        Content::Tree { root, depth } => (NodeId::new(*root), *depth),
        Content::Inline(_) | Content::Packed(_) => return Err(short()),
    };
    let mut id = root;
    let mut left = index * MAX_CHUNK_BYTES as u64;
    for _ in 0..depth.min(MAX_TREE_DEPTH) {
        let Node::Spans(children) = load_node(rows, &id)? else {
            return Err(misplaced(&id));
        };
        let mut below = None;
        for child in children {
            if left < child.bytes {
                below = Some(child.node);
                break;
            }
            left -= child.bytes;
        }
        id = NodeId::new(below.ok_or_else(short)?);
    }
    match load_node(rows, &id)? {
        Node::List(chunks) => nth(&chunks, left / MAX_CHUNK_BYTES as u64),
        _ => Err(misplaced(&id)),
    }
}

/// Every chunk of an entry, in order.
pub(super) fn each_chunk(
    rows: &dyn Rows,
    entry: &EntryRecord,
    visit: &mut dyn FnMut(&ChunkRef) -> Result<()>,
) -> Result<()> {
    match &entry.content {
        Content::Inline(_) | Content::Packed(_) => Ok(()),
        Content::Chunks(chunks) => chunks.iter().try_for_each(visit),
        Content::Tree { root, depth } => chunks_below(rows, &NodeId::new(*root), *depth, visit),
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
