//! Bytes to save.

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

/// splitmix64: Steele, Lea, Flood, "Fast splittable pseudorandom number generators", 2014.
const fn mix(mut word: u64) -> u64 {
    word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    word ^ (word >> 31)
}
