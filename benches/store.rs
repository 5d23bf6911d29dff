//! Saves and loads of one state beside what the disk and the processor do by themselves, in turn,
//! in the same run: medians, and ratios of medians.
//!
//! `cargo bench --bench store -- [MIB] [ROUNDS]`. The state is noise that nothing makes shorter, in
//! tensors of 64 MiB. Files go to `CKPTDB_BENCH_DIR`, or the system's temporary folder, and are
//! removed.

#![expect(clippy::print_stdout, reason = "a benchmark prints its figures")]
#![expect(clippy::unwrap_used, reason = "a benchmark stops at the first failure")]
#![expect(clippy::disallowed_methods, reason = "the reference is a plain file")]
#![expect(
    clippy::cast_precision_loss,
    reason = "ratios are printed with three digits"
)]

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::time::Instant;

use ckptdb::{Checkpoint, DType, Store, TensorSlice};

const TENSOR: usize = 64 << 20;

fn main() {
    let mut numbers = std::env::args()
        .skip(1)
        .filter_map(|text| text.parse().ok());
    let Some(mib) = numbers.next() else {
        // `cargo bench` without a choice, and `cargo test --benches`, only see that it builds.
        println!("say how many MiB the state shall have");
        return;
    };
    let rounds = numbers.next().unwrap_or(3);
    let folder = std::env::var_os("CKPTDB_BENCH_DIR").map(PathBuf::from);
    let folder = match folder {
        Some(folder) => tempfile::tempdir_in(folder).unwrap(),
        None => tempfile::tempdir().unwrap(),
    };
    let state = noise(mib << 20);
    let mut times = Times::default();
    for round in 0..rounds {
        references(&mut times, folder.path(), &state);
        ours(&mut times, folder.path(), &state, round as u64);
    }
    times.print(state.len());
}

/// Bytes without any pattern.
fn noise(len: usize) -> Vec<u8> {
    let mut word = 1_u64;
    let mut bytes = Vec::with_capacity(len + 8);
    while bytes.len() < len {
        word = word.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mixed = (word ^ (word >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        bytes.extend_from_slice(&(mixed ^ (mixed >> 31)).to_le_bytes());
    }
    bytes.truncate(len);
    bytes
}

/// Seconds by what was done.
#[derive(Default)]
struct Times(BTreeMap<&'static str, Vec<f64>>);

impl Times {
    fn take<T>(&mut self, what: &'static str, run: impl FnOnce() -> T) -> T {
        let begun = Instant::now();
        let result = run();
        let seconds = begun.elapsed().as_secs_f64();
        self.0.entry(what).or_default().push(seconds);
        result
    }

    fn median(&self, what: &str) -> f64 {
        let mut times = self.0[what].clone();
        times.sort_by(f64::total_cmp);
        times[times.len() / 2]
    }

    fn print(&self, bytes: usize) {
        println!(
            "{} MiB, medians of {} rounds",
            bytes >> 20,
            self.0["memcpy"].len()
        );
        println!("| what | MB/s | reference | MB/s | ratio |\n|---|---|---|---|---|");
        let speed = |what| bytes as f64 / self.median(what) / 1e6;
        for (what, reference) in [
            ("save, new", "write + fdatasync"),
            ("save, 5 % changed", "write + fdatasync"),
            ("save, unchanged", "BLAKE3, two threads"),
            ("load, cached", "read, cached"),
            ("copy for a save beside", "memcpy"),
        ] {
            let (ours, theirs) = (speed(what), speed(reference));
            println!(
                "| {what} | {ours:.0} | {reference} | {theirs:.0} | {:.2} |",
                ours / theirs
            );
        }
    }
}

fn references(times: &mut Times, folder: &Path, state: &[u8]) {
    let path = folder.join("plain");
    times.take("write + fdatasync", || {
        let mut file = File::create(&path).unwrap();
        for tensor in state.chunks(TENSOR) {
            file.write_all(tensor).unwrap();
        }
        file.sync_data().unwrap();
    });
    times.take("read, cached", || {
        let mut file = File::open(&path).unwrap();
        for tensor in state.chunks(TENSOR) {
            let mut read = vec![0; tensor.len()];
            file.read_exact(&mut read).unwrap();
            std::hint::black_box(&read);
        }
    });
    std::fs::remove_file(&path).unwrap();
    times.take("memcpy", || std::hint::black_box(state.to_vec()));
    times.take("BLAKE3, two threads", || {
        let (left, right) = state.split_at(state.len() / 2);
        std::thread::scope(|scope| {
            scope.spawn(|| std::hint::black_box(blake3::hash(left)));
            std::hint::black_box(blake3::hash(right));
        });
    });
}

fn ours(times: &mut Times, folder: &Path, state: &[u8], round: u64) {
    let path = folder.join(format!("{round}.ckptdb"));
    let store = Store::create(&path).unwrap();
    let first = times.take("save, new", || save(&store, 1, state));
    times.take("load, cached", || {
        std::hint::black_box(first.load().unwrap())
    });
    times.take("save, unchanged", || save(&store, 2, state));
    // One tensor of twenty, or part of the only one.
    let mut changed = state.to_vec();
    let part = changed.len() / 20;
    changed[..part].iter_mut().for_each(|byte| *byte ^= 0x55);
    times.take("save, 5 % changed", || save(&store, 3, &changed));
    drop(changed);
    let copied = times.take("copy for a save beside", || {
        with_tensors(&store, 4, state).into_owned().unwrap()
    });
    drop(copied);
    store.close();
    std::fs::remove_file(&path).unwrap();
}

fn with_tensors<'s>(store: &Store, iteration: u64, state: &'s [u8]) -> ckptdb::Save<'s> {
    let tensors = state.chunks(TENSOR).enumerate().map(|(number, bytes)| {
        let tensor = TensorSlice::new(DType::F32, &[bytes.len() / 4], bytes).unwrap();
        (format!("layer.{number:03}"), tensor)
    });
    store.job("bench").unwrap().save(iteration).tensors(tensors)
}

fn save(store: &Store, iteration: u64, state: &[u8]) -> Checkpoint {
    with_tensors(store, iteration, state)
        .commit()
        .unwrap()
        .checkpoint
}
