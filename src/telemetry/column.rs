//! Columns of numbers to bytes and back.

use crate::codec::{self, Codec};
use crate::error::Result;
use crate::format::Packed;

/// Packs numbers: their first bytes, then their second ones, and so on, since those of neighbours
/// are alike; then the codec's choice.
pub(super) fn pack(numbers: &[u64]) -> Packed {
    let mut planes = Vec::with_capacity(numbers.len() * 8);
    for shift in (0..64).step_by(8).rev() {
        planes.extend(
            numbers
                .iter()
                .map(|number| (number >> shift).to_be_bytes()[7]),
        );
    }
    match codec::encode_alone(&planes) {
        Some((codec, bytes)) => Packed {
            codec: codec.code(),
            bytes,
        },
        None => Packed {
            codec: Codec::Raw.code(),
            bytes: planes,
        },
    }
}

/// So many packed numbers.
pub(super) fn unpack(packed: &Packed, count: usize) -> Result<Vec<u64>> {
    let planes = codec::decode(packed.codec, &packed.bytes, &[], count * 8)?;
    let mut numbers = vec![0; count];
    for plane in planes.chunks(count.max(1)) {
        for (number, byte) in numbers.iter_mut().zip(plane) {
            *number = (*number << 8) | u64::from(*byte);
        }
    }
    Ok(numbers)
}

/// Packs numbers that never fall, by their differences.
pub(super) fn pack_rising(numbers: &[u64]) -> Packed {
    let mut before = 0;
    let differences: Vec<u64> = numbers
        .iter()
        .map(|number| number.wrapping_sub(std::mem::replace(&mut before, *number)))
        .collect();
    pack(&differences)
}

/// [`pack_rising`] undone.
pub(super) fn unpack_rising(packed: &Packed, count: usize) -> Result<Vec<u64>> {
    let mut numbers = unpack(packed, count)?;
    let mut before: u64 = 0;
    for number in &mut numbers {
        before = before.wrapping_add(*number);
        *number = before;
    }
    Ok(numbers)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn numbers_come_back_as_they_were(
            numbers in proptest::collection::vec(any::<u64>(), 0..300),
        ) {
            let packed = pack(&numbers);
            prop_assert_eq!(&unpack(&packed, numbers.len()).unwrap(), &numbers);
            let mut rising = numbers;
            rising.sort_unstable();
            let packed = pack_rising(&rising);
            prop_assert_eq!(unpack_rising(&packed, rising.len()).unwrap(), rising);
        }
    }

    #[test]
    fn a_regular_series_takes_next_to_nothing() {
        let iterations: Vec<u64> = (0..8192).map(|i| i * 10).collect();
        assert!(pack_rising(&iterations).bytes.len() < 100);
    }

    #[test]
    fn another_count_is_refused() {
        let packed = pack(&[1, 2, 3]);
        assert!(unpack(&packed, 2).is_err());
        assert!(unpack(&packed, 4).is_err());
    }
}
