//! Planes of which most bytes are the same one: where others are, and which.
//!
//! A Huffman code spends a bit at least on each byte. A bit that says whether it is the common
//! one, eight of which are a byte to a Huffman code, comes near to the entropy, and is an eighth of
//! the symbols to code.

use multiversion::multiversion;

/// The lowest bit of each of eight bytes.
const ONES: u64 = 0x0101_0101_0101_0101;
/// Bytes that `unmark` may read after the last of the others.
pub(super) const SLACK: usize = 8;

/// Bytes that hold a bit for each of so many.
pub(super) const fn bytes_of(plane: usize) -> usize {
    plane.div_ceil(8)
}

/// A bit for each byte, the first in the lowest, set where it is not the common one; and the bytes
/// that are not.
#[multiversion(targets("x86_64+avx2+bmi1+bmi2"))]
pub(super) fn mark(plane: &[u8], common: u8, marks: &mut Vec<u8>, others: &mut Vec<u8>) {
    marks.clear();
    others.clear();
    others.resize(plane.len() + 1, 0);
    let mut at = 0_usize;
    let mut put = |byte: u8| {
        if let Some(other) = others.get_mut(at) {
            *other = byte;
        }
        at = at.wrapping_add(usize::from(byte != common));
    };
    let (eights, rest) = plane.as_chunks::<8>();
    for bytes in eights {
        marks.push(differing(*bytes, common));
        for byte in bytes {
            put(*byte);
        }
    }
    if !rest.is_empty() {
        let mut last = [common; 8];
        last[..rest.len()].copy_from_slice(rest);
        marks.push(differing(last, common));
        for byte in rest {
            put(*byte);
        }
    }
    others.truncate(at);
}

/// A bit for each of eight bytes that is not the common one.
fn differing(bytes: [u8; 8], common: u8) -> u8 {
    const LOW: u64 = 0x7f * ONES;
    let differs = u64::from_le_bytes(bytes) ^ u64::from(common).wrapping_mul(ONES);
    // The highest bit of each byte that is not zero; then these eight side by side.
    let high = ((differs & LOW).wrapping_add(LOW) | differs) >> 7 & ONES;
    let [.., side_by_side] = high.wrapping_mul(0x0102_0408_1020_4080).to_le_bytes();
    side_by_side
}

/// What [`mark`] undoes: marks for all of the plane, and as many others as they say and [`SLACK`]
/// more bytes.
#[multiversion(targets("x86_64+avx2+bmi1+bmi2"))]
pub(super) fn unmark(marks: &[u8], others: &[u8], common: u8, plane: &mut [u8]) -> Option<()> {
    let mut next = 0_usize;
    for (bytes, marks) in plane.chunks_mut(8).zip(marks) {
        let others: &[u8; 8] = others.get(next..)?.first_chunk()?;
        let mut at = 0_usize;
        let mut eight = [0; 8];
        for (bit, byte) in eight.iter_mut().enumerate() {
            let is_other = marks >> bit & 1 == 1;
            let other = others[at % 8];
            *byte = if is_other { other } else { common };
            at = at.wrapping_add(usize::from(is_other));
        }
        next = next.wrapping_add(at);
        match bytes.as_mut_array() {
            Some(bytes) => *bytes = eight,
            None => bytes.copy_from_slice(&eight[..bytes.len()]),
        }
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn bytes_come_back_wherever_the_others_are(
            plane in proptest::collection::vec(0..4_u8, 0..300),
            common in 0..5_u8,
        ) {
            let (mut marks, mut others) = (vec![9], vec![9]);
            mark(&plane, common, &mut marks, &mut others);
            prop_assert_eq!(marks.len(), bytes_of(plane.len()));
            let expected: Vec<u8> = plane.iter().copied().filter(|byte| *byte != common).collect();
            prop_assert_eq!(&others, &expected);
            let set: u32 = marks.iter().map(|marks| marks.count_ones()).sum();
            prop_assert_eq!(set as usize, others.len());
            others.extend([0xff; SLACK]);
            let mut back = vec![7; plane.len()];
            prop_assert_eq!(unmark(&marks, &others, common, &mut back), Some(()));
            prop_assert_eq!(back, plane);
        }
    }

    #[test]
    fn any_byte_may_be_the_common_one_and_any_differ() {
        for common in 0..=255_u8 {
            for other in 0..=255_u8 {
                let mut bytes = [common; 8];
                bytes[usize::from(other % 8)] = other;
                let expected = u8::from(other != common) << (other % 8);
                assert_eq!(differing(bytes, common), expected, "{other} in {common}");
            }
        }
    }
}
