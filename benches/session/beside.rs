//! What saves cost a training that keeps all cores busy, as it goes on beside them.

use std::collections::BTreeMap;
use std::fs::File;
use std::hint::black_box;
use std::io::Write;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use ckptdb::policy::Trigger;
use ckptdb::session::{MinFree, Overlap, SessionOptions, after_save};
use ckptdb::{DType, SaveTimes, Store, TensorSlice};

use super::noise::noise;

/// Steps of a run, of which each tenth saves, so that saves follow each other closely, or each
/// fiftieth.
const STEPS: u64 = 200;
const EVERY: [u64; 2] = [10, 50];
const ROUNDS: u64 = 3;
/// Rows and columns of the matrices that each core multiplies, and how often in a step.
const SIDE: usize = 256;
const PRODUCTS: usize = 12;

/// How a run saves.
#[derive(Clone, Copy, PartialEq, Eq)]
enum How {
    Never,
    Plainly,
    Here,
    Beside,
    Behind,
}

const ALL: [(How, &str); 5] = [
    (How::Never, "no saves"),
    (How::Plainly, "write + fdatasync between steps"),
    (How::Here, "a session's saves between steps"),
    (How::Beside, "beside the training"),
    (How::Behind, "beside it, copied behind the next pass"),
];

pub(crate) fn measure(mib: u64) {
    let mut state = noise(1, usize::try_from(mib << 20).unwrap());
    for every in EVERY {
        compare(mib, &mut state, every);
    }
}

fn compare(mib: u64, state: &mut [u8], every: u64) {
    let mut took: BTreeMap<usize, Vec<Duration>> = BTreeMap::new();
    let mut times = Vec::new();
    for _ in 0..ROUNDS {
        for (row, (how, _)) in ALL.iter().enumerate() {
            let (time, told) = run(*how, state, every);
            took.entry(row).or_default().push(time);
            if *how == How::Behind {
                times.extend(told);
            }
        }
    }
    let median = |row: usize| super::median(took[&row].clone()).as_secs_f64();
    println!(
        "{STEPS} steps of {:.0} ms on all cores, {mib} MiB saved after each {every}th",
        1e3 * median(0) / STEPS as f64
    );
    println!("| saves | of the time without | each save costs | of a plain one |");
    println!("|---|---|---|---|");
    let saves = (STEPS / every) as f64;
    let cost = |row: usize| (median(row) - median(0)) / saves;
    for (row, (_, name)) in ALL.iter().enumerate().skip(1) {
        println!(
            "| {name} | {:.3} | {:.0} ms | {:.2} |",
            median(row) / median(0),
            1e3 * cost(row),
            cost(row) / cost(1)
        );
    }
    let mean = |of: fn(&SaveTimes) -> Duration| {
        let all: Duration = times.iter().map(of).sum();
        1e3 * all.as_secs_f64() / times.len() as f64
    };
    println!(
        "copied behind the next pass, mean: blocked {:.1} ms, queued {:.1}, encode {:.1}, commit \
         {:.1}",
        mean(|times| times.blocked),
        mean(|times| times.queued),
        mean(|times| times.encode),
        mean(|times| times.commit)
    );
}

/// Trains, and saves in one of these ways, until all is on the disk.
fn run(how: How, state: &mut [u8], every: u64) -> (Duration, Vec<SaveTimes>) {
    let folder = match std::env::var_os("CKPTDB_BENCH_DIR") {
        Some(place) => tempfile::tempdir_in(place).unwrap(),
        None => tempfile::tempdir().unwrap(),
    };
    let told = Arc::new(Mutex::new(Vec::new()));
    let its = Arc::clone(&told);
    let store = Store::create(folder.path().join("runs.ckptdb")).unwrap();
    let options = SessionOptions {
        triggers: Trigger::Iterations(every.try_into().unwrap()).into(),
        background: (how != How::Here).then_some(Overlap::Wait),
        min_free: MinFree::NONE,
        signals: false,
        hooks: vec![after_save("times", move |done| {
            its.lock().unwrap().push(done.times);
            Ok(())
        })],
        ..SessionOptions::default()
    };
    let mut session = store.job("bench").unwrap().session(options).unwrap();
    let none = BTreeMap::new();
    let begun = Instant::now();
    for step in 1..=STEPS {
        let is_due = step % every == 0;
        let tensor = || TensorSlice::new(DType::F32, &[state.len() / 4], &*state).unwrap();
        match how {
            How::Never => train(),
            How::Plainly => {
                train();
                if is_due {
                    plainly(&folder.path().join(format!("{step}.plain")), state);
                }
            }
            How::Here | How::Beside => {
                train();
                let done = session.step(step, &none, |save| save.tensor("w", tensor()));
                assert!(done.problems.is_empty(), "{:?}", done.problems);
            }
            // The pass of the step after it.
            How::Behind => {
                let done =
                    session.step_while(step, &none, |save| save.tensor("w", tensor()), train);
                assert!(done.problems.is_empty(), "{:?}", done.problems);
            }
        }
        if is_due {
            change(state);
        }
    }
    session.wait();
    let time = begun.elapsed();
    drop(session);
    drop(store);
    let told = Arc::try_unwrap(told);
    (
        time,
        told.map_or_else(|_| Vec::new(), |told| told.into_inner().unwrap()),
    )
}

/// The optimizer, as bad as it can be: no word is near what it was, so that nothing is shared and
/// nothing gets shorter.
fn change(state: &mut [u8]) {
    let (words, _) = state.as_chunks_mut::<8>();
    for bytes in words {
        let mut word = u64::from_le_bytes(*bytes);
        word ^= word << 13;
        word ^= word >> 7;
        word ^= word << 17;
        *bytes = word.to_le_bytes();
    }
}

/// Each in a file of its own, as training scripts have it.
fn plainly(path: &Path, state: &[u8]) {
    let mut file = File::create(path).unwrap();
    file.write_all(state).unwrap();
    file.sync_data().unwrap();
}

/// A forward and a backward pass: each core multiplies matrices.
fn train() {
    let cores = std::thread::available_parallelism().unwrap().get();
    std::thread::scope(|scope| {
        for _ in 0..cores {
            scope.spawn(|| {
                let left = vec![0.5_f32; SIDE * SIDE];
                let right = vec![0.25_f32; SIDE * SIDE];
                for _ in 0..PRODUCTS {
                    black_box(product(&left, &right));
                }
            });
        }
    });
}

fn product(left: &[f32], right: &[f32]) -> Vec<f32> {
    let mut out = vec![0.0; SIDE * SIDE];
    for (row, out) in left.chunks(SIDE).zip(out.chunks_mut(SIDE)) {
        for (value, right) in row.iter().zip(right.chunks(SIDE)) {
            for (out, right) in out.iter_mut().zip(right) {
                *out += value * right;
            }
        }
    }
    out
}
