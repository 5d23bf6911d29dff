//! What suits a chunk, told from a sample of it.

use super::classes::Classes;
use super::entropy::{BIT, Counts, entropy, is_noise};
use super::order::{Order, parts};
use super::words::{Words, split};

/// Words that are looked at, in runs.
const SAMPLE_WORDS: usize = 2048;
const RUN_WORDS: usize = 64;

/// Buffers of the sampling.
#[derive(Default)]
pub(super) struct Sample {
    raw: Vec<u8>,
    base: Vec<u8>,
    planes: Vec<u8>,
    order: Vec<u8>,
}

impl Sample {
    /// What a sample of the words takes in planes, by the entropy of each plane by itself, and what
    /// it takes as it is: both in the unit of [`entropy`].
    pub(super) fn cost(&mut self, words: Words, raw: &[u8], base: Option<&[u8]>) -> (u64, u64) {
        let width = words.width();
        gather(raw, width, &mut self.raw);
        let base = base.map(|base| {
            gather(base, width, &mut self.base);
            &*self.base
        });
        self.planes.resize(self.raw.len(), 0);
        split(words, &self.raw, base, &mut self.planes);
        let plane_bytes = (self.raw.len() / width).max(1);
        let planes = self.planes.chunks_exact(plane_bytes);
        let planes = planes.map(|plane| entropy(&Counts::of(plane)));
        (planes.sum(), self.raw.len() as u64 * 8 * BIT)
    }

    /// The classes that steps are sorted into, so many at most: by the steps that
    /// [`Sample::cost`] has looked at last, of a chunk of `bytes`. One, unless more save more than
    /// one part of `worth` of the chunk.
    pub(super) fn classes(
        &mut self,
        words: Words,
        most: usize,
        worth: u64,
        bytes: usize,
    ) -> Classes {
        let classes = Classes::of(words, &self.base, most);
        let looked = self.raw.len() / words.width();
        if classes == Classes::ONE || looked == 0 {
            return Classes::ONE;
        }
        let one: u64 = self.planes.chunks_exact(looked).map(expected).sum();
        let order = Order::of(words, &self.base, &classes, &mut self.order);
        order.split(words, &self.raw, &self.base, &mut self.planes);
        let planes = self.planes.chunks_exact(looked);
        let planes = planes.flat_map(|plane| parts(plane, order.lengths()));
        let sorted: u64 = planes.map(expected).sum();
        let won = one.saturating_sub(sorted) / BIT * bytes as u64 / self.raw.len() as u64 / 8;
        let planes = (classes.len() - 1) * words.width() * PLANE_BYTES;
        if won > bytes as u64 / worth + planes as u64 {
            classes
        } else {
            Classes::ONE
        }
    }
}

/// Bytes of a further plane: its header, and the table of its Huffman code.
const PLANE_BYTES: usize = 60;

/// What a plane is expected to take, from a sample of it, in the unit of [`entropy`]. A sample's
/// entropy is too low, by half a unit of natural logarithms for each symbol that occurs but one
/// (Miller 1955).
fn expected(plane: &[u8]) -> u64 {
    let counts = Counts::of(plane);
    let symbols = counts.iter().filter(|count| **count > 0).count() as u64;
    // Half of the logarithm of e to base 2.
    let bits = entropy(&counts) + symbols.saturating_sub(1) * BIT * 72 / 100;
    let plain = plane.len() as u64 * BIT;
    if is_noise(bits, plane.len() as u64) {
        8 * plain
    } else {
        bits
    }
}

/// Opaque bytes are taken for words where planes of these take less than so many parts of so many.
const GUESS: (u64, u64) = (31, 32);

/// The lowest bytes of floats have more entropy than this, in bits: text, which may repeat itself
/// with the width of a word, has less.
const NOISE: u64 = 7;

/// More bits a byte than this, as a fraction, has what is compressed already.
const NOISE_BITS: (u64, u64) = (77, 10);

impl Sample {
    /// What opaque bytes are, if they look like floats: the tensors in an archive do.
    pub(super) fn guess(&mut self, raw: &[u8]) -> Option<Words> {
        let (bytes, of_bytes) = self.cost(Words::U8, raw, None);
        let mut best = (bytes * GUESS.0 / GUESS.1, None);
        for words in [Words::F32, Words::F16, Words::F64] {
            let (cost, plain) = self.cost(words, raw, None);
            // Samples of wider words are longer.
            let cost = cost * of_bytes.max(1) / plain.max(1);
            if cost < best.0 && self.lowest_is_noise(words) {
                best = (cost, Some(words));
            }
        }
        best.1
    }

    /// Whether the bytes by themselves have no pattern that a code could use: compressed archives
    /// and random bytes. Of 2,048 random ones a sample has 7.9 bits each.
    pub(super) fn is_noise(&mut self, raw: &[u8]) -> bool {
        let (bytes, plain) = self.cost(Words::U8, raw, None);
        bytes > plain / 8 * NOISE_BITS.0 / NOISE_BITS.1
    }

    /// Whether the lowest bytes of the words that were looked at last have no pattern.
    fn lowest_is_noise(&self, words: Words) -> bool {
        let lowest = &self.planes[..self.raw.len() / words.width()];
        entropy(&Counts::of(lowest)) > lowest.len() as u64 * NOISE * BIT
    }
}

/// Runs of words, evenly spread over all of them.
fn gather(bytes: &[u8], width: usize, out: &mut Vec<u8>) {
    out.clear();
    let whole = bytes.len() - bytes.len() % width;
    let run = RUN_WORDS * width;
    let runs = SAMPLE_WORDS / RUN_WORDS;
    if whole <= run * runs {
        out.extend_from_slice(&bytes[..whole]);
        return;
    }
    let step = (whole - run) / (runs - 1) / width * width;
    for at in 0..runs {
        out.extend_from_slice(&bytes[at * step..at * step + run]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn noise_is_told_from_text_numbers_and_zeros_and_short_input_is_none() {
        let mut sample = Sample::default();
        let mut noise = vec![0; 100_000];
        blake3::Hasher::new().finalize_xof().fill(&mut noise);
        assert!(sample.is_noise(&noise));
        assert!(sample.is_noise(&noise[..2048]));
        assert!(!sample.is_noise(&noise[..60]));
        assert!(!sample.is_noise(&[]));
        assert!(!sample.is_noise(&[0; 5000]));
        assert!(!sample.is_noise("a text that says nothing ".repeat(900).as_bytes()));
        let floats = (0..20_000_u16).flat_map(|n| f32::from(n).sqrt().to_le_bytes());
        let floats: Vec<u8> = floats.collect();
        assert!(!sample.is_noise(&floats));
    }
}
