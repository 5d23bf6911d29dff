//! Steps in the order of their classes.
//!
//! Words go to the planes, and come from them, over a stage for each class that stays in the first
//! level's cache: where each word goes is looked up once, and what is between it and the planes is
//! done many words at a time.

use super::classes::{Classes, MOST_CLASSES};
use super::plane::Plane;
use super::words::{
    Words, exponents_2, exponents_4, exponents_8, gather_2, gather_4, gather_8, scatter_2,
    scatter_4, scatter_8, steps_2, steps_4, steps_8,
};
use multiversion::multiversion;

/// Words that are taken at once.
const BLOCK: usize = 128;
/// Words on a stage, but for one, whose place no index has: where the next word is taken from or
/// put to is a byte for each class, all in one register. In memory, each would be waited for by
/// the next word of its class. A block finds what it needs, or room, once the stage was tended.
const STAGE: usize = 256;
/// The end of a stage.
const END: usize = u8::MAX as usize;

/// Which class each word is of.
pub(super) struct Order<'a> {
    /// Eight times the class of each word: the place in a register of what is known of the class.
    eights: &'a [u8],
    lengths: [usize; MOST_CLASSES],
    classes: usize,
}

impl<'a> Order<'a> {
    /// The order of steps that start from the words of `base`.
    pub(super) fn of(words: Words, base: &[u8], classes: &Classes, room: &'a mut Vec<u8>) -> Self {
        let kernel = match words.width() {
            2 => classify_2,
            4 => classify_4,
            _ => classify_8,
        };
        room.resize(base.len() / words.width(), 0);
        let mut reached = [0; MOST_CLASSES + 1];
        kernel(base, classes.bounds(), room, &mut reached);
        Self {
            eights: room,
            lengths: std::array::from_fn(|class| reached[class] - reached[class + 1]),
            classes: classes.len(),
        }
    }

    /// How many words are in each class.
    pub(super) fn lengths(&self) -> &[usize] {
        &self.lengths[..self.classes]
    }

    /// Splits the steps from the words of `base` to those of `raw` into planes, in each of them
    /// class by class. All are equally long.
    pub(super) fn split(&self, words: Words, raw: &[u8], base: &[u8], planes: &mut [u8]) {
        let kernel = match words.width() {
            2 => split_2,
            4 => split_4,
            _ => split_8,
        };
        kernel(raw, base, self, planes);
    }

    /// What [`Order::split`] undoes: `raw` holds the base, and each class has its planes.
    pub(super) fn merge(
        &self,
        words: Words,
        planes: &[[Plane<'_>; 8]; MOST_CLASSES],
        raw: &mut [u8],
    ) {
        let kernel = match words.width() {
            2 => merge_2,
            4 => merge_4,
            _ => merge_8,
        };
        kernel(planes, self, raw);
    }
}

macro_rules! kernels {
    ($word:ty, $width:literal, $exponents:ident, $steps:ident, $scatter:ident, $gather:ident,
        $classify:ident, $split:ident, $merge:ident) => {
        /// Finds the class of each word, and how many words have reached each class.
        #[multiversion(targets("x86_64+avx2+bmi1+bmi2"))]
        fn $classify(
            base: &[u8],
            bounds: &[u8],
            eights: &mut [u8],
            reached: &mut [usize; MOST_CLASSES + 1],
        ) {
            let mut exponents = [0; BLOCK];
            for (base, eights) in base.chunks(BLOCK * $width).zip(eights.chunks_mut(BLOCK)) {
                let exponents = &mut exponents[..eights.len()];
                $exponents(base, exponents);
                eights.fill(0);
                reached[0] += exponents.len();
                for (bound, reached) in bounds.iter().zip(&mut reached[1..]) {
                    let mut many = 0_u8;
                    for (eight, exponent) in eights.iter_mut().zip(&*exponents) {
                        let reaches = u8::from(exponent >= bound);
                        *eight = eight.wrapping_add(reaches * 8);
                        many = many.wrapping_add(reaches);
                    }
                    *reached += usize::from(many);
                }
            }
        }

        /// Puts the step to each word on its class's stage, and what is there into the planes.
        #[multiversion(targets("x86_64+avx2+bmi1+bmi2"))]
        fn $split<'a>(raw: &[u8], base: &[u8], order: &Order<'a>, planes: &mut [u8]) {
            let count = raw.len() / $width;
            let mut steps = [0; BLOCK];
            let mut stages = [0; STAGE * MOST_CLASSES];
            let mut ends = [0; MOST_CLASSES];
            let mut done = starts(&order.lengths);
            let blocks = raw.chunks(BLOCK * $width).zip(base.chunks(BLOCK * $width));
            for ((raw, base), eights) in blocks.zip(order.eights.chunks(BLOCK)) {
                for class in 0..order.classes {
                    let many = usize::from(ends[class]);
                    if many > END - BLOCK {
                        let stage = &stages[class * STAGE..][..many];
                        $scatter(stage, planes, count, done[class]);
                        done[class] += many;
                        ends[class] = 0;
                    }
                }
                let (new, _) = raw.as_chunks::<$width>();
                let (old, _) = base.as_chunks::<$width>();
                for ((step_to, new), old) in steps.iter_mut().zip(new).zip(old) {
                    let (new, old) = (<$word>::from_le_bytes(*new), <$word>::from_le_bytes(*old));
                    *step_to = $steps::step(new, old, true);
                }
                let mut places = u64::from_le_bytes(ends);
                for (step, eight) in steps.iter().zip(eights) {
                    stages[next(&mut places, *eight)] = *step;
                }
                ends = places.to_le_bytes();
            }
            for class in 0..order.classes {
                let stage = &stages[class * STAGE..][..usize::from(ends[class])];
                $scatter(stage, planes, count, done[class]);
            }
        }

        /// Takes the step to each word from its class's stage, which is filled from the planes;
        /// `raw` holds the base.
        #[multiversion(targets("x86_64+avx2+bmi1+bmi2"))]
        fn $merge<'a, 'b>(
            planes: &[[Plane<'a>; 8]; MOST_CLASSES],
            order: &Order<'b>,
            raw: &mut [u8],
        ) {
            let mut steps = [0; BLOCK];
            let mut stages = [0; STAGE * MOST_CLASSES];
            // What is on a stage stands at its end.
            let mut begins = [u8::MAX; MOST_CLASSES];
            let mut done = [0; MOST_CLASSES];
            for (raw, eights) in raw
                .chunks_mut(BLOCK * $width)
                .zip(order.eights.chunks(BLOCK))
            {
                for class in 0..order.classes {
                    let begin = usize::from(begins[class]);
                    let more = BLOCK.min(order.lengths[class] - done[class]);
                    if begin > END - BLOCK && more > 0 {
                        let stage = &mut stages[class * STAGE..][..END];
                        stage.copy_within(begin.., begin - more);
                        let planes = &planes[class][..$width];
                        $gather(planes, done[class], &mut stage[END - more..]);
                        done[class] += more;
                        [begins[class], ..] = (begin - more).to_le_bytes();
                    }
                }
                let mut places = u64::from_le_bytes(begins);
                for (step, eight) in steps.iter_mut().zip(eights) {
                    *step = stages[next(&mut places, *eight)];
                }
                begins = places.to_le_bytes();
                let (raw, _) = raw.as_chunks_mut::<$width>();
                for (raw, step) in raw.iter_mut().zip(&steps) {
                    *raw = $steps::stepped(<$word>::from_le_bytes(*raw), *step, true).to_le_bytes();
                }
            }
        }
    };
}

kernels!(
    u16,
    2,
    exponents_2,
    steps_2,
    scatter_2,
    gather_2,
    classify_2,
    split_2,
    merge_2
);
kernels!(
    u32,
    4,
    exponents_4,
    steps_4,
    scatter_4,
    gather_4,
    classify_4,
    split_4,
    merge_4
);
kernels!(
    u64,
    8,
    exponents_8,
    steps_8,
    scatter_8,
    gather_8,
    classify_8,
    split_8,
    merge_8
);

/// The next place of a class on the stages.
#[inline(always)]
fn next(places: &mut u64, eight: u8) -> usize {
    let eight = eight & 0b11_1000;
    let [at, ..] = (*places >> eight).to_le_bytes();
    let place = (usize::from(eight) * (STAGE / 8)) | usize::from(at);
    *places = places.wrapping_add(1 << eight);
    place
}

/// The parts of a plane that are the classes'.
pub(super) fn parts<'a>(plane: &'a [u8], lengths: &'a [usize]) -> impl Iterator<Item = &'a [u8]> {
    let mut rest = plane;
    lengths.iter().map(move |length| {
        let (part, others) = rest.split_at(*length);
        rest = others;
        part
    })
}

/// Where each class begins, by how many words are in each.
fn starts(lengths: &[usize; MOST_CLASSES]) -> [usize; MOST_CLASSES] {
    let mut next = 0_usize;
    lengths.map(|length| {
        next += length;
        next - length
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::words;
    use proptest::prelude::*;

    /// Words of two, four and eight bytes with their exponents, as the format has them.
    fn exponent(words: Words, word: &[u8]) -> u8 {
        match word {
            [a, b] => (u16::from_le_bytes([*a, *b]) << 1 >> 8) as u8,
            [a, b, c, d] => (u32::from_le_bytes([*a, *b, *c, *d]) << 1 >> 24) as u8,
            _ => {
                let word = u64::from_le_bytes(word.try_into().unwrap());
                let exponent = (word << 1 >> 53) as u16;
                assert_eq!(words, Words::F64);
                // 0 is 2^-127, as in the shorter floats with eight bits of exponent.
                u8::try_from(exponent.clamp(896, 1151) - 896).unwrap()
            }
        }
    }

    /// Floats whose exponents are near each other, and some anywhere.
    fn floats(words: Words, seed: u64, count: usize) -> Vec<u8> {
        let mut bytes = vec![0; count * words.width()];
        let mut hasher = blake3::Hasher::new();
        hasher.update(&seed.to_le_bytes());
        hasher.finalize_xof().fill(&mut bytes);
        let skipped = usize::from(seed.to_le_bytes()[0] % 7);
        for word in bytes.chunks_exact_mut(words.width()).skip(skipped) {
            if let [.., high] = word {
                *high = *high & 0x81 | 0x3e;
            }
        }
        bytes
    }

    proptest! {
        #[test]
        fn steps_are_sorted_by_the_base_keep_their_order_and_come_back(
            kind in 0..3_usize,
            count in 0..2_000_usize,
            most in 1..=MOST_CLASSES,
            seed in any::<u64>(),
        ) {
            let words = [Words::F16, Words::F32, Words::F64][kind];
            let width = words.width();
            let (raw, base) = (floats(words, seed, count), floats(words, seed ^ 9, count));
            let classes = Classes::of(words, &base, most);
            let listed = classes.bounds();
            prop_assert!(classes.len() <= most && classes.len() == listed.len() + 1);
            prop_assert_eq!(Classes::with(listed), Some(classes));

            let mut steps = vec![0; raw.len()];
            words::split(words, &raw, Some(&base), &mut steps);
            let class = |at: usize| {
                let exponent = exponent(words, &base[at * width..(at + 1) * width]);
                listed.iter().filter(|bound| exponent >= **bound).count()
            };
            let mut order: Vec<usize> = (0..count).collect();
            order.sort_by_key(|at| class(*at));
            let plane = |number: usize| &steps[number * count..(number + 1) * count];
            let expected: Vec<u8> = (0..width)
                .flat_map(|number| order.iter().map(move |at| plane(number)[*at]))
                .collect();
            let (mut planes, mut room) = (vec![1; raw.len()], vec![9; 5]);
            let found = Order::of(words, &base, &classes, &mut room);
            found.split(words, &raw, &base, &mut planes);
            prop_assert_eq!(&planes, &expected);
            for (number, length) in found.lengths().iter().enumerate() {
                prop_assert_eq!(*length, (0..count).filter(|at| class(*at) == number).count());
            }
            let mut of_classes = [[Plane::All(0); 8]; MOST_CLASSES];
            for (number, plane) in planes.chunks_exact(count.max(1)).enumerate() {
                for (class, part) in parts(plane, found.lengths()).enumerate() {
                    of_classes[class][number] = match part {
                        [first, rest @ ..] if rest.iter().all(|byte| byte == first) => {
                            Plane::All(*first)
                        }
                        _ => Plane::Bytes(part),
                    };
                }
            }
            let mut back = base.clone();
            found.merge(words, &of_classes, &mut back);
            prop_assert_eq!(back, raw);
        }
    }
}
