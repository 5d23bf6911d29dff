//! What suits a chunk, told from a sample of it.

use super::entropy::{BIT, count, entropy};
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
        let planes = self.planes.chunks_exact(plane_bytes).map(|plane| {
            let mut counts = [0; 256];
            count(plane, &mut counts);
            entropy(&counts)
        });
        (planes.sum(), self.raw.len() as u64 * 8 * BIT)
    }
}

/// Opaque bytes are taken for words where planes of these take less than so many parts of so many.
const GUESS: (u64, u64) = (31, 32);

/// The lowest bytes of floats have more entropy than this, in bits: text, which may repeat itself
/// with the width of a word, has less.
const NOISE: u64 = 7;

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

    /// Whether the lowest bytes of the words that were looked at last have no pattern.
    fn lowest_is_noise(&self, words: Words) -> bool {
        let lowest = &self.planes[..self.raw.len() / words.width()];
        let mut counts = [0; 256];
        count(lowest, &mut counts);
        entropy(&counts) > lowest.len() as u64 * NOISE * BIT
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
