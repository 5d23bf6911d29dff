//! Two manifests side by side, and the values of what differs.

use std::cmp::Ordering;
use std::ops::Range;
use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::Bytes;

use super::difference::{Change, Diff, EntryDiff};
use super::documents::{DocumentChange, changes};
use super::spans::{bytes_unknown, differing};
use super::sums::ValueDiff;
use crate::checkpoint::{EntryInfo, EntryKind};
use crate::error::Result;
use crate::format::{ChunkRef, Content, EntryRecord, KindRecord, MAX_CHUNK_BYTES};
use crate::storage::{load_chunk, unless_of_another};
use crate::store::fill::chunks_of;
use crate::store::read::{self, check_entries, info_of};
use crate::store::source::{Source, reading};
use crate::store::threads::{MOST_THREADS, beside};
use crate::store::walk::each_group;
use crate::tensor::Values;

/// Bytes that a thread compares before it asks for more: whole chunks, so that none is loaded
/// twice.
const PIECE: u64 = 2 * MAX_CHUNK_BYTES as u64;

/// An entry, and the pack that it may lie in.
struct Listed {
    record: EntryRecord,
    pack: Option<ChunkRef>,
}

impl Listed {
    fn is_large(&self) -> bool {
        matches!(
            self.record.content,
            Content::Chunks(_) | Content::Tree { .. }
        )
    }
}

/// Numbers of an entry that are to be compared.
struct Piece {
    entry: usize,
    numbers: Range<u64>,
    bytes: u64,
}

/// What comes of it, piece by piece.
#[derive(Default)]
struct Work {
    next: usize,
    done: u64,
    sums: Vec<ValueDiff>,
    failed: Option<(usize, crate::error::Error)>,
}

pub(super) fn compare(
    before: Source<'_>,
    after: Source<'_>,
    wanted: &dyn Fn(&str) -> bool,
    progress: &mut (dyn FnMut(u64, u64) + Send),
) -> Result<Diff> {
    let (old, new) = (listed(before, wanted)?, listed(after, wanted)?);
    let mut sides = Sides {
        before: Side::of(before),
        after: Side::of(after),
    };
    let (mut entries, mut pieces) = (Vec::new(), Vec::new());
    for (old, new) in paired(&old, &new) {
        let number = entries.len();
        let (entry, spans) = sides.entry(old, new)?;
        pieces.extend(spans.into_iter().flat_map(|span| cut(number, span, &entry)));
        entries.push(entry);
    }
    let sums = add_up(before, after, &entries, &pieces, progress)?;
    // In the order of the pieces, so that the sums are the same with any number of threads.
    for (piece, sum) in pieces.iter().zip(sums) {
        if let Some(entry) = entries.get_mut(piece.entry) {
            entry.values = Some(entry.values.unwrap_or_default().and(sum));
        }
    }
    Ok(Diff { entries })
}

fn listed(checkpoint: Source<'_>, wanted: &dyn Fn(&str) -> bool) -> Result<Vec<Listed>> {
    reading(checkpoint, |rows| {
        let (mut found, mut count) = (Vec::new(), 0);
        each_group(rows, &checkpoint.record.saved.manifest, &mut |group| {
            count += group.entries.len();
            let named = group.entries.iter().filter(|entry| wanted(&entry.name));
            found.extend(named.map(|record| Listed {
                record: record.clone(),
                pack: group.pack,
            }));
            Ok(())
        })?;
        check_entries(checkpoint, count)?;
        Ok(found)
    })
}

/// Entries of the same name, and those that have none beside them; both lists are sorted.
fn paired<'l>(
    mut old: &'l [Listed],
    mut new: &'l [Listed],
) -> Vec<(Option<&'l Listed>, Option<&'l Listed>)> {
    let mut found = Vec::new();
    loop {
        let pair = (old.first(), new.first());
        let order = match pair {
            (None, None) => return found,
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (Some(old), Some(new)) => old.record.name.cmp(&new.record.name),
        };
        let has = (order != Ordering::Greater, order != Ordering::Less);
        found.push((pair.0.filter(|_| has.0), pair.1.filter(|_| has.1)));
        old = old.get(usize::from(has.0)..).unwrap_or_default();
        new = new.get(usize::from(has.1)..).unwrap_or_default();
    }
}

/// One of the checkpoints, and the pack of it that was read last.
struct Side<'s> {
    source: Source<'s>,
    pack: Option<([u8; 32], Bytes)>,
}

impl<'s> Side<'s> {
    const fn of(source: Source<'s>) -> Self {
        Self { source, pack: None }
    }

    /// The bytes of an entry.
    fn bytes(&mut self, entry: &Listed) -> Result<Bytes> {
        let source = self.source;
        let (offset, pack) = match (&entry.record.content, entry.pack) {
            (Content::Inline(bytes), _) => return Ok(Bytes::copy_from_slice(bytes)),
            (Content::Packed(offset), Some(pack)) => (*offset, pack),
            _ => return read::whole(source, &entry.record.name).map(|(_, bytes)| bytes),
        };
        if self.pack.as_ref().is_none_or(|(id, _)| *id != pack.id) {
            let load = || reading(source, |rows| load_chunk(rows, &pack));
            self.pack = Some((pack.id, Bytes::from(unless_of_another(load)?)));
        }
        let bytes = self.pack.as_ref().map(|(_, bytes)| bytes.clone());
        read::within(
            &bytes.unwrap_or_default(),
            u64::from(offset),
            entry.record.bytes,
        )
    }

    fn chunks(&self, entry: &Listed) -> Result<Vec<ChunkRef>> {
        chunks_of(self.source, &entry.record)
    }
}

/// Both.
struct Sides<'s> {
    before: Side<'s>,
    after: Side<'s>,
}

impl Sides<'_> {
    /// How an entry differs, but for the values of these numbers of it.
    fn entry(
        &mut self,
        old: Option<&Listed>,
        new: Option<&Listed>,
    ) -> Result<(EntryDiff, Vec<Range<u64>>)> {
        let [before, after] = [old, new].map(|entry| entry.map(|entry| info_of(&entry.record)));
        let of = after.as_ref().or(before.as_ref());
        let mut diff = EntryDiff {
            name: of.map(|info| info.name.clone()).unwrap_or_default(),
            change: Change::Identical,
            changed_bytes: of.map_or(0, |info| info.bytes),
            before,
            after,
            values: None,
            document: Vec::new(),
        };
        let spans = match (old, new) {
            (Some(old), Some(new)) => self.both(old, new, &mut diff)?,
            (old, _) => {
                diff.change = if old.is_some() {
                    Change::Removed
                } else {
                    Change::Added
                };
                Vec::new()
            }
        };
        Ok((diff, spans))
    }

    fn both(
        &mut self,
        old: &Listed,
        new: &Listed,
        diff: &mut EntryDiff,
    ) -> Result<Vec<Range<u64>>> {
        let is_alike = old.record.kind == new.record.kind;
        if old.is_large() && new.is_large() {
            return self.large(old, new, is_alike, diff);
        }
        let is_document = |entry: &Listed| entry.record.kind == KindRecord::Document;
        let both_are_documents = is_document(old) && is_document(new);
        if (old.is_large() || new.is_large()) && !both_are_documents {
            // Neither has what the other has, and they have not as many numbers.
            diff.change = Change::Changed;
            return Ok(Vec::new());
        }
        let is_same = is_alike && same_place(old, new);
        let (before, after) = if is_same {
            (Bytes::new(), Bytes::new())
        } else {
            (self.before.bytes(old)?, self.after.bytes(new)?)
        };
        if is_same || (is_alike && before == after) {
            diff.changed_bytes = 0;
            return Ok(Vec::new());
        }
        diff.change = Change::Changed;
        if let Some((old, new)) = numbers(diff) {
            diff.values = Some(ValueDiff::of((&old, &before), (&new, &after)));
        }
        diff.document = document(diff, &before, &after);
        Ok(Vec::new())
    }

    fn large(
        &mut self,
        old: &Listed,
        new: &Listed,
        is_alike: bool,
        diff: &mut EntryDiff,
    ) -> Result<Vec<Range<u64>>> {
        if is_alike && old.record.content == new.record.content {
            diff.changed_bytes = 0;
            return Ok(Vec::new());
        }
        let (before, after) = (self.before.chunks(old)?, self.after.chunks(new)?);
        if is_alike && before == after {
            diff.changed_bytes = 0;
            return Ok(Vec::new());
        }
        diff.change = Change::Changed;
        let spans = differing(&before, &after);
        let Some((values, other)) = numbers(diff) else {
            diff.changed_bytes = bytes_unknown(&before, &after);
            let is_document = |info: &Option<EntryInfo>| {
                let kind = info.as_ref().map(|info| &info.kind);
                kind == Some(&EntryKind::Document)
            };
            if is_document(&diff.before) && is_document(&diff.after) {
                let (before, after) = (self.before.bytes(old)?, self.after.bytes(new)?);
                diff.document = document(diff, &before, &after);
            }
            return Ok(Vec::new());
        };
        diff.values = Some(ValueDiff::default());
        let all = new.record.bytes * 8 / other.bits() as u64;
        if values.dtype() != other.dtype() {
            return Ok(std::iter::once(0..all).collect());
        }
        diff.changed_bytes = spans.iter().map(|span| span.end - span.start).sum();
        Ok(whole_numbers(&spans, values.bits() as u64, all))
    }
}

/// Whether two entries that are not large lie in the same bytes.
fn same_place(old: &Listed, new: &Listed) -> bool {
    match (&old.record.content, &new.record.content) {
        (Content::Packed(old_at), Content::Packed(new_at)) => {
            let packs = old.pack.zip(new.pack);
            let is_same_pack = packs.is_some_and(|(old, new)| old.id == new.id);
            is_same_pack && old_at == new_at && old.record.bytes == new.record.bytes
        }
        (old, new) => old == new,
    }
}

/// How the numbers of an entry are to be read before and after, if it has as many.
fn numbers(diff: &EntryDiff) -> Option<(Values, Values)> {
    let (Some(before), Some(after)) = (&diff.before, &diff.after) else {
        return None;
    };
    let (EntryKind::Tensor { dtype: old, .. }, EntryKind::Tensor { dtype: new, .. }) =
        (&before.kind, &after.kind)
    else {
        return None;
    };
    let (old, new) = (Values::of(*old), Values::of(*new));
    let count = |values: &Values, info: &EntryInfo| info.bytes * 8 / values.bits() as u64;
    (count(&old, before) == count(&new, after)).then_some((old, new))
}

/// What differs in a document. One that is no JSON any more is damaged, which loading it says.
fn document(diff: &EntryDiff, before: &[u8], after: &[u8]) -> Vec<DocumentChange> {
    let is_document = |info: &Option<EntryInfo>| {
        info.as_ref()
            .is_some_and(|info| info.kind == EntryKind::Document)
    };
    if !is_document(&diff.before) || !is_document(&diff.after) {
        return Vec::new();
    }
    match (
        serde_json::from_slice(before),
        serde_json::from_slice(after),
    ) {
        (Ok(before), Ok(after)) => changes(&before, &after),
        _ => Vec::new(),
    }
}

/// The numbers that these bytes are of, in steps of eight, which fill whole bytes; none twice.
fn whole_numbers(spans: &[Range<u64>], bits: u64, all: u64) -> Vec<Range<u64>> {
    let mut end = 0;
    let numbers = spans.iter().map(|span| {
        let from = (span.start / bits * 8).max(end);
        end = (span.end.div_ceil(bits) * 8).min(all);
        from..end
    });
    numbers.filter(|numbers| !numbers.is_empty()).collect()
}

/// A span in pieces.
fn cut(number: usize, span: Range<u64>, entry: &EntryDiff) -> Vec<Piece> {
    let bits = numbers(entry).map_or(8, |(_, values)| values.bits() as u64);
    let mut pieces = Vec::new();
    let mut from = span.start;
    while from < span.end {
        let to = span.end.min(from + PIECE / bits * 8);
        pieces.push(Piece {
            entry: number,
            numbers: from..to,
            bytes: (to - from) * bits / 8,
        });
        from = to;
    }
    pieces
}

/// The sums of all pieces, with as many threads as the later checkpoint's store may have.
fn add_up(
    before: Source<'_>,
    after: Source<'_>,
    entries: &[EntryDiff],
    pieces: &[Piece],
    progress: &mut (dyn FnMut(u64, u64) + Send),
) -> Result<Vec<ValueDiff>> {
    let total = pieces.iter().map(|piece| piece.bytes).sum();
    let work = Mutex::new(Work {
        sums: vec![ValueDiff::default(); pieces.len()],
        ..Work::default()
    });
    let progress = Mutex::new(progress);
    let run = || {
        loop {
            let number = {
                let mut work = locked(&work);
                work.next += 1;
                work.next - 1
            };
            let Some(piece) = pieces.get(number) else {
                return;
            };
            let sum = entries
                .get(piece.entry)
                .map_or(Ok(ValueDiff::default()), |entry| {
                    of_piece(before, after, entry, piece)
                });
            let mut work = locked(&work);
            match sum {
                Ok(sum) => {
                    if let Some(place) = work.sums.get_mut(number) {
                        *place = sum;
                    }
                    work.done += piece.bytes;
                    (*locked(&progress))(work.done, total);
                }
                Err(error) => {
                    // Nobody goes on. Of several failures, that of the first piece is told.
                    work.next = pieces.len();
                    if work
                        .failed
                        .as_ref()
                        .is_none_or(|(first, _)| number < *first)
                    {
                        work.failed = Some((number, error));
                    }
                }
            }
        }
    };
    let threads = match after.store.options().threads {
        _ if cfg!(ckptdb_schedules) => 1,
        threads => threads.min(pieces.len()).min(MOST_THREADS),
    };
    beside(threads.saturating_sub(1), run, run);
    let work = work.into_inner().unwrap_or_else(PoisonError::into_inner);
    match work.failed {
        Some((_, error)) => Err(error),
        None => Ok(work.sums),
    }
}

fn of_piece(
    before: Source<'_>,
    after: Source<'_>,
    entry: &EntryDiff,
    piece: &Piece,
) -> Result<ValueDiff> {
    let Some((old, new)) = numbers(entry) else {
        return Ok(ValueDiff::default());
    };
    let bytes = |source: Source<'_>, values: &Values| {
        let at = |number: u64| number * values.bits() as u64 / 8;
        let range = at(piece.numbers.start)..at(piece.numbers.end);
        unless_of_another(|| read::range(source, &entry.name, range.clone()))
    };
    let (old_bytes, new_bytes) = (bytes(before, &old)?, bytes(after, &new)?);
    Ok(ValueDiff::of((&old, &old_bytes), (&new, &new_bytes)))
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
