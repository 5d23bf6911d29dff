//! Two manifests side by side, and the values of what differs.

use std::cmp::Ordering;
use std::ops::Range;
use std::sync::Mutex;

use bytes::Bytes;

use super::difference::{Change, Diff, EntryDiff};
use super::documents::{DocumentChange, changes};
use super::spans::{bytes_unknown, differing};
use super::sums::ValueDiff;
use crate::error::Result;
use crate::format::{ChunkRef, Content, KindRecord, MAX_CHUNK_BYTES};
use crate::storage::{load_chunk, unless_of_another};
use crate::store::fill::chunks_of;
use crate::store::read::{Located, bytes_of, check_entries, info_of, within};
use crate::store::source::{Source, reading};
use crate::store::threads::{each, locked};
use crate::store::walk::each_group;
use crate::tensor::{DType, Values};

/// Bytes that a thread compares before it asks for more: whole chunks, so that none is loaded
/// twice.
const PIECE: u64 = 2 * MAX_CHUNK_BYTES as u64;

/// An entry of either, or of both.
type Pair<'l> = (Option<&'l Located>, Option<&'l Located>);

/// The numbers of an entry of both that are to be compared.
struct Compared<'l> {
    before: &'l Located,
    after: &'l Located,
    values: (Values, Values),
    numbers: Vec<Range<u64>>,
}

/// As many of them as are compared at a time, of the entry of this place.
struct Piece<'c> {
    entry: usize,
    of: &'c Compared<'c>,
    numbers: Range<u64>,
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
    let (mut entries, mut compared) = (Vec::new(), Vec::new());
    for pair in paired(&old, &new) {
        let (entry, numbers) = sides.entry(pair)?;
        entries.push(entry);
        compared.push(numbers);
    }
    let compared = compared.iter().enumerate();
    let compared = compared.filter_map(|(entry, of)| Some((entry, of.as_ref()?)));
    let pieces: Vec<Piece<'_>> = compared.flat_map(|(entry, of)| of.pieces(entry)).collect();
    let sums = add_up((before, after), &pieces, progress)?;
    // In the order of the pieces, so that the sums are the same with any number of threads.
    for (piece, sum) in pieces.iter().zip(sums) {
        if let Some(entry) = entries.get_mut(piece.entry) {
            entry.values = Some(entry.values.unwrap_or_default().and(sum));
        }
    }
    Ok(Diff { entries })
}

fn listed(checkpoint: Source<'_>, wanted: &dyn Fn(&str) -> bool) -> Result<Vec<Located>> {
    reading(checkpoint, |rows| {
        let (mut found, mut count) = (Vec::new(), 0);
        each_group(rows, &checkpoint.record.saved.manifest, &mut |group| {
            count += group.entries.len();
            let named = group.entries.iter().filter(|entry| wanted(&entry.name));
            found.extend(named.map(|record| Located {
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
fn paired<'l>(mut old: &'l [Located], mut new: &'l [Located]) -> Vec<Pair<'l>> {
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
    fn bytes(&mut self, entry: &Located) -> Result<Bytes> {
        let source = self.source;
        let bytes = entry.record.bytes;
        let (Content::Packed(offset), Some(pack)) = (&entry.record.content, entry.pack) else {
            return bytes_of(source, entry, 0..bytes);
        };
        if self.pack.as_ref().is_none_or(|(id, _)| *id != pack.id) {
            let load = || reading(source, |rows| load_chunk(rows, &pack));
            self.pack = Some((pack.id, Bytes::from(unless_of_another(load)?)));
        }
        let all = self.pack.as_ref().map(|(_, bytes)| bytes.clone());
        within(&all.unwrap_or_default(), u64::from(*offset), bytes)
    }

    fn chunks(&self, entry: &Located) -> Result<Vec<ChunkRef>> {
        chunks_of(self.source, &entry.record)
    }
}

/// Both.
struct Sides<'s> {
    before: Side<'s>,
    after: Side<'s>,
}

impl Sides<'_> {
    /// How an entry differs, but for the values that are to be compared.
    fn entry<'l>(&mut self, pair: Pair<'l>) -> Result<(EntryDiff, Option<Compared<'l>>)> {
        let [before, after] =
            [pair.0, pair.1].map(|entry| entry.map(|entry| info_of(&entry.record)));
        let of = after.as_ref().or(before.as_ref());
        let mut diff = EntryDiff {
            name: of.map(|info| info.name.clone()).unwrap_or_default(),
            change: Change::Changed,
            changed_bytes: of.map_or(0, |info| info.bytes),
            before,
            after,
            values: None,
            document: Vec::new(),
        };
        let compared = match pair {
            (Some(old), Some(new)) if old.is_large() && new.is_large() => {
                self.large(old, new, &mut diff)?
            }
            (Some(old), Some(new)) => {
                self.small(old, new, &mut diff)?;
                None
            }
            (old, _) => {
                diff.change = if old.is_some() {
                    Change::Removed
                } else {
                    Change::Added
                };
                None
            }
        };
        Ok((diff, compared))
    }

    /// An entry of which one at least has no chunks of its own.
    fn small(&mut self, old: &Located, new: &Located, diff: &mut EntryDiff) -> Result<()> {
        let is_alike = old.record.kind == new.record.kind;
        if is_alike && same_place(old, new) {
            identical(diff);
            return Ok(());
        }
        if (old.is_large() || new.is_large()) && !are_documents(old, new) {
            // Neither has what the other has, and they have not as many numbers.
            return Ok(());
        }
        let (before, after) = (self.before.bytes(old)?, self.after.bytes(new)?);
        if is_alike && before == after {
            identical(diff);
            return Ok(());
        }
        if let Some((old, new)) = values_of(old, new) {
            diff.values = Some(ValueDiff::of((&old, &before), (&new, &after)));
        }
        if are_documents(old, new) {
            diff.document = within_document(&before, &after);
        }
        Ok(())
    }

    /// An entry that has chunks of its own in both.
    fn large<'l>(
        &mut self,
        old: &'l Located,
        new: &'l Located,
        diff: &mut EntryDiff,
    ) -> Result<Option<Compared<'l>>> {
        let is_alike = old.record.kind == new.record.kind;
        if is_alike && old.record.content == new.record.content {
            identical(diff);
            return Ok(None);
        }
        let (before, after) = (self.before.chunks(old)?, self.after.chunks(new)?);
        if is_alike && before == after {
            identical(diff);
            return Ok(None);
        }
        let Some(values) = values_of(old, new) else {
            diff.changed_bytes = bytes_unknown(&before, &after);
            if are_documents(old, new) {
                let (before, after) = (self.before.bytes(old)?, self.after.bytes(new)?);
                diff.document = within_document(&before, &after);
            }
            return Ok(None);
        };
        diff.values = Some(ValueDiff::default());
        let bits = values.1.bits() as u64;
        let all = new.record.bytes * 8 / bits;
        let numbers = if values.0.dtype() == values.1.dtype() {
            let spans = differing(&before, &after);
            diff.changed_bytes = spans.iter().map(|span| span.end - span.start).sum();
            whole_numbers(&spans, bits, all)
        } else {
            std::iter::once(0..all).collect()
        };
        Ok(Some(Compared {
            before: old,
            after: new,
            values,
            numbers,
        }))
    }
}

/// Nothing of it is another's.
fn identical(diff: &mut EntryDiff) {
    diff.change = Change::Identical;
    diff.changed_bytes = 0;
}

/// Whether two entries that are not large lie in the same bytes.
fn same_place(old: &Located, new: &Located) -> bool {
    match (&old.record.content, &new.record.content) {
        (Content::Packed(old_at), Content::Packed(new_at)) => {
            let packs = old.pack.zip(new.pack);
            let is_same_pack = packs.is_some_and(|(old, new)| old.id == new.id);
            is_same_pack && old_at == new_at && old.record.bytes == new.record.bytes
        }
        (old, new) => old == new,
    }
}

fn are_documents(old: &Located, new: &Located) -> bool {
    [old, new]
        .iter()
        .all(|entry| entry.record.kind == KindRecord::Document)
}

/// How the numbers of two entries are to be read, if both are tensors of as many.
fn values_of(old: &Located, new: &Located) -> Option<(Values, Values)> {
    let of = |entry: &Located| {
        let KindRecord::Tensor { dtype, .. } = &entry.record.kind else {
            return None;
        };
        let values = Values::of(DType::from_code(*dtype)?);
        let count = entry.record.bytes * 8 / values.bits() as u64;
        Some((values, count))
    };
    let ((old, old_count), (new, new_count)) = (of(old)?, of(new)?);
    (old_count == new_count).then_some((old, new))
}

/// What differs in a document. One that is no JSON any more is damaged, which loading it says.
fn within_document(before: &[u8], after: &[u8]) -> Vec<DocumentChange> {
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

impl Compared<'_> {
    /// All of it, for the entry of this place.
    fn pieces(&self, entry: usize) -> Vec<Piece<'_>> {
        let most = PIECE / self.values.1.bits() as u64 * 8;
        let mut pieces = Vec::new();
        for span in &self.numbers {
            let mut from = span.start;
            while from < span.end {
                let to = span.end.min(from + most);
                pieces.push(Piece {
                    entry,
                    of: self,
                    numbers: from..to,
                });
                from = to;
            }
        }
        pieces
    }
}

impl Piece<'_> {
    /// How many bytes of the later checkpoint it has.
    fn bytes(&self) -> u64 {
        let count = self.numbers.end - self.numbers.start;
        count * self.of.values.1.bits() as u64 / 8
    }

    fn sum(&self, (before, after): (Source<'_>, Source<'_>)) -> Result<ValueDiff> {
        let Compared {
            before: old,
            after: new,
            values: (old_values, new_values),
            ..
        } = self.of;
        let bytes = |source: Source<'_>, entry: &Located, values: &Values| {
            let at = |number: u64| number * values.bits() as u64 / 8;
            let range = at(self.numbers.start)..at(self.numbers.end);
            unless_of_another(|| bytes_of(source, entry, range.clone()))
        };
        let old_bytes = bytes(before, old, old_values)?;
        let new_bytes = bytes(after, new, new_values)?;
        Ok(ValueDiff::of(
            (old_values, &old_bytes),
            (new_values, &new_bytes),
        ))
    }
}

/// The sums of all pieces, with as many threads as the later checkpoint's store may have.
fn add_up(
    both: (Source<'_>, Source<'_>),
    pieces: &[Piece<'_>],
    progress: &mut (dyn FnMut(u64, u64) + Send),
) -> Result<Vec<ValueDiff>> {
    let total = pieces.iter().map(Piece::bytes).sum();
    let mut sums = vec![ValueDiff::default(); pieces.len()];
    let told = Mutex::new((0, progress));
    let threads = both.1.store.options().threads.min(pieces.len());
    each(threads, pieces.iter().zip(&mut sums), |(piece, sum)| {
        *sum = piece.sum(both)?;
        let mut told = locked(&told);
        told.0 += piece.bytes();
        let done = told.0;
        (told.1)(done, total);
        Ok(())
    })?;
    Ok(sums)
}
