//! Classes of words, by the exponents that their steps start from.
//!
//! An optimizer moves all weights of a tensor by about as much, whatever their size: counted in
//! units of the last place, a weight of a half moves a quarter as far as one of an eighth. So the
//! base's exponent, which a decoder knows too, tells how long a step will be. The steps are sorted
//! into classes of exponents, in each of which they keep their order, and each class has planes of
//! its own: what is coded is the entropy given the class, without a bit for the class itself.

use super::entropy::Counts;
use super::words::{Words, exponents};

/// The most classes that there are.
pub(super) const MOST_CLASSES: usize = 8;

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
        let mut counts = Counts::NONE;
        exponents(words, base, |exponents| counts.add(exponents));
        let counts = counts.all();
        let all: u32 = counts.iter().sum();
        let mut made = Self::ONE;
        let mut below = 0;
        for (exponent, count) in (0..=u8::MAX).zip(counts) {
            // Half of an exponent's words are to be on the right side of a bound.
            let middle = u64::from(2 * below + count) * most as u64;
            let class = middle / (2 * u64::from(all.max(1)));
            if count > 0 && below > 0 && class >= made.classes as u64 && made.classes < most {
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
        let [classes, ..] = self.classes.to_le_bytes();
        classes - 1
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
}

#[cfg(test)]
mod tests {
    use super::*;

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
