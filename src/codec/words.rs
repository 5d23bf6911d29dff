//! Numbers as words: what a chunk's bytes are, and how words become planes of bytes and again
//! words.
//!
//! Neighbouring checkpoints differ by a little in every word. Of such a difference the high bytes
//! are nearly all alike and the low ones noise; a plane holds the bytes of one significance, so
//! that each is coded for what it is.

use super::plane::Plane;
use multiversion::multiversion;

/// What the words of a numeric chunk are. The codes are part of the format.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Words {
    /// Integers of one byte, and whatever is opaque.
    U8 = 0,
    /// Integers of two bytes.
    U16 = 1,
    /// Integers of four bytes.
    U32 = 2,
    /// Integers of eight bytes.
    U64 = 3,
    /// A sign and a magnitude in one byte: the floats of eight bits.
    F8 = 4,
    /// In two bytes: `F16` and `BF16`.
    F16 = 5,
    /// In four.
    F32 = 6,
    /// In eight.
    F64 = 7,
}

impl Words {
    /// All of them, by their codes.
    pub(crate) const ALL: [Self; 8] = [
        Self::U8,
        Self::U16,
        Self::U32,
        Self::U64,
        Self::F8,
        Self::F16,
        Self::F32,
        Self::F64,
    ];

    /// The words with this code.
    pub(super) fn from_code(code: u8) -> Option<Self> {
        Self::ALL.get(usize::from(code)).copied()
    }

    /// Their code.
    pub(super) const fn code(self) -> u8 {
        self as u8
    }

    /// Bytes of a word, which is the number of its planes.
    pub(super) const fn width(self) -> usize {
        1 << (self as usize % 4)
    }

    /// Whether they are of more than a byte, and have an exponent each.
    pub(super) const fn has_exponents(self) -> bool {
        self.is_float() && self.width() > 1
    }

    /// Whether the highest bit is a sign and the rest a magnitude.
    const fn is_float(self) -> bool {
        self as usize >= 4
    }
}

/// Words that are taken through a kernel at once: they stay in the first level's cache.
const BLOCK: usize = 256;
/// A block of a plane whose bytes are known to be alike.
static ZEROS: [u8; BLOCK] = [0; BLOCK];

/// Puts the bytes of words into planes, the least significant first: `count` bytes to a plane, in
/// each of them from `start` on.
#[inline(always)]
fn scatter_1(words: &[u8], planes: &mut [u8], _count: usize, start: usize) {
    planes[start..start + words.len()].copy_from_slice(words);
}

/// Half of a word at a time: processors have instructions for that, and not for more.
macro_rules! scatter {
    ($word:ty, $half:ty, $scatter:ident, $halves:ident) => {
        #[inline(always)]
        pub(super) fn $scatter(words: &[$word], planes: &mut [u8], count: usize, start: usize) {
            let mut halves = [0; BLOCK];
            let (low, high) = planes.split_at_mut(planes.len() / 2);
            for (block, words) in words.chunks(BLOCK).enumerate() {
                let start = start + block * BLOCK;
                let halves = &mut halves[..words.len()];
                for (half, word) in halves.iter_mut().zip(words) {
                    *half = *word as $half;
                }
                $halves(halves, low, count, start);
                for (half, word) in halves.iter_mut().zip(words) {
                    *half = (*word >> <$half>::BITS) as $half;
                }
                $halves(halves, high, count, start);
            }
        }
    };
}

scatter!(u16, u8, scatter_2, scatter_1);
scatter!(u32, u16, scatter_4, scatter_2);
scatter!(u64, u32, scatter_8, scatter_4);

/// The exponents of words: of the longest, those that shorter ones have too.
macro_rules! exponents {
    ($word:ty, $width:literal, $exponents:ident, $exponent:expr) => {
        #[inline(always)]
        pub(super) fn $exponents(words: &[u8], exponents: &mut [u8]) {
            let (words, _) = words.as_chunks::<$width>();
            for (word, exponent) in words.iter().zip(exponents) {
                *exponent = $exponent(<$word>::from_le_bytes(*word));
            }
        }
    };
}

exponents!(u16, 2, exponents_2, |word: u16| (word >> 7) as u8);
exponents!(u32, 4, exponents_4, |word: u32| (word >> 23) as u8);
exponents!(u64, 8, exponents_8, |word: u64| {
    ((word >> 52) as u16 & 0x7ff).saturating_sub(896).min(255) as u8
});

/// Tells the exponents of words, some at a time.
pub(super) fn exponents(words: Words, bytes: &[u8], mut tell: impl FnMut(&[u8])) {
    let kernel = match words.width() {
        2 => exponents_2,
        4 => exponents_4,
        _ => exponents_8,
    };
    let mut exponents = [0; BLOCK];
    for block in bytes.chunks(BLOCK * words.width()) {
        let exponents = &mut exponents[..block.len() / words.width()];
        kernel(block, exponents);
        tell(exponents);
    }
}

macro_rules! kernels {
    ($word:ty, $width:literal, [$($plane:ident),*], $scatter:ident, $gather:ident, $split:ident,
        $merge:ident, $steps:ident) => {
        /// Steps between words.
        pub(super) mod $steps {
            const BITS: u32 = <$word>::BITS;

            /// Floats in the order of their values are neighbours as integers.
            #[inline(always)]
            fn ordered(word: $word, float: bool) -> $word {
                let magnitude = if float { <$word>::MAX >> 1 } else { 0 };
                word ^ ((word.cast_signed() >> (BITS - 1)).cast_unsigned() & magnitude)
            }

            /// The distance of a word from the base's, its sign put last.
            #[inline(always)]
            pub(in super::super) fn step(new: $word, old: $word, float: bool) -> $word {
                let step = ordered(new, float)
                    .wrapping_sub(ordered(old, float))
                    .cast_signed();
                (step << 1).cast_unsigned() ^ (step >> (BITS - 1)).cast_unsigned()
            }

            /// The word that is this step from the base's.
            #[inline(always)]
            pub(in super::super) fn stepped(old: $word, step: $word, float: bool) -> $word {
                let step = (step >> 1) ^ (step & 1).wrapping_neg();
                ordered(ordered(old, float).wrapping_add(step), float)
            }
        }

        /// Makes words, [`BLOCK`] at most, of the bytes that their planes have from `start` on.
        #[inline(always)]
        pub(super) fn $gather(planes: &[Plane<'_>], start: usize, words: &mut [$word]) {
            let mut bytes = [&ZEROS[..words.len()]; $width];
            let mut alike = 0;
            for (number, (plane, bytes)) in planes.iter().zip(&mut bytes).enumerate() {
                match plane {
                    Plane::Bytes(plane) => *bytes = &plane[start..start + words.len()],
                    Plane::All(byte) => alike |= <$word>::from(*byte) << (number * 8),
                }
            }
            let [$($plane),*] = bytes;
            let of_planes = std::iter::repeat(());
            $(let of_planes = of_planes.zip($plane);)*
            for (word, kernels!(@pattern () $($plane)*)) in words.iter_mut().zip(of_planes) {
                *word = <$word>::from_le_bytes([$(*$plane),*]) | alike;
            }
        }

        /// Splits words into planes, the least significant bytes first. Short ends are not looked
        /// at: `raw` (and `base`) are as long as the planes together.
        #[multiversion(targets("x86_64+avx2+bmi1+bmi2"))]
        fn $split(raw: &[u8], base: Option<&[u8]>, float: bool, planes: &mut [u8]) {
            let count = raw.len() / $width;
            let mut words = [0; BLOCK];
            for start in (0..count).step_by(BLOCK) {
                let many = BLOCK.min(count - start);
                let range = start * $width..(start + many) * $width;
                let words = &mut words[..many];
                let (from, _) = raw[range.clone()].as_chunks::<$width>();
                match base {
                    None if float => {
                        for (word, bytes) in words.iter_mut().zip(from) {
                            *word = <$word>::from_le_bytes(*bytes).rotate_left(1);
                        }
                    }
                    None => {
                        for (word, bytes) in words.iter_mut().zip(from) {
                            *word = <$word>::from_le_bytes(*bytes);
                        }
                    }
                    Some(base) => {
                        let (base, _) = base[range].as_chunks::<$width>();
                        for ((word, bytes), base) in words.iter_mut().zip(from).zip(base) {
                            let (new, old) = (
                                <$word>::from_le_bytes(*bytes),
                                <$word>::from_le_bytes(*base),
                            );
                            *word = $steps::step(new, old, float);
                        }
                    }
                }
                $scatter(words, planes, count, start);
            }
        }

        /// Makes words of planes again; as steps, they are added to what `raw` holds.
        #[multiversion(targets("x86_64+avx2+bmi1+bmi2"))]
        fn $merge<'a>(planes: &[Plane<'a>], steps: bool, float: bool, raw: &mut [u8]) {
            let mut words = [0; BLOCK];
            for (block, raw) in raw.chunks_mut(BLOCK * $width).enumerate() {
                let (to, _) = raw.as_chunks_mut::<$width>();
                let words = &mut words[..to.len()];
                $gather(planes, block * BLOCK, words);
                match steps {
                    false if float => {
                        for (word, bytes) in words.iter().zip(to) {
                            *bytes = word.rotate_right(1).to_le_bytes();
                        }
                    }
                    false => {
                        for (word, bytes) in words.iter().zip(to) {
                            *bytes = word.to_le_bytes();
                        }
                    }
                    true => {
                        for (word, bytes) in words.iter().zip(to) {
                            let old = <$word>::from_le_bytes(*bytes);
                            *bytes = $steps::stepped(old, *word, float).to_le_bytes();
                        }
                    }
                }
            }
        }
    };
    (@pattern $pattern:tt) => { $pattern };
    (@pattern $pattern:tt $plane:ident $($more:ident)*) => {
        kernels!(@pattern ($pattern, $plane) $($more)*)
    };
}

kernels!(u8, 1, [a], scatter_1, gather_1, split_1, merge_1, steps_1);
kernels!(
    u16,
    2,
    [a, b],
    scatter_2,
    gather_2,
    split_2,
    merge_2,
    steps_2
);
kernels!(
    u32,
    4,
    [a, b, c, d],
    scatter_4,
    gather_4,
    split_4,
    merge_4,
    steps_4
);
kernels!(
    u64,
    8,
    [a, b, c, d, e, f, g, h],
    scatter_8,
    gather_8,
    split_8,
    merge_8,
    steps_8
);

/// Splits the words of `raw` into planes. With a base of the same length, each word is first taken
/// as its distance from the base's, floats counted in the order of their values, and the sign of
/// the distance put last (zigzag); without one, floats are turned left by a bit, so that the
/// exponent fills its plane. All lengths are a multiple of the width.
pub(super) fn split(words: Words, raw: &[u8], base: Option<&[u8]>, planes: &mut [u8]) {
    debug_assert!(raw.len() == planes.len() && raw.len().is_multiple_of(words.width()));
    if raw.is_empty() {
        return;
    }
    let kernel = match words.width() {
        1 => split_1,
        2 => split_2,
        4 => split_4,
        _ => split_8,
    };
    kernel(raw, base, words.is_float(), planes);
}

/// What [`split`] undoes. Where the words are steps, `raw` holds the base's.
pub(super) fn merge(words: Words, planes: &[Plane<'_>], steps: bool, raw: &mut [u8]) {
    debug_assert!(planes.len() == words.width() && raw.len().is_multiple_of(words.width()));
    if raw.is_empty() {
        return;
    }
    let kernel = match words.width() {
        1 => merge_1,
        2 => merge_2,
        4 => merge_4,
        _ => merge_8,
    };
    kernel(planes, steps, words.is_float(), raw);
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn there_and_back(words: Words, raw: &[u8], base: Option<&[u8]>) -> Vec<u8> {
        let mut planes = vec![0; raw.len()];
        split(words, raw, base, &mut planes);
        let mut back = base.map_or_else(|| vec![1; raw.len()], <[u8]>::to_vec);
        let planes = planes.chunks_exact((raw.len() / words.width()).max(1));
        let mut planes: Vec<Plane<'_>> = planes.map(Plane::Bytes).collect();
        planes.resize(words.width(), Plane::All(0));
        merge(words, &planes, base.is_some(), &mut back);
        back
    }

    proptest! {
        #[test]
        fn every_bit_pattern_comes_back(
            code in 0..8_u8,
            count in 0..700_usize,
            seed in any::<u64>(),
        ) {
            let words = Words::from_code(code).unwrap();
            let mut noise = vec![0; 2 * count * words.width()];
            blake3::Hasher::new().update(&seed.to_le_bytes()).finalize_xof().fill(&mut noise);
            let (raw, base) = noise.split_at(count * words.width());
            prop_assert_eq!(there_and_back(words, raw, None), raw);
            prop_assert_eq!(there_and_back(words, raw, Some(base)), raw);
        }
    }

    #[test]
    fn every_pair_of_short_words_comes_back() {
        for words in [Words::U8, Words::F8] {
            let raw: Vec<u8> = (0..=255).flat_map(|new| [new; 256]).collect();
            let base: Vec<u8> = (0..=255).cycle().take(raw.len()).collect();
            assert_eq!(there_and_back(words, &raw, Some(&base)), raw);
        }
    }

    #[test]
    fn neighbouring_values_are_a_small_step_apart_across_zero_and_powers_of_two() {
        let old = [1.0_f32, -0.0, f32::from_bits(1), -2.0, f32::MAX];
        let new = [
            1.0_f32.next_down(),
            0.0,
            0.0,
            (-2.0_f32).next_up(),
            f32::INFINITY,
        ];
        let bytes = |values: [f32; 5]| values.map(f32::to_le_bytes).concat();
        let (old, new) = (bytes(old), bytes(new));
        let mut planes = vec![0; 20];
        split(Words::F32, &new, Some(&old), &mut planes);
        // -2.0's neighbour towards zero is one step up, and so on; the zeros are one step apart.
        assert_eq!(planes[..5], [1, 2, 1, 2, 2]);
        assert_eq!(planes[15..], [0; 5]);
    }
}
