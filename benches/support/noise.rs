//! Bytes without any pattern, which no codec makes shorter.

use std::io::Read;

/// So many of them: the generator by Steele, Lea, Flood ("Fast splittable pseudorandom number
/// generators", 2014).
pub(crate) struct Noise {
    word: u64,
    left: usize,
}

impl Noise {
    /// The same for the same seed.
    pub(crate) const fn new(seed: u64, bytes: usize) -> Self {
        Self {
            word: seed,
            left: bytes,
        }
    }
}

impl Read for Noise {
    fn read(&mut self, out: &mut [u8]) -> std::io::Result<usize> {
        let count = out.len().min(self.left);
        for bytes in out[..count].chunks_mut(8) {
            self.word = self.word.wrapping_add(0x9E37_79B9_7F4A_7C15);
            let mixed = (self.word ^ (self.word >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
            let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
            bytes.copy_from_slice(&(mixed ^ (mixed >> 31)).to_le_bytes()[..bytes.len()]);
        }
        self.left -= count;
        Ok(count)
    }
}

/// All of them at once.
pub(crate) fn noise(seed: u64, bytes: usize) -> Vec<u8> {
    let mut noise = vec![0; bytes];
    Noise::new(seed, bytes).read_exact(&mut noise).unwrap();
    noise
}
