//! Entropy of samples, in whole numbers: what is chosen by it is the same on every machine.

use std::sync::LazyLock;

/// One bit.
pub(super) const BIT: u64 = 1 << 16;
/// The most symbols that may be counted.
pub(super) const MOST: usize = 4096;

/// Logarithms to base 2 of whole numbers, in 65,536ths.
static LOGARITHMS: LazyLock<Vec<u64>> =
    LazyLock::new(|| (0..=MOST as u64).map(logarithm).collect());

/// The logarithm by repeated squaring: each time, the next binary digit is whether it is 2 or more.
fn logarithm(number: u64) -> u64 {
    let Some(whole) = number.checked_ilog2() else {
        return 0;
    };
    let mut result = u64::from(whole) * BIT;
    // From 1 up to 2, as 2^31 up to 2^32.
    let mut rest = (number << 31) >> whole;
    let mut digit = BIT / 2;
    while digit > 0 {
        rest = (rest * rest) >> 31;
        if rest >> 32 != 0 {
            result += digit;
            rest >>= 1;
        }
        digit /= 2;
    }
    result
}

/// What at most [`MOST`] symbols take, coded by how often each occurs (Shannon 1948): in
/// 65,536ths of a bit, all together.
pub(super) fn entropy(counts: &[u32; 256]) -> u64 {
    let log = |count: u32| LOGARITHMS.get(count as usize).copied().unwrap_or_default();
    let all = log(counts.iter().sum());
    let each = counts.iter().filter(|count| **count > 0);
    each.map(|count| u64::from(*count) * all.saturating_sub(log(*count)))
        .sum()
}

/// Bytes with more entropy than this, in tenths of a bit each, stay as they are.
const NOISE: u64 = 78;

/// Whether so many bytes, of so much entropy, are not worth a code.
pub(super) const fn is_noise(bits: u64, bytes: u64) -> bool {
    bits * 10 >= NOISE * BIT * bytes
}

/// Counts symbols.
pub(super) fn count(bytes: &[u8], counts: &mut [u32; 256]) {
    for byte in bytes {
        counts[usize::from(*byte)] += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn logarithms_are_what_they_are_in_floating_point() {
        for number in 1..=MOST as u64 {
            #[expect(clippy::cast_precision_loss, reason = "the numbers are short")]
            let (exact, found) = ((number as f64).log2(), logarithm(number) as f64 / 65_536.0);
            assert!(
                (exact - found).abs() < 2e-5,
                "{number}: {found}, not {exact}"
            );
        }
    }

    #[test]
    fn a_symbol_takes_as_many_bits_as_there_are_choices() {
        let mut counts = [0; 256];
        assert_eq!(entropy(&counts), 0);
        counts[7] = 100;
        assert_eq!(entropy(&counts), 0);
        counts[..16].fill(256);
        assert_eq!(entropy(&counts), 4096 * 4 * BIT);
        counts = [16; 256];
        assert_eq!(entropy(&counts), 4096 * 8 * BIT);
    }
}
