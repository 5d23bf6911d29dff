//! Chunks of which little differs from a base, or from zeros: where, and what is there.

use super::classes::Classes;
use super::dense::{self, Buffers};
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

/// Groups that are looked at before all are.
const SAMPLE: usize = 256;

/// Whether more than a third of so many hundredths of the groups in a sample are as in the base, or
/// zero. Where fewer are, all the groups need not be compared to know that not so many are.
pub(super) fn may_be_worth(raw: &[u8], base: Option<&[u8]>, hundredths: usize) -> bool {
    let groups = raw.len() / GROUP;
    // Odd, so as not to fall into step with what repeats itself.
    let step = groups.div_ceil(SAMPLE) | 1;
    let of = |bytes: &'_ [u8], at: usize| -> Option<[u8; GROUP]> {
        bytes.get(at * GROUP..)?.first_chunk().copied()
    };
    let is_same = |at: &usize| match base {
        Some(base) => of(raw, *at) == of(base, *at),
        None => of(raw, *at) == Some([0; GROUP]),
    };
    let looked = (0..groups).step_by(step);
    let (many, same) = (looked.len(), looked.filter(is_same).count());
    same * 300 > many * hundredths || groups <= SAMPLE
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
        buffers: &mut Buffers,
        out: &mut Vec<u8>,
    ) {
        let steps = if from.is_some() { STEPS } else { 0 };
        out.push(words.code() | steps);
        coders.put(&self.bitmap, out);
        dense::put(words, there, from, &Classes::ONE, coders, buffers, out);
    }
}

/// The code of the words, of the first byte.
pub(super) const fn words_code(head: u8) -> u8 {
    head & !STEPS
}

/// Takes all of `stored` into exactly `raw`, which holds the base, or zeros.
pub(super) fn decode(
    stored: &[u8],
    buffers: &mut Buffers,
    there: &mut Vec<u8>,
    raw: &mut [u8],
) -> Option<()> {
    let (head, mut stored) = stored.split_first()?;
    let words = Words::from_code(words_code(*head))?;
    let groups = raw.len().div_ceil(GROUP);
    let bitmap = take(&mut stored, groups.div_ceil(8), buffers.spare())?;
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
    let steps = head & STEPS != 0;
    dense::decode(words, stored, steps, &Classes::ONE, buffers, there)?;
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sample_finds_what_is_worth_it_whatever_repeats_itself() {
        let noise: Vec<u8> = (0..1_048_496_u32)
            .map(|at| at.to_le_bytes()[0] | 1)
            .collect();
        let with = |is_zero: &dyn Fn(usize) -> bool| {
            let mut raw = noise.clone();
            for (at, group) in raw.chunks_mut(GROUP).enumerate() {
                if is_zero(at) {
                    group.fill(0);
                }
            }
            raw
        };
        for period in 2..=14 {
            let raw = with(&|at| at % period == 0);
            assert!(changes(&raw, None).is_worth(6));
            assert!(may_be_worth(&raw, None, 6), "each {period}th");
            assert!(may_be_worth(&raw, Some(&vec![0; raw.len()]), 6));
        }
        let first = with(&|at| at < 16_382 / 12);
        assert!(changes(&first, None).is_worth(6) && may_be_worth(&first, None, 6));
        let few = with(&|at| at % 400 == 399);
        assert!(!may_be_worth(&few, None, 6) && !may_be_worth(&noise, None, 6));
        assert!(!may_be_worth(&noise, Some(&few[64..]), 6));
        // Of a short one, every group is compared in any case.
        assert!(may_be_worth(&noise[..256 * GROUP], None, 6));
        assert!(!may_be_worth(&noise[..257 * GROUP], None, 6));
    }
}
