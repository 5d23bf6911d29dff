//! Bytes to save.

use ckptdb::{DType, TensorSlice};

/// What a splitmix64 generator adds to its state.
const STEP: u64 = 0x9e37_79b9_7f4a_7c15;

/// Bytes without any pattern, the same for the same seed; those of two seeds have nothing in
/// common.
pub(crate) fn noise(seed: u64, len: usize) -> Vec<u8> {
    // Seeds that follow each other would begin at neighbouring places of one sequence.
    let mut state = mix(mix(seed) ^ STEP);
    let mut bytes = Vec::with_capacity(len + 8);
    while bytes.len() < len {
        state = state.wrapping_add(STEP);
        bytes.extend_from_slice(&mix(state).to_le_bytes());
    }
    bytes.truncate(len);
    bytes
}

/// Weights after so many steps of training: 32-bit floats, each a little off what it was a step
/// before, so that a chunk of them is stored as what has changed.
pub(crate) fn walk(seed: u64, steps: u64, count: usize) -> Vec<u8> {
    let (start, drift) = (noise(seed, 4 * count), noise(!seed, 4 * count));
    let words = start
        .as_chunks::<4>()
        .0
        .iter()
        .zip(drift.as_chunks::<4>().0);
    // Between -1 and 1.
    let part = |bytes: &[u8; 4]| f64::from(i32::from_le_bytes(*bytes)) / f64::from(i32::MAX);
    #[expect(clippy::cast_precision_loss, reason = "steps are few")]
    let value = |(start, drift)| part(start) + 1e-5 * steps as f64 * part(drift);
    #[expect(
        clippy::cast_possible_truncation,
        reason = "the floats are to be short"
    )]
    let short = |value: f64| (value as f32).to_le_bytes();
    words.map(value).flat_map(short).collect()
}

/// These weights in half the bits: `BF16`, rounded to the nearest, ties to even.
pub(crate) fn rounded(weights: &[u8]) -> Vec<u8> {
    let (words, _) = weights.as_chunks::<4>();
    let round = |bytes: &[u8; 4]| {
        let bits = u32::from_le_bytes(*bytes);
        let nearest = (bits + 0x7fff + (bits >> 16 & 1)) >> 16;
        u16::try_from(nearest).unwrap_or(u16::MAX).to_le_bytes()
    };
    words.iter().flat_map(round).collect()
}

/// A vector of these bytes.
pub(crate) fn vector(dtype: DType, bytes: &[u8]) -> TensorSlice<'_> {
    let bits = usize::try_from(dtype.bits()).unwrap();
    TensorSlice::new(dtype, &[bytes.len() * 8 / bits], bytes).unwrap()
}

/// splitmix64: Steele, Lea, Flood, "Fast splittable pseudorandom number generators", 2014.
const fn mix(mut word: u64) -> u64 {
    word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    word ^ (word >> 31)
}
