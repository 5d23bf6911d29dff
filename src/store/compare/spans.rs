//! Where two lists of chunks differ.

use std::collections::HashSet;
use std::ops::Range;

use crate::format::ChunkRef;

/// The ranges of bytes outside of which two lists have the same chunks at the same places, in
/// order. What is beyond the end of the shorter list is in none.
pub(super) fn differing(before: &[ChunkRef], after: &[ChunkRef]) -> Vec<Range<u64>> {
    let mut found: Vec<Range<u64>> = Vec::new();
    let (mut before, mut after) = (Placed::of(before), Placed::of(after));
    while let (Some((old, old_at)), Some((new, new_at))) = (before.here(), after.here()) {
        let (old_end, new_end) = (old_at.end, new_at.end);
        if (old.id, &old_at) != (new.id, &new_at) {
            let shared = old_at.start.max(new_at.start)..old_end.min(new_end);
            match found.last_mut() {
                Some(last) if last.end == shared.start => last.end = shared.end,
                _ => found.push(shared),
            }
        }
        if old_end <= new_end {
            before.go_on();
        }
        if new_end <= old_end {
            after.go_on();
        }
    }
    found
}

/// How many bytes of `after` lie in chunks that `before` has nowhere.
pub(super) fn bytes_unknown(before: &[ChunkRef], after: &[ChunkRef]) -> u64 {
    let known: HashSet<&[u8; 32]> = before.iter().map(|chunk| &chunk.id).collect();
    let unknown = after.iter().filter(|chunk| !known.contains(&chunk.id));
    unknown.map(|chunk| u64::from(chunk.raw_len)).sum()
}

/// A list of chunks, and how far it was gone through.
struct Placed<'c> {
    rest: &'c [ChunkRef],
    at: u64,
}

impl<'c> Placed<'c> {
    const fn of(rest: &'c [ChunkRef]) -> Self {
        Self { rest, at: 0 }
    }

    /// The next chunk, and where it lies.
    fn here(&self) -> Option<(&'c ChunkRef, Range<u64>)> {
        let chunk = self.rest.first()?;
        Some((chunk, self.at..self.at + u64::from(chunk.raw_len)))
    }

    fn go_on(&mut self) {
        if let Some((chunk, rest)) = self.rest.split_first() {
            self.at += u64::from(chunk.raw_len);
            self.rest = rest;
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A list of chunks of these contents and lengths.
    fn list(chunks: &[(u8, u32)]) -> Vec<ChunkRef> {
        let chunk = |&(content, raw_len): &(u8, u32)| ChunkRef {
            id: *blake3::hash(&[&[content], &raw_len.to_le_bytes()[..]].concat()).as_bytes(),
            raw_len,
        };
        chunks.iter().map(chunk).collect()
    }

    /// The bytes of such a list: each says which chunk it is of, and where in it.
    fn bytes(chunks: &[(u8, u32)]) -> Vec<(u8, u32, u32)> {
        let of = |&(content, len): &(u8, u32)| (0..len).map(move |at| (content, len, at));
        chunks.iter().flat_map(of).collect()
    }

    proptest! {
        #[test]
        fn outside_of_what_is_told_both_are_the_same(
            before in prop::collection::vec((0..3_u8, 1..5_u32), 0..12),
            after in prop::collection::vec((0..3_u8, 1..5_u32), 0..12),
        ) {
            let found = differing(&list(&before), &list(&after));
            let (old, new) = (bytes(&before), bytes(&after));
            let is_told = |at: usize| found.iter().any(|range| range.contains(&(at as u64)));
            for (at, (old, new)) in old.iter().zip(&new).enumerate() {
                prop_assert!(old == new || is_told(at), "{at} of {found:?}");
            }
            let mut end = 0;
            for range in &found {
                prop_assert!(range.start < range.end && (range.start > end || end == 0));
                end = range.end;
            }
            prop_assert!(end <= old.len().min(new.len()) as u64);
            prop_assert_eq!(differing(&list(&before), &list(&before)), vec![]);
        }

        #[test]
        fn what_the_other_has_elsewhere_is_no_change(
            before in prop::collection::vec((0..3_u8, 1..5_u32), 0..12),
            after in prop::collection::vec((0..3_u8, 1..5_u32), 0..12),
        ) {
            let unknown = after.iter().filter(|chunk| !before.contains(chunk));
            let expected: u64 = unknown.map(|(_, len)| u64::from(*len)).sum();
            prop_assert_eq!(bytes_unknown(&list(&before), &list(&after)), expected);
        }
    }
}
