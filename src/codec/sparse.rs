//! Chunks of which little differs from a base, or from zeros: where, and what is there.

use super::dense;
use super::plane::{Coders, take};
use super::words::Words;

/// Bytes that count as one place.
pub(super) const GROUP: usize = 64;
/// In the byte before the planes: the words that differ are steps from the base's.
const STEPS: u8 = 0x80;

/// Which groups of a chunk differ from its base.
pub(super) struct Changes {
    /// A bit a group, the first in the lowest.
    bitmap: Vec<u8>,
    groups: usize,
    /// Groups that differ.
    pub(super) changed: usize,
}

/// Compares a chunk with its base, or with zeros.
pub(super) fn changes(raw: &[u8], base: Option<&[u8]>) -> Changes {
    let groups = raw.len().div_ceil(GROUP);
    let mut bitmap = vec![0; groups.div_ceil(8)];
    let mut changed = 0;
    let mut note = |at: usize, differs: bool| {
        bitmap[at / 8] |= u8::from(differs) << (at % 8);
        changed += usize::from(differs);
    };
    match base {
        Some(base) => {
            let pairs = raw.chunks(GROUP).zip(base.chunks(GROUP));
            pairs
                .enumerate()
                .for_each(|(at, (new, old))| note(at, new != old));
        }
        None => raw
            .chunks(GROUP)
            .enumerate()
            .for_each(|(at, new)| note(at, new != &[0; GROUP][..new.len()])),
    }
    Changes {
        bitmap,
        groups,
        changed,
    }
}

impl Changes {
    /// Whether more than so many hundredths of the groups are the same.
    pub(super) const fn is_worth(&self, hundredths: usize) -> bool {
        (self.groups - self.changed) * 100 > self.groups * hundredths
    }

    /// Bytes of the places.
    pub(super) const fn len(&self) -> usize {
        self.bitmap.len()
    }

    /// The groups of `bytes` that differ, end to end.
    pub(super) fn gather(&self, bytes: &[u8], out: &mut Vec<u8>) {
        out.clear();
        let differs = |at: &usize| self.bitmap[at / 8] >> (at % 8) & 1 == 1;
        for at in (0..self.groups).filter(differs) {
            out.extend_from_slice(&bytes[at * GROUP..bytes.len().min((at + 1) * GROUP)]);
        }
    }

    /// Appends where the differences are, and what is there. With `from`, that is as steps from it.
    pub(super) fn put(
        &self,
        words: Words,
        there: &[u8],
        from: Option<&[u8]>,
        coders: &mut Coders,
        scratch: &mut Vec<u8>,
        out: &mut Vec<u8>,
    ) {
        let steps = if from.is_some() { STEPS } else { 0 };
        out.push(words.code() | steps);
        coders.put(&self.bitmap, out);
        dense::put(words, there, from, coders, scratch, out);
    }
}

/// The code of the words, of the first byte.
pub(super) const fn words_code(head: u8) -> u8 {
    head & !STEPS
}

/// Takes all of `stored` into exactly `raw`, which holds the base, or zeros.
pub(super) fn decode(
    stored: &[u8],
    scratch: &mut Vec<u8>,
    there: &mut Vec<u8>,
    raw: &mut [u8],
) -> Option<()> {
    let (head, mut stored) = stored.split_first()?;
    let words = Words::from_code(words_code(*head))?;
    let groups = raw.len().div_ceil(GROUP);
    let mut bitmap = vec![0; groups.div_ceil(8)];
    take(&mut stored, &mut bitmap)?;
    if !groups.is_multiple_of(8) && bitmap.last().is_some_and(|last| last >> (groups % 8) != 0) {
        return None;
    }
    let changed = bitmap.iter().map(|byte| byte.count_ones() as usize).sum();
    let changes = Changes {
        bitmap,
        groups,
        changed,
    };
    changes.gather(raw, there);
    dense::decode(words, stored, head & STEPS != 0, scratch, there)?;
    let mut there = &**there;
    for at in 0..groups {
        if changes.bitmap[at / 8] >> (at % 8) & 1 == 1 {
            let end = raw.len().min((at + 1) * GROUP);
            let group = &mut raw[at * GROUP..end];
            let (new, rest) = there.split_at_checked(group.len())?;
            group.copy_from_slice(new);
            there = rest;
        }
    }
    Some(())
}
