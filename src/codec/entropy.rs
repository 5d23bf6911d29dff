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

/// Counts symbols: in turn in four tables, since a count in memory is waited for where the next
/// symbol is the same.
pub(super) struct Counts {
    tables: [[u32; 256]; 4],
}

impl Counts {
    /// None yet.
    pub(super) const NONE: Self = Self {
        tables: [[0; 256]; 4],
    };

    /// Of these.
    pub(super) fn of(bytes: &[u8]) -> [u32; 256] {
        let mut counts = Self::NONE;
        counts.add(bytes);
        counts.all()
    }

    /// Counts these too.
    pub(super) fn add(&mut self, bytes: &[u8]) {
        let (fours, rest) = bytes.as_chunks::<4>();
        for four in fours {
            for (table, byte) in self.tables.iter_mut().zip(four) {
                table[usize::from(*byte)] += 1;
            }
        }
        for byte in rest {
            self.tables[0][usize::from(*byte)] += 1;
        }
    }

    /// How often each symbol was there.
    pub(super) fn all(&self) -> [u32; 256] {
        let [a, b, c, d] = &self.tables;
        std::array::from_fn(|symbol| a[symbol] + b[symbol] + c[symbol] + d[symbol])
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
