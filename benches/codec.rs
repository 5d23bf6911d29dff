//! The codec by itself, in memory, on one thread: tensors alone, as steps from those of another
//! checkpoint, and noise; with hashing, beside memcpy and BLAKE3 in the same run.
//!
//! `cargo bench --features fuzzing --bench codec -- OLDER.safetensors NEWER.safetensors`

#![expect(clippy::print_stdout, reason = "a benchmark prints its figures")]
#![expect(clippy::unwrap_used, reason = "a benchmark stops at the first failure")]
#![expect(clippy::disallowed_methods, reason = "it reads plain files")]
#![expect(
    clippy::cast_precision_loss,
    reason = "ratios are printed with three digits"
)]

use std::hint::black_box;
use std::time::{Duration, Instant};

use ckptdb::DType;
use ckptdb::fuzzing::{Coder, decode_onto};
use safetensors::SafeTensors;

/// Raw bytes of a chunk, as `docs/format.md` has it.
const CHUNK: usize = 1_048_496;
/// Each is done so often, in turns; the quickest counts.
const ROUNDS: usize = 5;

/// A chunk, and the one at its place in the older checkpoint.
type Pair = (Vec<u8>, Vec<u8>);

fn main() {
    let files: Vec<String> = std::env::args()
        .skip(1)
        .filter(|a| a != "--bench")
        .collect();
    let [older, newer] = &files[..] else {
        println!("name two checkpoints of the same model");
        return;
    };
    let (older, newer) = (std::fs::read(older).unwrap(), std::fs::read(newer).unwrap());
    let (older, newer) = (
        SafeTensors::deserialize(&older).unwrap(),
        SafeTensors::deserialize(&newer).unwrap(),
    );
    let mut pairs: Vec<Pair> = Vec::new();
    for (name, view) in newer.iter() {
        let base = older.tensor(name).unwrap();
        if view.dtype() == safetensors::Dtype::F32 && view.data().len() >= 65_536 {
            let chunks = view.data().chunks(CHUNK).zip(base.data().chunks(CHUNK));
            pairs.extend(chunks.map(|(new, old)| (new.to_vec(), old.to_vec())));
        }
    }
    let mut noise = vec![0; CHUNK];
    blake3::Hasher::new().finalize_xof().fill(&mut noise);
    let noise: Vec<Pair> = vec![(noise.clone(), noise); 64];
    println!("| | stored / raw | encode MB/s | decode MB/s | of BLAKE3's speed | of memcpy's |");
    println!("|---|---|---|---|---|---|");
    measure("alone", &pairs, false);
    measure("steps", &pairs, true);
    measure("noise", &noise, false);
}

/// The quickest of several times, each of them for all chunks.
struct Stage {
    best: Duration,
}

impl Stage {
    const NEW: Self = Self {
        best: Duration::MAX,
    };

    fn time(&mut self, run: impl FnOnce()) {
        let begun = Instant::now();
        run();
        self.took(begun.elapsed());
    }

    fn took(&mut self, time: Duration) {
        self.best = self.best.min(time);
    }
}

fn hash(bytes: &[u8]) {
    black_box(blake3::hash(bytes));
}

fn measure(name: &str, pairs: &[Pair], with_base: bool) {
    let [mut copying, mut hashing, mut keeping] = [Stage::NEW; 3];
    let [mut encoding, mut decoding] = [Stage::NEW; 2];
    let mut coder = Coder::new();
    let (mut buffer, mut stored) = (vec![0; CHUNK], 0);
    let mut encoded = Vec::new();
    for _ in 0..ROUNDS {
        copying.time(|| {
            for (new, _) in pairs {
                buffer[..new.len()].copy_from_slice(new);
                black_box(&buffer);
            }
        });
        hashing.time(|| pairs.iter().for_each(|(new, _)| hash(new)));
        keeping.time(|| {
            for (new, _) in pairs {
                hash(new);
                black_box(new.clone());
            }
        });
        encoded.clear();
        let mut all = Duration::ZERO;
        for (new, old) in pairs {
            let begun = Instant::now();
            hash(new);
            let base = with_base.then_some(&old[..]);
            let kept = coder.encode(Some(DType::F32), new, base);
            let (codec, is_delta, bytes) = kept.unwrap_or_else(|| {
                buffer[..new.len()].copy_from_slice(new);
                (0, false, &buffer[..new.len()])
            });
            all += begun.elapsed();
            encoded.push((codec, is_delta, bytes.to_vec()));
        }
        encoding.took(all);
        stored = encoded.iter().map(|(_, _, bytes)| bytes.len()).sum();
        let mut raw = Vec::new();
        let mut all = Duration::ZERO;
        for ((new, old), (codec, is_delta, bytes)) in pairs.iter().zip(&encoded) {
            raw.clear();
            raw.extend_from_slice(if *is_delta { old } else { &[] });
            let begun = Instant::now();
            decode_onto(*codec, bytes, *is_delta, new.len(), &mut raw).unwrap();
            hash(&raw);
            all += begun.elapsed();
            assert!(raw == *new);
        }
        decoding.took(all);
    }
    let bytes: usize = pairs.iter().map(|(new, _)| new.len()).sum();
    let speed = |stage: &Stage| bytes as f64 / 1e6 / stage.best.as_secs_f64();
    let of = |reference: &Stage| {
        let of = |stage| speed(stage) / speed(reference);
        format!("{:.2}, {:.2}", of(&encoding), of(&decoding))
    };
    println!(
        "| {name} | {:.3} | {:.0} | {:.0} | {} | {} |",
        stored as f64 / bytes as f64,
        speed(&encoding),
        speed(&decoding),
        of(&hashing),
        of(&copying),
    );
    println!(
        "| raw: hashed and copied | 1 | {:.0} | | {:.2} | {:.2} |",
        speed(&keeping),
        speed(&keeping) / speed(&hashing),
        speed(&keeping) / speed(&copying),
    );
}
