//! Numbers as words: what a chunk's bytes are, and how words become planes of bytes and again
//! words.
//!
//! Neighbouring checkpoints differ by a little in every word. Of such a difference the high bytes
//! are nearly all alike and the low ones noise; a plane holds the bytes of one significance, so
//! that each is coded for what it is.

use super::plane::Plane;

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

    /// Integers as wide.
    pub(super) const fn plain(self) -> Self {
        Self::ALL[self as usize % 4]
    }

    /// Whether the highest bit is a sign and the rest a magnitude.
    const fn is_float(self) -> bool {
        self as usize >= 4
    }
}

/// Words that are taken through a kernel at once: they stay in the first level's cache.
const BLOCK: usize = 256;

macro_rules! kernels {
    ($word:ty, $width:literal, $split:ident, $merge:ident, $steps:ident) => {
        /// Steps between words.
        pub(super) mod $steps {
            const BITS: u32 = <$word>::BITS;

            /// Floats in the order of their values are neighbours as integers.
            #[inline]
            fn ordered(word: $word, float: bool) -> $word {
                let magnitude = if float { <$word>::MAX >> 1 } else { 0 };
                word ^ ((word.cast_signed() >> (BITS - 1)).cast_unsigned() & magnitude)
            }

            /// The distance of a word from the base's, its sign put last.
            #[inline]
            pub(in super::super) fn step(new: $word, old: $word, float: bool) -> $word {
                let step = ordered(new, float)
                    .wrapping_sub(ordered(old, float))
                    .cast_signed();
                (step << 1).cast_unsigned() ^ (step >> (BITS - 1)).cast_unsigned()
            }

            /// The word that is this step from the base's.
            #[inline]
            pub(in super::super) fn stepped(old: $word, step: $word, float: bool) -> $word {
                let step = (step >> 1) ^ (step & 1).wrapping_neg();
                ordered(ordered(old, float).wrapping_add(step), float)
            }
        }

        /// Splits words into planes, the least significant bytes first. Short ends are not looked
        /// at: `raw` (and `base`) are as long as the planes together.
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
                for (plane, bytes) in planes.chunks_exact_mut(count).enumerate() {
                    let shift = plane * 8;
                    for (byte, word) in bytes[start..start + many].iter_mut().zip(&*words) {
                        *byte = (*word >> shift) as u8;
                    }
                }
            }
        }

        /// Makes words of planes again; as steps, they are added to what `raw` holds.
        fn $merge(planes: &[Plane<'_>], steps: bool, float: bool, raw: &mut [u8]) {
            let count = raw.len() / $width;
            let mut words = [0; BLOCK];
            let mut alike = 0;
            for (plane, bytes) in planes.iter().enumerate() {
                if let Plane::All(byte) = bytes {
                    alike |= <$word>::from(*byte) << (plane * 8);
                }
            }
            for start in (0..count).step_by(BLOCK) {
                let many = BLOCK.min(count - start);
                let range = start * $width..(start + many) * $width;
                let words = &mut words[..many];
                words.fill(alike);
                for (plane, bytes) in planes.iter().enumerate() {
                    let Plane::Bytes(bytes) = bytes else {
                        continue;
                    };
                    let shift = plane * 8;
                    for (byte, word) in bytes[start..start + many].iter().zip(&mut *words) {
                        *word |= <$word>::from(*byte) << shift;
                    }
                }
                let (to, _) = raw[range].as_chunks_mut::<$width>();
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
}

kernels!(u8, 1, split_1, merge_1, steps_1);
kernels!(u16, 2, split_2, merge_2, steps_2);
kernels!(u32, 4, split_4, merge_4, steps_4);
kernels!(u64, 8, split_8, merge_8, steps_8);

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
