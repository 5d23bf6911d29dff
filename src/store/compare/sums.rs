//! How numbers differ, added up.

use crate::tensor::Values;

/// Numbers that are compared at a time.
const BLOCK: usize = 1024;
/// Of these, so many side by side.
const LANES: usize = 8;

/// How the values of two tensors differ, over the chunks that are not the same in both. All that is
/// summed up is so over pairs of finite numbers; of complex numbers each half is one.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct ValueDiff {
    /// Numbers that were compared: those of chunks that differ.
    pub compared: u64,
    /// How many of them are not what they were; of zeros the sign counts.
    pub changed: u64,
    /// The largest absolute difference.
    pub max_abs: f64,
    /// How many of them are not a number, before and after.
    pub nan: [u64; 2],
    /// How many of them are infinite, before and after.
    pub infinite: [u64; 2],
    /// The sum of the squares of the differences.
    pub squared_difference: f64,
    /// The sums of the squares, before and after.
    pub squares: [f64; 2],
    /// The sum of the products.
    pub product: f64,
}

impl ValueDiff {
    /// The L2 norm of the difference, as a part of that of what was before: infinite if that is
    /// zero and the difference is not.
    pub fn relative_l2(&self) -> f64 {
        if self.squared_difference == 0.0 {
            return 0.0;
        }
        (self.squared_difference / self.squares[0]).sqrt()
    }

    /// The cosine of the angle between the two, if neither is zero.
    pub fn cosine(&self) -> Option<f64> {
        let [before, after] = self.squares;
        // The root of the product is exact for equal tensors, where it is in range.
        let exact = (before * after).sqrt();
        let norms = if exact.is_normal() {
            exact
        } else {
            before.sqrt() * after.sqrt()
        };
        (norms > 0.0).then(|| (self.product / norms).clamp(-1.0, 1.0))
    }

    /// Both together.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        let both = |a: [u64; 2], b: [u64; 2]| [a[0] + b[0], a[1] + b[1]];
        Self {
            compared: self.compared + other.compared,
            changed: self.changed + other.changed,
            max_abs: self.max_abs.max(other.max_abs),
            nan: both(self.nan, other.nan),
            infinite: both(self.infinite, other.infinite),
            squared_difference: self.squared_difference + other.squared_difference,
            squares: [
                self.squares[0] + other.squares[0],
                self.squares[1] + other.squares[1],
            ],
            product: self.product + other.product,
        }
    }

    /// Of as many numbers in these bytes as in those.
    pub(super) fn of(before: (&Values, &[u8]), after: (&Values, &[u8])) -> Self {
        let mut sum = Self::default();
        let (mut old, mut new) = (Vec::new(), Vec::new());
        let len = |values: &Values| BLOCK * values.bits() / 8;
        let old_blocks = before.1.chunks(len(before.0));
        for (old_bytes, new_bytes) in old_blocks.zip(after.1.chunks(len(after.0))) {
            before.0.put(old_bytes, &mut old);
            after.0.put(new_bytes, &mut new);
            sum.add(&old, &new);
        }
        sum
    }

    fn add(&mut self, before: &[f64], after: &[f64]) {
        let (old, old_rest) = before.as_chunks::<LANES>();
        let (new, new_rest) = after.as_chunks::<LANES>();
        match Lanes::of(old, new) {
            // Nearly always.
            Some(lanes) => {
                *self = self.and(lanes);
                self.add_each(old_rest, new_rest);
            }
            None => self.add_each(before, after),
        }
    }

    /// One by one, whatever they are.
    fn add_each(&mut self, before: &[f64], after: &[f64]) {
        for (&old, &new) in before.iter().zip(after) {
            self.compared += 1;
            let is_same = old.total_cmp(&new).is_eq() || (old.is_nan() && new.is_nan());
            self.changed += u64::from(!is_same);
            if old.is_finite() && new.is_finite() {
                let difference = new - old;
                self.max_abs = self.max_abs.max(difference.abs());
                self.squared_difference += difference * difference;
                self.squares[0] += old * old;
                self.squares[1] += new * new;
                self.product += old * new;
                continue;
            }
            for (place, value) in [old, new].into_iter().enumerate() {
                self.nan[place] += u64::from(value.is_nan());
                self.infinite[place] += u64::from(value.is_infinite());
            }
        }
    }
}

/// Sums that the processor adds up side by side.
#[derive(Default)]
struct Lanes {
    changed: [u64; LANES],
    max_abs: [f64; LANES],
    difference: [f64; LANES],
    before: [f64; LANES],
    after: [f64; LANES],
    product: [f64; LANES],
}

impl Lanes {
    /// The sums of numbers that are finite, as theirs are; else none.
    fn of(before: &[[f64; LANES]], after: &[[f64; LANES]]) -> Option<ValueDiff> {
        let mut sums = Self::default();
        for (old, new) in before.iter().zip(after) {
            for lane in 0..LANES {
                let (old, new) = (old[lane], new[lane]);
                let difference = new - old;
                sums.changed[lane] += u64::from(old.to_bits() != new.to_bits());
                sums.max_abs[lane] = sums.max_abs[lane].max(difference.abs());
                sums.difference[lane] += difference * difference;
                sums.before[lane] += old * old;
                sums.after[lane] += new * new;
                sums.product[lane] += old * new;
            }
        }
        let of = |lanes: [f64; LANES]| lanes.iter().sum::<f64>();
        let found = ValueDiff {
            compared: (before.len().min(after.len()) * LANES) as u64,
            changed: sums.changed.iter().sum(),
            max_abs: sums.max_abs.iter().copied().fold(0.0, f64::max),
            squared_difference: of(sums.difference),
            squares: [of(sums.before), of(sums.after)],
            product: of(sums.product),
            ..ValueDiff::default()
        };
        let all = found.squared_difference + found.squares[0] + found.squares[1] + found.product;
        all.is_finite().then_some(found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tensor::DType;

    fn of_f32(before: &[f32], after: &[f32]) -> ValueDiff {
        let bytes = |values: &[f32]| -> Vec<u8> {
            values
                .iter()
                .flat_map(|value| value.to_le_bytes())
                .collect()
        };
        let values = Values::of(DType::F32);
        ValueDiff::of((&values, &bytes(before)), (&values, &bytes(after)))
    }

    #[test]
    fn what_is_known_in_closed_form_comes_out() {
        let diff = of_f32(&[3.0, 4.0, 0.0], &[3.0, 0.0, 4.0]);
        assert_eq!((diff.compared, diff.changed, diff.max_abs), (3, 2, 4.0));
        assert!((diff.relative_l2() - 32_f64.sqrt() / 5.0).abs() < 1e-15);
        assert!((diff.cosine().unwrap() - 9.0 / 25.0).abs() < 1e-15);
        let same = of_f32(&[1.0; 3000], &[1.0; 3000]);
        assert_eq!(
            (same.changed, same.relative_l2(), same.cosine()),
            (0, 0.0, Some(1.0))
        );
        let from_zero = of_f32(&[0.0], &[1.0]);
        assert!(from_zero.relative_l2().is_infinite() && from_zero.cosine().is_none());
    }

    #[test]
    fn what_is_not_finite_is_counted_and_spoils_no_sum() {
        let (nan, inf) = (f32::NAN, f32::INFINITY);
        let diff = of_f32(&[nan, 1.0, inf, nan, 2.0], &[nan, inf, -inf, 3.0, 4.0]);
        assert_eq!((diff.nan, diff.infinite, diff.changed), ([2, 1], [1, 2], 4));
        assert_eq!((diff.max_abs, diff.relative_l2()), (2.0, 1.0));
        let halves =
            of_f32(&[nan, 1.0], &[nan, inf]).and(of_f32(&[inf, nan, 2.0], &[-inf, 3.0, 4.0]));
        assert_eq!(halves, diff);
    }

    #[test]
    fn a_number_that_is_none_among_many_is_counted_and_the_others_are_summed() {
        let before: Vec<f32> = (0..3001_u16).map(f32::from).collect();
        let mut after: Vec<f32> = before.iter().map(|value| value + 1.0).collect();
        let diff = of_f32(&before, &after);
        assert_eq!(
            (diff.compared, diff.changed, diff.nan),
            (3001, 3001, [0, 0])
        );
        assert_eq!(diff.squared_difference.to_bits(), 3001_f64.to_bits());
        after[1500] = f32::NAN;
        after[2] = f32::NEG_INFINITY;
        let diff = of_f32(&before, &after);
        assert_eq!((diff.compared, diff.changed), (3001, 3001));
        assert_eq!((diff.nan, diff.infinite), ([0, 1], [0, 1]));
        assert_eq!(diff.squared_difference.to_bits(), 2999_f64.to_bits());
    }

    #[test]
    fn two_types_are_compared_by_their_values() {
        let (wide, narrow) = (Values::of(DType::F32), Values::of(DType::Bf16));
        let values: Vec<f32> = (0..5000_u16).map(f32::from).collect();
        let bytes: Vec<u8> = values.iter().flat_map(|v| v.to_le_bytes()).collect();
        let upper: Vec<u8> = bytes
            .as_chunks::<4>()
            .0
            .iter()
            .flat_map(|w| [w[2], w[3]])
            .collect();
        let diff = ValueDiff::of((&wide, &bytes), (&narrow, &upper));
        assert_eq!(diff.compared, 5000);
        // Up to 256 they are exact; above, the bits beyond the eighth are cut.
        assert_eq!(diff.max_abs.to_bits(), 31_f64.to_bits());
        assert!(diff.changed > 4000 && diff.relative_l2() < 0.01);
    }
}
