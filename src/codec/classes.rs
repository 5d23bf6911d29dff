//! Steps sorted by the exponents that they start from.
//!
//! An optimizer moves all weights of a tensor by about as much, whatever their size: counted in
//! units of the last place, a weight of a half moves a quarter as far as one of an eighth. So the
//! base's exponent, which a decoder knows too, tells how long a step will be. The steps are sorted
//! into classes of exponents, in each of which they keep their order, and each class has planes of
//! its own: what is coded is the entropy given the class, without a bit for the class itself.

use super::entropy::count;
use super::words::{Words, steps_2, steps_4, steps_8};

/// The most classes that there are.
pub(super) const MOST_CLASSES: usize = 8;
/// Words that are taken at once.
const BLOCK: usize = 128;

/// Ranges of exponents: a word is in the class whose number is how many bounds its base's has
/// reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Classes {
    bounds: [u8; MOST_CLASSES - 1],
    classes: usize,
}

impl Classes {
    /// The one class of all words.
    pub(super) const ONE: Self = Self {
        bounds: [u8::MAX; MOST_CLASSES - 1],
        classes: 1,
    };

    /// So many classes at most, as equally long as exponents allow.
    pub(super) fn of(words: Words, base: &[u8], most: usize) -> Self {
        let mut counts = [0; 256];
        let mut exponents = [0; BLOCK];
        for block in base.chunks(BLOCK * words.width()) {
            let exponents = &mut exponents[..block.len() / words.width()];
            fill_exponents(words, block, exponents);
            count(exponents, &mut counts);
        }
        let all: u32 = counts.iter().sum();
        let mut made = Self::ONE;
        let mut below = 0;
        for (exponent, count) in (0..=u8::MAX).zip(counts) {
            // Half of an exponent's words are to be on the right side of a bound.
            let middle = u64::from(2 * below + count) * most as u64;
            let class = middle / (2 * u64::from(all.max(1)));
            if count > 0 && below > 0 && class as usize >= made.classes && made.classes < most {
                made.bounds[made.classes - 1] = exponent;
                made.classes += 1;
            }
            below += count;
        }
        made
    }

    /// How many there are.
    pub(super) const fn len(&self) -> usize {
        self.classes
    }

    /// How many bounds there are.
    pub(super) const fn listed(&self) -> u8 {
        self.classes as u8 - 1
    }

    /// The lowest exponent of each class but the first.
    pub(super) fn bounds(&self) -> &[u8] {
        &self.bounds[..self.classes - 1]
    }

    /// The classes with these bounds, which rise and are at most seven.
    pub(super) fn with(bounds: &[u8]) -> Option<Self> {
        let mut made = Self::ONE;
        made.bounds.get_mut(..bounds.len())?.copy_from_slice(bounds);
        made.classes += bounds.len();
        bounds.is_sorted_by(|a, b| a < b).then_some(made)
    }

    /// How many words are in each class.
    pub(super) fn lengths(&self, words: Words, base: &[u8]) -> [usize; MOST_CLASSES] {
        let mut reached = [0_usize; MOST_CLASSES + 1];
        let mut exponents = [0; BLOCK];
        for block in base.chunks(BLOCK * words.width()) {
            let exponents = &mut exponents[..block.len() / words.width()];
            fill_exponents(words, block, exponents);
            reached[0] += exponents.len();
            for (reached, bound) in reached[1..].iter_mut().zip(self.bounds()) {
                let mut many = 0_u16;
                for exponent in &*exponents {
                    many = many.wrapping_add(u16::from(exponent >= bound));
                }
                *reached += usize::from(many);
            }
        }
        std::array::from_fn(|class| reached[class] - reached[class + 1])
    }

    /// The steps from the words of `base` to those of `raw`, class by class, all as long as `out`;
    /// and how many each class has.
    pub(super) fn sort(
        &self,
        words: Words,
        raw: &[u8],
        base: &[u8],
        out: &mut [u8],
    ) -> [usize; MOST_CLASSES] {
        let lengths = self.lengths(words, base);
        let mut next = starts(&lengths);
        match words.width() {
            2 => sort_2((raw, base), self, &mut next, out),
            4 => sort_4((raw, base), self, &mut next, out),
            _ => sort_8((raw, base), self, &mut next, out),
        }
        lengths
    }

    /// What [`Classes::sort`] undoes: `raw` holds the base, whose classes have these lengths.
    pub(super) fn unsort(
        &self,
        words: Words,
        sorted: &[u8],
        lengths: &[usize; MOST_CLASSES],
        raw: &mut [u8],
    ) {
        let mut next = starts(lengths);
        match words.width() {
            2 => unsort_2(sorted, self, &mut next, raw),
            4 => unsort_4(sorted, self, &mut next, raw),
            _ => unsort_8(sorted, self, &mut next, raw),
        }
    }
}

fn fill_exponents(words: Words, base: &[u8], exponents: &mut [u8]) {
    match words.width() {
        2 => exponents_2(base, exponents),
        4 => exponents_4(base, exponents),
        _ => exponents_8(base, exponents),
    }
}

macro_rules! kernels {
    ($word:ty, $width:literal, $exponent:expr, $exponents:ident, $steps:ident,
        $sort:ident, $unsort:ident) => {
        fn $exponents(base: &[u8], exponents: &mut [u8]) {
            let (words, _) = base.as_chunks::<$width>();
            for (word, exponent) in words.iter().zip(exponents) {
                *exponent = $exponent(<$word>::from_le_bytes(*word));
            }
        }

        /// Puts the step to each word into its place.
        fn $sort(
            (raw, base): (&[u8], &[u8]),
            classes: &Classes,
            next: &mut [usize; MOST_CLASSES],
            out: &mut [u8],
        ) {
            let (mut steps, mut exponents, mut class) = ([0; BLOCK], [0; BLOCK], [0; BLOCK]);
            let (out, _) = out.as_chunks_mut::<$width>();
            let blocks = raw.chunks(BLOCK * $width).zip(base.chunks(BLOCK * $width));
            for (raw, base) in blocks {
                let (new, _) = raw.as_chunks::<$width>();
                let (old, _) = base.as_chunks::<$width>();
                for ((step_to, new), old) in steps.iter_mut().zip(new).zip(old) {
                    let (new, old) = (<$word>::from_le_bytes(*new), <$word>::from_le_bytes(*old));
                    *step_to = $steps::step(new, old, true);
                }
                $exponents(base, &mut exponents);
                classify(&exponents, classes, &mut class);
                let mut many = 0;
                for (step, class) in steps[..new.len()].iter().zip(&class) {
                    if let Some(place) = out.get_mut(place(next, &mut many, *class)) {
                        *place = step.to_le_bytes();
                    }
                }
                advance(next, many);
            }
        }

        /// Takes the step to each word from its place; `raw` holds the base.
        fn $unsort(
            sorted: &[u8],
            classes: &Classes,
            next: &mut [usize; MOST_CLASSES],
            raw: &mut [u8],
        ) {
            let (mut steps, mut exponents, mut class) = ([0; BLOCK], [0; BLOCK], [0; BLOCK]);
            let (sorted, _) = sorted.as_chunks::<$width>();
            for raw in raw.chunks_mut(BLOCK * $width) {
                $exponents(raw, &mut exponents);
                classify(&exponents, classes, &mut class);
                let (raw, _) = raw.as_chunks_mut::<$width>();
                let mut many = 0;
                for (step, class) in steps[..raw.len()].iter_mut().zip(&class) {
                    let sorted = sorted.get(place(next, &mut many, *class));
                    *step = sorted.map_or(0, |step| <$word>::from_le_bytes(*step));
                }
                advance(next, many);
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
    |word: u16| (word >> 7) as u8,
    exponents_2,
    steps_2,
    sort_2,
    unsort_2
);
kernels!(
    u32,
    4,
    |word: u32| (word >> 23) as u8,
    exponents_4,
    steps_4,
    sort_4,
    unsort_4
);
// Of eleven bits, those that stand for what eight bits stand for in the shorter ones.
kernels!(
    u64,
    8,
    |word: u64| ((word >> 52) as u16 & 0x7ff).saturating_sub(896).min(255) as u8,
    exponents_8,
    steps_8,
    sort_8,
    unsort_8
);

/// Where the next word of a class goes. How many there were before is counted in a byte for each
/// class: in a register, since a counter in memory would be waited for by the next word.
#[inline]
fn place(next: &[usize; MOST_CLASSES], many: &mut u64, class: u8) -> usize {
    let shift = u32::from(class % 8) * 8;
    let at = next[usize::from(class % 8)].wrapping_add((*many >> shift & 0xff) as usize);
    *many = many.wrapping_add(1 << shift);
    at
}

fn advance(next: &mut [usize; MOST_CLASSES], many: u64) {
    for (next, many) in next.iter_mut().zip(many.to_le_bytes()) {
        *next += usize::from(many);
    }
}

fn classify(exponents: &[u8; BLOCK], classes: &Classes, class: &mut [u8; BLOCK]) {
    class.fill(0);
    for bound in classes.bounds() {
        for (class, exponent) in class.iter_mut().zip(exponents) {
            *class = class.wrapping_add(u8::from(exponent >= bound));
        }
    }
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
        for word in bytes
            .chunks_exact_mut(words.width())
            .skip(seed as usize % 7)
        {
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
            count in 0..1_000_usize,
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
            let ones = Classes::ONE.sort(words, &raw, &base, &mut steps);
            prop_assert_eq!(ones[0], count);
            let class = |at: usize| {
                let exponent = exponent(words, &base[at * width..(at + 1) * width]);
                listed.iter().filter(|bound| exponent >= **bound).count()
            };
            let mut order: Vec<usize> = (0..count).collect();
            order.sort_by_key(|at| class(*at));
            let expected: Vec<u8> = order
                .iter()
                .flat_map(|at| steps[at * width..(at + 1) * width].to_vec())
                .collect();
            let mut sorted = vec![1; raw.len()];
            let lengths = classes.sort(words, &raw, &base, &mut sorted);
            prop_assert_eq!(&sorted, &expected);
            for (number, length) in lengths.iter().enumerate() {
                prop_assert_eq!(*length, (0..count).filter(|at| class(*at) == number).count());
            }
            let mut back = base.clone();
            classes.unsort(words, &sorted, &lengths, &mut back);
            prop_assert_eq!(back, raw);
        }
    }

    #[test]
    fn classes_are_about_as_long_as_each_other_and_cut_no_exponent() {
        // A sixteenth below 120, a half of 120, a quarter of 121, the rest of 122.
        let exponent = |at: u32| match at % 16 {
            0 => 90 + at / 16 % 20,
            1..=8 => 120,
            9..=12 => 121,
            _ => 122,
        };
        let base: Vec<u8> = (0..4096)
            .flat_map(|at| (exponent(at) << 23 | at).to_le_bytes())
            .collect();
        assert_eq!(Classes::of(Words::F32, &base, 4).bounds(), [120, 121, 122]);
        assert_eq!(Classes::of(Words::F32, &base, 2).bounds(), [121]);
        assert_eq!(Classes::of(Words::F32, &base, 1), Classes::ONE);
        assert_eq!(Classes::of(Words::F32, &base[..4], 8), Classes::ONE);
        assert_eq!(Classes::of(Words::F32, &[], 8), Classes::ONE);
    }

    #[test]
    fn bounds_rise_and_are_not_too_many() {
        assert_eq!(Classes::with(&[]), Some(Classes::ONE));
        assert!(Classes::with(&[0, 1, 2, 3, 4, 5, 255]).is_some());
        assert_eq!(Classes::with(&[0, 1, 2, 3, 4, 5, 6, 7]), None);
        assert_eq!(Classes::with(&[3, 3]), None);
        assert_eq!(Classes::with(&[4, 3]), None);
    }
}
