//! Entries out of the store: found through the manifest, verified chunk by chunk.

use std::collections::BTreeMap;
use std::io::Write;
use std::ops::Range;

use bytes::Bytes;

use super::fill::{buffer, chunks_of, fill, slots};
use super::source::{Source, reading};
use super::walk::{chunk_at, each_group, group_of};
use crate::checkpoint::{EntryInfo, EntryKind};
use crate::error::{Error, Result};
use crate::format::{ChunkRef, Content, EntryRecord, Group, KindRecord, MAX_CHUNK_BYTES};
use crate::name::printable;
use crate::platform::{self, Buffer};
use crate::storage::{Rows, load_chunk, load_chunk_to};
use crate::tensor::DType;

/// An entry with what it takes to read it.
pub(super) struct Located {
    pub(super) record: EntryRecord,
    pub(super) pack: Option<ChunkRef>,
}

impl Located {
    /// Whether it has chunks of its own.
    pub(super) fn is_large(&self) -> bool {
        matches!(
            self.record.content,
            Content::Chunks(_) | Content::Tree { .. }
        )
    }
}

fn locate(rows: &dyn Rows, checkpoint: Source<'_>, name: &str) -> Result<Option<Located>> {
    let group = group_of(rows, &checkpoint.record.saved.manifest, name)?;
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

fn located(checkpoint: Source<'_>, name: &str) -> Result<Located> {
    match reading(checkpoint, |rows| locate(rows, checkpoint, name))? {
        Some(located) => Ok(located),
        None => Err(no_entry(checkpoint, name)),
    }
}

fn no_entry(checkpoint: Source<'_>, name: &str) -> Error {
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
    let of = checkpoint.label();
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

pub(super) fn entries(checkpoint: Source<'_>) -> Result<Vec<EntryInfo>> {
    reading(checkpoint, |rows| {
        let mut found = Vec::new();
        each_group(rows, &checkpoint.record.saved.manifest, &mut |group| {
            found.extend(group.entries.iter().map(info_of));
            Ok(())
        })?;
        check_entries(checkpoint, found.len())?;
        Ok(found)
    })
}

pub(super) fn entry(checkpoint: Source<'_>, name: &str) -> Result<EntryInfo> {
    located(checkpoint, name).map(|located| info_of(&located.record))
}

pub(super) fn whole(checkpoint: Source<'_>, name: &str) -> Result<(EntryInfo, Bytes)> {
    let located = located(checkpoint, name)?;
    let info = info_of(&located.record);
    let data = bytes_of(checkpoint, &located, 0..info.bytes)?;
    Ok((info, data))
}

pub(super) fn range(checkpoint: Source<'_>, name: &str, range: Range<u64>) -> Result<Bytes> {
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

pub(super) fn into(checkpoint: Source<'_>, name: &str, out: &mut [u8]) -> Result<()> {
    let located = located(checkpoint, name)?;
    let bytes = located.record.bytes;
    if out.len() as u64 != bytes {
        let why = format!("it has {} bytes, the entry {bytes}", out.len());
        return Err(Error::invalid(
            format!("buffer for entry `{}`", printable(name)),
            why,
        ));
    }
    if located.is_large() {
        let chunks = chunks_of(checkpoint, &located.record)?;
        return fill(checkpoint, slots(&chunks, out));
    }
    let mut rest = out;
    pieces(checkpoint, &located, 0..bytes, &mut |piece| {
        let (to, after) = std::mem::take(&mut rest).split_at_mut(piece.len());
        to.copy_from_slice(piece);
        rest = after;
        Ok(())
    })
}

pub(super) fn copy(checkpoint: Source<'_>, name: &str, out: &mut dyn Write) -> Result<u64> {
    let located = located(checkpoint, name)?;
    let bytes = located.record.bytes;
    pieces(checkpoint, &located, 0..bytes, &mut |piece| {
        let operation = format!("writing out entry `{}` of", printable(name));
        let path = checkpoint.store.path();
        out.write_all(piece)
            .map_err(|error| platform::io_error(&operation, path, error))
    })?;
    Ok(bytes)
}

/// An entry of several chunks, on its way.
struct Large {
    record: EntryRecord,
    chunks: Vec<ChunkRef>,
    data: Buffer,
}

impl Large {
    fn of(checkpoint: Source<'_>, record: EntryRecord) -> Result<Self> {
        let chunks = chunks_of(checkpoint, &record)?;
        let data = buffer(&record)?;
        Ok(Self {
            record,
            chunks,
            data,
        })
    }
}

/// All entries; a pack is read once for all that lie in it.
pub(super) fn all(checkpoint: Source<'_>) -> Result<BTreeMap<String, (EntryKind, Bytes)>> {
    let mut groups: Vec<Group> = Vec::new();
    reading(checkpoint, |rows| {
        groups.clear();
        each_group(rows, &checkpoint.record.saved.manifest, &mut |group| {
            groups.push(group.clone());
            Ok(())
        })
    })?;
    let mut found = BTreeMap::new();
    let mut large = Vec::new();
    for group in groups {
        let pack = match &group.pack {
            Some(pack) => {
                checkpoint.store.go_on(pack.raw_len as usize, "reading")?;
                Bytes::from(reading(checkpoint, |rows| load_chunk(rows, pack))?)
            }
            None => Bytes::new(),
        };
        for record in group.entries {
            let data = match &record.content {
                Content::Packed(offset) => within(&pack, u64::from(*offset), record.bytes)?,
                Content::Inline(bytes) => within(&Bytes::copy_from_slice(bytes), 0, record.bytes)?,
                Content::Chunks(_) | Content::Tree { .. } => {
                    large.push(Large::of(checkpoint, record)?);
                    continue;
                }
            };
            let EntryInfo { name, kind, .. } = info_of(&record);
            found.insert(name, (kind, data));
        }
    }
    let all = large.iter_mut();
    let all = all.flat_map(|entry| slots(&entry.chunks, &mut entry.data));
    fill(checkpoint, all.collect())?;
    for Large { record, data, .. } in large {
        let EntryInfo { name, kind, .. } = info_of(&record);
        found.insert(name, (kind, data.into()));
    }
    check_entries(checkpoint, found.len())?;
    Ok(found)
}

/// A piece of a pack, without a copy.
pub(super) fn within(pack: &Bytes, offset: u64, bytes: u64) -> Result<Bytes> {
    let short = || Error::corrupt("a pack", "it is too short");
    let from = usize::try_from(offset).map_err(|_| short())?;
    let to = usize::try_from(bytes)
        .ok()
        .and_then(|len| from.checked_add(len))
        .ok_or_else(short)?;
    if to > pack.len() {
        return Err(short());
    }
    Ok(pack.slice(from..to))
}

/// As many entries as were saved.
pub(super) fn check_entries(checkpoint: Source<'_>, found: usize) -> Result<()> {
    let expected = checkpoint.record.saved.entries;
    if found as u64 != expected {
        let why = format!("{found} entries are listed, {expected} were saved");
        return Err(Error::corrupt(
            format!("the manifest of {}", checkpoint.label()),
            why,
        ));
    }
    Ok(())
}

/// Some of an entry's bytes; all of a large one's with several threads.
pub(super) fn bytes_of(
    checkpoint: Source<'_>,
    located: &Located,
    range: Range<u64>,
) -> Result<Bytes> {
    let record = &located.record;
    if located.is_large() && range == (0..record.bytes) {
        let chunks = chunks_of(checkpoint, record)?;
        let mut data = buffer(record)?;
        fill(checkpoint, slots(&chunks, &mut data))?;
        return Ok(data.into());
    }
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
    checkpoint: Source<'_>,
    located: &Located,
    range: Range<u64>,
    visit: &mut dyn FnMut(&[u8]) -> Result<()>,
) -> Result<()> {
    if range.is_empty() {
        return Ok(());
    }
    let mut visit = |piece: &[u8]| {
        checkpoint.store.go_on(piece.len(), "reading")?;
        visit(piece)
    };
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
            let bytes: Vec<u8> = reading(checkpoint, |rows| load_chunk(rows, &pack))?;
            let offset = u64::from(*offset);
            visit(&slice(&bytes, offset + range.start, offset + range.end)?)
        }
        Content::Chunks(_) | Content::Tree { .. } => {
            let mut bytes = Vec::new();
            let mut at = range.start;
            while at < range.end {
                let begins = reading(checkpoint, |rows| {
                    let (chunk, begins) = chunk_at(rows, &located.record, at)?;
                    load_chunk_to(rows, &chunk, &mut bytes).map(|()| begins)
                })?;
                let ends = begins + bytes.len() as u64;
                let to = range.end.min(ends);
                if at == begins && to == ends {
                    visit(&bytes)?;
                } else {
                    visit(&slice(&bytes, at - begins, to - begins)?)?;
                }
                at = to;
            }
            Ok(())
        }
    }
}
