//! Chunks of a store that is mended in place: where their bytes are, and how often they are named.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::ops::ControlFlow;

use super::frames::Frames;
use crate::error::{Error, Result};
use crate::format::{
    ChunkRef, ChunkRow, EXTENT_HEADER_BYTES, ExtentHeader, MAX_CHAIN_DEPTH, MAX_PARTS, frames,
};
use crate::id::ChunkId;
use crate::storage::{
    Change, Harm, Rows, chunk_row, is_bundle, load_chunk, load_encoded, lose_chunk, remove_frame,
    replace_chunk,
};
use crate::store::verify::Content;

/// What an extent says of its chunk.
struct Part {
    header: ExtentHeader,
    /// In the first part, which begins with them.
    bases: Vec<ChunkId>,
    /// The key of the bundle that it is in; 0 if it is in none.
    bundle: u64,
}

/// What is known of the chunks, and what is done about them.
struct Mender<'a> {
    frames: &'a Frames,
    /// The rows that there are, and those that can't be read.
    rows: HashMap<ChunkId, Option<ChunkRow>>,
    /// The extents, if a row has to be put together from them.
    found: HashMap<ChunkId, Vec<Part>>,
    bad: &'a BTreeMap<ChunkId, String>,
    /// How often manifests name each.
    named: HashMap<ChunkId, (ChunkRef, u64)>,
    /// How often the rows that can be read have it as a base.
    deltas: HashMap<ChunkId, u32>,
    done: HashSet<ChunkId>,
    /// Bytes that may still be brought back.
    room: u64,
    /// Chunks that are marked as lost.
    lost: u64,
}

/// Makes every chunk's row say where its bytes are and how often it is named; those of the chunks
/// in `bad` that can't be brought back are marked as lost. No more than `most` bytes are brought
/// back. Returns how many chunks are marked.
pub(super) fn mend_chunks(
    change: &mut Change<'_>,
    content: &Content,
    bad: &BTreeMap<ChunkId, String>,
    frames: &Frames,
    most: u64,
) -> Result<u64> {
    let mut rows: HashMap<ChunkId, Option<ChunkRow>> = HashMap::new();
    change.records().0.each_chunk(&mut |id, bytes| {
        rows.insert(id, ChunkRow::from_bytes(&id, bytes).ok());
        Ok(ControlFlow::Continue(()))
    })?;
    let named: HashMap<ChunkId, (ChunkRef, u64)> = content
        .chunk_refs()
        .map(|(chunk, refs)| (chunk.chunk(), (chunk, refs)))
        .collect();
    let deltas = deltas_of(rows.values().flatten());
    let needs_scan = named
        .keys()
        .chain(deltas.keys())
        .any(|id| rows.get(id).is_none_or(Option::is_none));
    let found = if needs_scan {
        extents(change.records().0)?
    } else {
        HashMap::new()
    };
    let mut mender = Mender {
        frames,
        rows,
        found,
        bad,
        named,
        deltas,
        done: HashSet::new(),
        room: most,
        lost: 0,
    };
    for (chunk, _) in content.chunk_refs() {
        mender.mend(change, &chunk, 0)?;
    }
    mender.drop_unnamed(change)?;
    count_deltas(change)?;
    change.rows().end_extents()?;
    Ok(mender.lost)
}

impl Mender<'_> {
    /// Puts a chunk right, after its bases; `above` is how many deltas led to it.
    fn mend(&mut self, change: &mut Change<'_>, chunk: &ChunkRef, above: u8) -> Result<()> {
        let id = chunk.chunk();
        if above > MAX_CHAIN_DEPTH || !self.done.insert(id) {
            return Ok(());
        }
        let refs = self.named.get(&id).map_or(0, |(_, refs)| *refs);
        let known = self.rows.get(&id).cloned().flatten();
        let is_known = known.is_some();
        let Some(mut row) = known.or_else(|| self.row_of(chunk)) else {
            return self.restore(change, chunk, refs, None);
        };
        let below = self.mend_bases(change, &row, above)?;
        if row.refs != refs || !is_known {
            if !is_known {
                row.depth = below.map_or(0, |depth| depth.saturating_add(1));
            }
            if row.depth > MAX_CHAIN_DEPTH {
                return self.restore(change, chunk, refs, None);
            }
            row.refs = refs;
            change.rows().put_chunk(&id, &row.to_bytes(&id))?;
        }
        if refs == 0 {
            // Only deltas need it: they are to be written without it.
            change.rows().stage(row.number, &id)?;
        }
        // Nobody has read what a row that was put together leads to; and what was wrong with a base
        // is mended by now.
        let is_sound = match (is_known, self.bad.contains_key(&id)) {
            (true, false) => true,
            (true, true) if row.bases.is_empty() => false,
            _ => is_readable(change, &id) && load_chunk(change.records().0, chunk).is_ok(),
        };
        if is_sound {
            return Ok(());
        }
        self.restore(change, chunk, refs, Some(&row))
    }

    /// Puts the bases of a chunk right. Returns how deep the deepest lies.
    fn mend_bases(
        &mut self,
        change: &mut Change<'_>,
        row: &ChunkRow,
        above: u8,
    ) -> Result<Option<u8>> {
        let mut deepest = None;
        for base in &row.bases {
            let Some(chunk) = self.base(base) else {
                continue;
            };
            self.mend(change, &chunk, above + 1)?;
            let depth = chunk_row(change.records().0, base)?.map(|row| row.depth);
            deepest = deepest.max(depth);
        }
        Ok(deepest)
    }

    /// A base, if anything says how long it is.
    fn base(&self, id: &ChunkId) -> Option<ChunkRef> {
        if let Some((chunk, _)) = self.named.get(id) {
            return Some(*chunk);
        }
        let known = self.rows.get(id).and_then(Option::as_ref);
        let found = self.found.get(id).and_then(|found| found.first());
        let raw_len = known
            .map(|row| row.raw_len)
            .or_else(|| found.map(|part| part.header.raw_len));
        match raw_len {
            Some(raw_len) => Some(ChunkRef {
                id: *id.as_bytes(),
                raw_len,
            }),
            None => self.frames.base(id).ok(),
        }
    }

    fn deltas_of(&self, id: &ChunkId) -> u32 {
        self.deltas.get(id).copied().unwrap_or(0)
    }

    /// The row of a chunk whose extents are all there.
    fn row_of(&self, chunk: &ChunkRef) -> Option<ChunkRow> {
        let found = self.found.get(&chunk.chunk())?;
        let last = found.iter().map(|part| part.header.number).max()?;
        let parts = || found.iter().filter(|part| part.header.number == last);
        let first = parts().find(|part| part.header.part == 0)?;
        let ExtentHeader {
            number,
            raw_len,
            stored_len,
            codec,
            parts: count,
            ..
        } = first.header;
        let is_whole = parts().count() == usize::from(count);
        let fits = raw_len == chunk.raw_len && first.bases.len() == usize::from(first.header.bases);
        (is_whole && fits).then(|| ChunkRow {
            refs: 0,
            deltas: self.deltas_of(&chunk.chunk()),
            number,
            raw_len,
            stored_len,
            codec,
            parts: count,
            depth: 0,
            position: if first.bases.is_empty() { 0 } else { u8::MAX },
            bases: first.bases.clone(),
            bundle: parts().map(|part| part.bundle).max().unwrap_or(0),
        })
    }

    /// Writes a chunk anew from what the file still has of it elsewhere. Otherwise it is lost; but
    /// where its bases are, it may be whole: then it stays, for the day that somebody brings them.
    fn restore(
        &mut self,
        change: &mut Change<'_>,
        chunk: &ChunkRef,
        refs: u64,
        row: Option<&ChunkRow>,
    ) -> Result<()> {
        let uses = (refs, self.deltas_of(&chunk.chunk()));
        match self.frames.chunk_alone(chunk) {
            Ok(found) => {
                // Written pages leave the engine's cache for free ones, which are still to be read.
                self.room = self
                    .room
                    .checked_sub(found.stored.len() as u64)
                    .ok_or_else(|| Error::Beyond {
                        what: "the store".to_owned(),
                        why: "there is more to bring back than can be done in place".to_owned(),
                    })?;
                replace_chunk(change, &found, uses)
            }
            Err(Error::Corrupt { .. }) => {
                let id = chunk.chunk();
                let rows = change.records().0;
                let is_there = |row: &ChunkRow| {
                    is_readable(change, &id) && load_encoded(rows, &id, row).is_ok()
                };
                if row.is_some_and(|row| waits(rows, row) && is_there(row)) {
                    return Ok(());
                }
                self.lost += 1;
                lose_chunk(change, chunk, uses)
            }
            Err(other) => Err(other),
        }
    }

    /// Chunks that nothing names are left to be swept.
    fn drop_unnamed(&mut self, change: &mut Change<'_>) -> Result<()> {
        let unnamed = self.rows.iter().filter(|(id, _)| !self.done.contains(*id));
        for (id, row) in unnamed {
            match row {
                Some(row) => {
                    change.rows().stage(row.number, id)?;
                    if row.refs != 0 {
                        let row = ChunkRow {
                            refs: 0,
                            ..row.clone()
                        };
                        change.rows().put_chunk(id, &row.to_bytes(id))?;
                    }
                }
                None => {
                    change.rows().remove_chunk(id)?;
                }
            }
        }
        Ok(())
    }
}

/// Makes every row say how many deltas there are against it.
fn count_deltas(change: &mut Change<'_>) -> Result<()> {
    let mut rows: HashMap<ChunkId, ChunkRow> = HashMap::new();
    change.records().0.each_chunk(&mut |id, bytes| {
        rows.extend(ChunkRow::from_bytes(&id, bytes).map(|row| (id, row)));
        Ok(ControlFlow::Continue(()))
    })?;
    let counts = deltas_of(rows.values());
    for (id, row) in rows {
        let deltas = counts.get(&id).copied().unwrap_or(0);
        if row.deltas != deltas {
            let row = ChunkRow { deltas, ..row };
            change.rows().put_chunk(&id, &row.to_bytes(&id))?;
        }
    }
    Ok(())
}

/// How often these rows have each chunk as a base.
fn deltas_of<'a>(rows: impl Iterator<Item = &'a ChunkRow>) -> HashMap<ChunkId, u32> {
    let mut counts = HashMap::new();
    for base in rows.flat_map(|row| &row.bases) {
        *counts.entry(*base).or_default() += 1;
    }
    counts
}

/// Whether the bytes of a chunk further down its chain are lost, as far as the chain falls.
fn waits(rows: &dyn Rows, row: &ChunkRow) -> bool {
    row.bases.iter().any(|base| match chunk_row(rows, base) {
        Ok(Some(below)) if below.depth < row.depth && below.bases.len() <= 1 => {
            below.is_lost() || waits(rows, &below)
        }
        _ => false,
    })
}

/// Whether the disk is not known to be unable to read it: the engine must not meet that.
fn is_readable(change: &Change<'_>, id: &ChunkId) -> bool {
    change.records().0.suspects().chunk(id) != Some(Harm::Unreadable)
}

/// Removes the extents, and the frames in bundles, that no chunk's row leads to.
pub(super) fn drop_unnamed_extents(change: &mut Change<'_>) -> Result<()> {
    let mut parts = HashMap::new();
    let mut bundled: HashMap<u64, HashSet<u64>> = HashMap::new();
    change.records().0.each_chunk(&mut |id, bytes| {
        if let Ok(row) = ChunkRow::from_bytes(&id, bytes) {
            let known = parts.entry(row.number).or_insert(0);
            *known = u64::from(row.extents()).max(*known);
            if row.bundle > 0 {
                bundled.entry(row.bundle).or_default().insert(row.number);
            }
        }
        Ok(ControlFlow::Continue(()))
    })?;
    let (mut unnamed, mut in_bundles) = (Vec::new(), Vec::new());
    change.records().0.each_extent(&mut |key, bytes| {
        let (number, part) = (key / MAX_PARTS as u64, key % MAX_PARTS as u64);
        if let Some(named) = bundled.get(&key) {
            let numbers = frames(bytes).map(|(_, frame)| frame.header.number);
            let others = numbers.filter(|number| !named.contains(number));
            in_bundles.extend(others.map(|other| (key, other)));
        } else if parts.get(&number).is_none_or(|parts| part >= *parts) {
            unnamed.push(key);
        }
        Ok(ControlFlow::Continue(()))
    })?;
    let rows = change.rows();
    for (bundle, number) in in_bundles {
        remove_frame(rows, bundle, number)?;
    }
    unnamed
        .into_iter()
        .try_for_each(|key| rows.remove_extent(key))
}

/// What all extents say of themselves, by chunk.
fn extents(rows: &dyn Rows) -> Result<HashMap<ChunkId, Vec<Part>>> {
    let mut found: HashMap<ChunkId, Vec<Part>> = HashMap::new();
    let mut note = |header: ExtentHeader, payload: &[u8], bundle| {
        let (ids, _) = payload.as_chunks::<32>();
        let many = if header.part == 0 {
            usize::from(header.bases)
        } else {
            0
        };
        let part = Part {
            header,
            bases: ids.iter().take(many).map(|id| ChunkId::new(*id)).collect(),
            bundle,
        };
        found.entry(header.chunk).or_default().push(part);
    };
    rows.each_extent(&mut |key, bytes| {
        if is_bundle(bytes) {
            for (_, frame) in frames(bytes) {
                note(frame.header, frame.payload, key);
            }
        } else if let Ok(header) = ExtentHeader::from_bytes(bytes) {
            let payload = bytes.get(EXTENT_HEADER_BYTES..).unwrap_or_default();
            note(header, payload, 0);
        }
        Ok(ControlFlow::Continue(()))
    })?;
    Ok(found)
}
