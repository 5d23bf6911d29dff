//! Weights that are a rounded copy of others: mixed precision keeps a `F32` master of each `BF16`
//! or `F16` weight, and the copy is the master rounded to the nearest, ties to even. Such a chunk
//! takes no bytes beside the masters'.

/// What is rounded to. The codes are part of the format.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Narrow {
    /// `BF16`: the upper half of a `F32`.
    Bf16 = 0,
    /// `F16`, IEEE 754's binary16.
    F16 = 1,
}

impl Narrow {
    fn from_code(code: u8) -> Option<Self> {
        match code {
            0 => Some(Self::Bf16),
            1 => Some(Self::F16),
            _ => None,
        }
    }

    /// The code of it.
    pub(super) const fn code(self) -> u8 {
        self as u8
    }

    /// Whether these bytes are the masters', end to end and rounded.
    pub(crate) fn is_rounded(self, raw: &[u8], masters: &[&[u8]]) -> bool {
        let (copies, rest) = raw.as_chunks::<2>();
        let bytes: usize = masters.iter().map(|master| master.len()).sum();
        let copies = copies.iter().map(|copy| u16::from_le_bytes(*copy));
        rest.is_empty()
            && masters.iter().all(|master| master.len() % 4 == 0)
            && bytes == 2 * raw.len()
            && copies.eq(words(self, masters))
    }

    fn round(self, bits: u32) -> u16 {
        match self {
            Self::Bf16 => bf16(bits),
            Self::F16 => f16(bits),
        }
    }
}

/// The `BF16` nearest to a `F32`; of NaN the quiet one with its sign.
fn bf16(bits: u32) -> u16 {
    if bits & 0x7fff_ffff > 0x7f80_0000 {
        return (bits >> 16) as u16 & 0x8000 | 0x7fc0;
    }
    let odd = bits >> 16 & 1;
    ((bits + 0x7fff + odd) >> 16) as u16
}

/// The `F16` nearest to a `F32`; of NaN the quiet one with its sign.
#[expect(clippy::cast_possible_truncation, reason = "16 bits are left")]
fn f16(bits: u32) -> u16 {
    let sign = (bits >> 16) as u16 & 0x8000;
    let magnitude = bits & 0x7fff_ffff;
    let rounded = |value: u32, dropped: u32| {
        let half = 1 << (dropped - 1);
        let odd = value >> dropped & 1;
        (value + half - 1 + odd) >> dropped
    };
    let short = if magnitude > 0x7f80_0000 {
        0x7e00
    } else if magnitude >= 0x4780_0000 {
        // 65,536 and more; what is a little less rounds up to infinity by itself.
        0x7c00
    } else if magnitude >= 0x3880_0000 {
        rounded(magnitude - (112 << 23), 13)
    } else if magnitude >= 0x3300_0000 {
        // A denormal: its last place is 2^-24.
        let exponent = magnitude >> 23;
        rounded(magnitude & 0x007f_ffff | 0x0080_0000, 126 - exponent)
    } else {
        0
    };
    sign | short as u16
}

/// The rounded words of `masters`, end to end.
fn words<'a>(narrow: Narrow, masters: &'a [&'a [u8]]) -> impl Iterator<Item = u16> + 'a {
    let words = masters.iter().flat_map(|master| master.as_chunks::<4>().0);
    words.map(move |bytes| narrow.round(u32::from_le_bytes(*bytes)))
}

/// The words again.
pub(super) fn decode(stored: &[u8], masters: &[&[u8]], raw: &mut [u8]) -> Option<()> {
    let [code] = stored else { return None };
    let narrow = Narrow::from_code(*code)?;
    let bytes: usize = masters.iter().map(|master| master.len()).sum();
    if bytes != 2 * raw.len() || masters.iter().any(|master| master.len() % 4 != 0) {
        return None;
    }
    for (copy, word) in raw
        .as_chunks_mut::<2>()
        .0
        .iter_mut()
        .zip(words(narrow, masters))
    {
        *copy = word.to_le_bytes();
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value_of_bf16(bits: u16) -> f64 {
        f64::from(f32::from_bits(u32::from(bits) << 16))
    }

    fn value_of_f16(bits: u16) -> f64 {
        let (exponent, fraction) = (i32::from(bits >> 10 & 31), f64::from(bits & 1023));
        let magnitude = match exponent {
            0 => fraction * (-24_f64).exp2(),
            31 if fraction > 0.0 => f64::NAN,
            31 => f64::INFINITY,
            _ => (1024.0 + fraction) * f64::from(exponent - 25).exp2(),
        };
        if bits >> 15 == 1 {
            -magnitude
        } else {
            magnitude
        }
    }

    /// No neighbour is nearer; of two as near it is the even one.
    fn assert_nearest(value: f64, found: u16, value_of: fn(u16) -> f64, infinity: u16) {
        let least_beyond = 2.0 * value_of(infinity - 1) - value_of(infinity - 2);
        let finite = |bits: u16| {
            let value = value_of(bits);
            if value.is_infinite() {
                least_beyond.copysign(value)
            } else {
                value
            }
        };
        let distance = (finite(found) - value).abs();
        for near in [found.wrapping_sub(1), found.wrapping_add(1)] {
            if near & 0x7fff > infinity || (near ^ found) & 0x8000 != 0 {
                continue;
            }
            let other = (finite(near) - value).abs();
            let tie = distance.total_cmp(&other).is_eq() && found.is_multiple_of(2);
            assert!(
                distance < other || tie,
                "{value} -> {found:#x}, nearer {near:#x}"
            );
        }
    }

    #[test]
    fn every_value_is_rounded_to_the_nearest_and_ties_to_even() {
        // All exponents; fractions at, just under and just over every tie, and some between.
        let fractions = (0..1 << 23)
            .step_by(0xfff)
            .chain((0..1 << 23).step_by(0x800));
        let fractions = fractions.chain((0..1 << 23).step_by(0x1000).map(|tie| tie | 1));
        for fraction in fractions {
            for upper in (0..512_u32).step_by(3) {
                let bits = upper << 23 | fraction;
                let value = f64::from(f32::from_bits(bits));
                if value.is_nan() {
                    assert_eq!(bf16(bits) & 0x7fff, 0x7fc0);
                    assert_eq!(f16(bits) & 0x7fff, 0x7e00);
                    continue;
                }
                if value.is_infinite() {
                    continue;
                }
                assert_nearest(value, bf16(bits), value_of_bf16, 0x7f80);
                if value.abs() < 65_536.0 {
                    assert_nearest(value, f16(bits), value_of_f16, 0x7c00);
                } else {
                    assert_eq!(f16(bits) & 0x7fff, 0x7c00);
                }
            }
        }
    }

    #[test]
    fn one_word_that_is_not_rounded_so_is_noticed() {
        let masters: Vec<u8> = (0..100)
            .flat_map(|i: u16| (f32::from(i) * 0.37).to_le_bytes())
            .collect();
        let (head, tail) = masters.split_at(120);
        let mut copies = vec![0; 200];
        decode(&[Narrow::Bf16.code()], &[head, tail], &mut copies).unwrap();
        assert!(Narrow::Bf16.is_rounded(&copies, &[head, tail]));
        assert!(!Narrow::F16.is_rounded(&copies, &[head, tail]));
        copies[77] ^= 1;
        assert!(!Narrow::Bf16.is_rounded(&copies, &[head, tail]));
        assert!(decode(&[0], &[head], &mut copies).is_none());
        assert!(decode(&[2], &[head, tail], &mut copies).is_none());
    }
}
