//! Measurements of space and memory, each beside its reference in the same run.
//!
//! `cargo bench --bench measure -- space [GIB]`, `-- large [GIB]`, `-- tiny`,
//! `-- plan [CHECKPOINTS]`, `-- reopen [GIB]`. Files go to `CKPTDB_BENCH_DIR`, or the system's
//! temporary folder, and are removed.

#![expect(clippy::print_stdout, reason = "a benchmark prints its figures")]
#![expect(clippy::unwrap_used, reason = "a benchmark stops at the first failure")]
#![expect(clippy::disallowed_methods, reason = "the reference is a plain file")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use ckptdb::policy::{Candidate, Keep, Retention, Situation};
use ckptdb::{
    CheckpointId, DType, Direction, Event, Filter, Store, TensorSlice, Timestamp, VerifyDepth,
};

fn main() {
    let arguments: Vec<String> = std::env::args()
        .skip(1)
        .filter(|argument| argument != "--bench")
        .collect();
    let number = |default: u64| {
        arguments
            .get(1)
            .map_or(default, |text| text.parse().unwrap())
    };
    match arguments.first().map(String::as_str) {
        Some("space") => space(number(2)),
        Some("large") => large(number(3)),
        Some("tiny") => tiny(),
        Some("plan") => plan(number(100_000)),
        Some("reopen") => reopen(number(1)),
        Some("save-until-killed") => save_until_killed(Path::new(&arguments[1])),
        // `cargo bench` without a choice, and `cargo test --benches`, only see that it builds.
        _ => println!("choose one of: space, large, tiny, plan, reopen"),
    }
}

/// Decides on so many checkpoints by the usual rules.
fn plan(count: u64) {
    let events = [
        BTreeSet::from([Event::Periodic]),
        BTreeSet::from([Event::Periodic, Event::PhaseEnd]),
    ];
    let metrics: Vec<BTreeMap<String, f64>> = (0..count)
        .map(|id| {
            let value = |seed: u64| f64::from(u32::try_from(id * seed % 100_003).unwrap());
            BTreeMap::from([
                ("sharpe".to_owned(), value(7_919)),
                ("reward".to_owned(), value(104_729)),
            ])
        })
        .collect();
    let tags = BTreeSet::new();
    let candidates: Vec<Candidate<'_>> = (1..)
        .zip(&metrics)
        .map(|(id, metrics)| Candidate {
            id: CheckpointId::new(id),
            iteration: id * 500,
            saved_at: Timestamp::from_millis(0),
            events: &events[usize::from(id % 5_000 == 0)],
            metrics,
            tags: &tags,
            pinned: false,
            abandoned: false,
            bytes: 1,
        })
        .collect();
    let best = |metric: &str, count| Keep::Best {
        metric: metric.to_owned(),
        count,
        direction: Some(Direction::Max),
    };
    let retention = Retention::new([
        Keep::Latest(8),
        best("sharpe", 3),
        best("reward", 2),
        Keep::Event("phase_end".to_owned()),
    ])
    .unwrap();
    let mut times: Vec<Duration> = (0..9)
        .map(|_| {
            let begun = Instant::now();
            let plan = retention.plan("NQ", &Situation::default(), &candidates);
            assert!(plan.unwrap().kept().count() < 100);
            begun.elapsed()
        })
        .collect();
    times.sort_unstable();
    // The reference: a sort of as many values.
    let mut values: Vec<f64> = metrics.iter().map(|values| values["sharpe"]).collect();
    let begun = Instant::now();
    values.sort_unstable_by(f64::total_cmp);
    let sort = begun.elapsed();
    println!(
        "{count} checkpoints decided on in {:?}; a sort of as many numbers takes {sort:?}",
        times[4]
    );
}

fn folder() -> tempfile::TempDir {
    match std::env::var_os("CKPTDB_BENCH_DIR") {
        Some(folder) => tempfile::tempdir_in(PathBuf::from(folder)).unwrap(),
        None => tempfile::tempdir().unwrap(),
    }
}

/// Bytes without any pattern, as a reader, so that no size needs memory.
struct Noise(blake3::OutputReader);

impl Noise {
    fn new(seed: u64) -> Self {
        Self(
            blake3::Hasher::new()
                .update(&seed.to_le_bytes())
                .finalize_xof(),
        )
    }
}

impl Read for Noise {
    fn read(&mut self, out: &mut [u8]) -> std::io::Result<usize> {
        self.0.fill(out);
        Ok(out.len())
    }
}

fn allocated(store: &Store) -> u64 {
    store.stats().unwrap().allocated_bytes
}

fn save_noise(store: &Store, iteration: u64, bytes: u64) {
    let source = Noise::new(iteration).take(bytes);
    let job = store.job("noise").unwrap();
    job.save(iteration)
        .tensor_from("x", DType::U8, &[bytes], source)
        .commit()
        .unwrap();
}

/// The file after incompressible saves, after half is deleted, and after as much again.
fn space(gib: u64) {
    let folder = folder();
    let store = Store::create(folder.path().join("space.ckptdb")).unwrap();
    let piece = 64 << 20;
    let count = gib * 1024 / 64;
    for iteration in 0..count {
        save_noise(&store, iteration, piece);
    }
    let full = allocated(&store);
    let raw = count * piece;
    println!(
        "saved {raw} bytes in {count} checkpoints: the file takes {full}, {:+.3} %",
        percent(full, raw)
    );
    let checkpoints: Vec<_> = store
        .list(&Filter::default())
        .unwrap()
        .map(Result::unwrap)
        .collect();
    for checkpoint in checkpoints.iter().skip(1).step_by(2) {
        checkpoint.delete(true).unwrap();
    }
    let reclaimed = store.reclaim(true).unwrap();
    println!(
        "deleted {} checkpoints, {} bytes",
        reclaimed.checkpoints, reclaimed.bytes
    );
    for iteration in count..count + reclaimed.checkpoints {
        save_noise(&store, iteration, piece);
    }
    let again = allocated(&store);
    println!(
        "saved as much again: the file takes {again}, {:+.3} % of before",
        percent(again, full)
    );
    for checkpoint in store
        .list(&Filter::default())
        .unwrap()
        .map(Result::unwrap)
        .skip(1)
        .step_by(2)
    {
        checkpoint.delete(true).unwrap();
    }
    store.reclaim(true).unwrap();
    let begun = Instant::now();
    let compacted = store.compact().unwrap();
    println!(
        "deleted half and compacted: {} -> {} bytes in {:.2} s",
        compacted.before,
        compacted.after,
        begun.elapsed().as_secs_f64()
    );
    assert!(store.verify(VerifyDepth::Quick).unwrap().is_clean());
}

#[expect(clippy::cast_precision_loss, reason = "for people")]
fn percent(found: u64, reference: u64) -> f64 {
    100.0 * (found as f64 / reference as f64 - 1.0)
}

/// One tensor larger than the memory budget, in and out, beside a plain write and sync.
fn large(gib: u64) {
    let folder = folder();
    let bytes = gib << 30;
    let plain = folder.path().join("plain");
    let begun = Instant::now();
    let mut file = File::create(&plain).unwrap();
    let mut source = Noise::new(1).take(bytes);
    let mut buffer = vec![0; 1 << 20];
    loop {
        let count = source.read(&mut buffer).unwrap();
        if count == 0 {
            break;
        }
        file.write_all(&buffer[..count]).unwrap();
    }
    file.sync_data().unwrap();
    let reference = begun.elapsed();
    drop(file);
    std::fs::remove_file(&plain).unwrap();
    let before = peak_memory();
    let store = Store::create(folder.path().join("large.ckptdb")).unwrap();
    let begun = Instant::now();
    save_noise(&store, 1, bytes);
    let saved = begun.elapsed();
    let latest = store.job("noise").unwrap().latest().unwrap().unwrap();
    let begun = Instant::now();
    let mut sum = blake3::Hasher::new();
    latest.copy_to("x", &mut sum).unwrap();
    let loaded = begun.elapsed();
    let mut expected = blake3::Hasher::new();
    std::io::copy(&mut Noise::new(1).take(bytes), &mut expected).unwrap();
    assert_eq!(sum.finalize(), expected.finalize());
    println!(
        "{gib} GiB: save {saved:.2?} ({:.2} of plain write + sync's speed), load {loaded:.2?}; \
         peak memory {} MiB (before: {} MiB)",
        reference.as_secs_f64() / saved.as_secs_f64(),
        peak_memory() >> 10,
        before >> 10
    );
}

/// Peak resident memory in KiB, as Linux counts it.
fn peak_memory() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with("VmHWM:"));
    line.and_then(|line| line.split_whitespace().nth(1)?.parse().ok())
        .unwrap_or(0)
}

/// 20,000 tiny tensors: saved, saved with one changed, one read.
fn tiny() {
    let folder = folder();
    let store = Store::create(folder.path().join("tiny.ckptdb")).unwrap();
    let mut tensors: Vec<Vec<u8>> = Vec::new();
    for seed in 0..20_000 {
        let mut data = vec![0; 256];
        Noise::new(seed).read_exact(&mut data).unwrap();
        tensors.push(data);
    }
    for iteration in 0..3 {
        let begun = Instant::now();
        let job = store.job("tiny").unwrap();
        let named = tensors.iter().enumerate().map(|(i, data)| {
            let tensor = TensorSlice::new(DType::F32, &[8, 8], data).unwrap();
            (
                format!("layers.{}.block.{}.weight", i / 100, i % 100),
                tensor,
            )
        });
        let saved = job.save(iteration).tensors(named).commit().unwrap();
        println!(
            "iteration {iteration}: {} entries in {:.2?}, {} new chunks, {} new bytes, file {}",
            saved.checkpoint.entries,
            begun.elapsed(),
            saved.new_chunks,
            saved.new_bytes,
            allocated(&store)
        );
        tensors[777][0] ^= 1;
    }
    let latest = store.job("tiny").unwrap().latest().unwrap().unwrap();
    let begun = Instant::now();
    latest.tensor("layers.77.block.7.weight").unwrap();
    println!("one of them read in {:.2?}", begun.elapsed());
}

/// How long a store takes to open after its writer was killed, beside reading its file once.
fn reopen(gib: u64) {
    let folder = folder();
    let path = folder.path().join("reopen.ckptdb");
    let store = Store::create(&path).unwrap();
    for iteration in 0..gib * 16 {
        save_noise(&store, iteration, 64 << 20);
    }
    drop(store);
    let mut worst = std::time::Duration::ZERO;
    for round in 0..5 {
        kill_a_writer(&path, 20 + 40 * round);
        let begun = Instant::now();
        let store = Store::open(&path).unwrap();
        let opened = begun.elapsed();
        let latest = store.job("noise").unwrap().latest().unwrap().unwrap();
        let found = begun.elapsed();
        save_noise(&store, latest.iteration + 1, 1_000);
        let saved = begun.elapsed();
        worst = worst.max(opened);
        println!(
            "killed at {}: opened in {opened:.2?}, found the latest after {found:.2?}, saved \
             after {saved:.2?}",
            latest.iteration
        );
    }
    let begun = Instant::now();
    let bytes = read_once(&path);
    let read = begun.elapsed();
    println!(
        "opened in {worst:.2?} at worst; its {bytes} bytes are read once in {read:.2?}, {:.0} \
         times as long",
        read.as_secs_f64() / worst.as_secs_f64()
    );
    assert!(worst.as_millis() < 50, "reopening takes {worst:?}");
}

fn read_once(path: &Path) -> usize {
    let mut file = File::open(path).unwrap();
    let mut buffer = vec![0; 1 << 20];
    let mut bytes = 0;
    loop {
        match file.read(&mut buffer).unwrap() {
            0 => return bytes,
            count => bytes += count,
        }
    }
}

/// Starts a process that saves to the store, and kills it after so many milliseconds of that.
fn kill_a_writer(path: &Path, milliseconds: u64) {
    let mut writer = Command::new(std::env::current_exe().unwrap())
        .arg("save-until-killed")
        .arg(path)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut told = [0];
    let mut lines = writer.stdout.take().unwrap();
    lines.read_exact(&mut told).unwrap();
    std::thread::sleep(std::time::Duration::from_millis(milliseconds));
    writer.kill().unwrap();
    writer.wait().unwrap();
}

/// The process that is killed: says that it is about to save, and saves for ever.
fn save_until_killed(path: &Path) {
    let store = Store::open(path).unwrap();
    let latest = store.job("noise").unwrap().latest().unwrap().unwrap();
    println!("saving");
    for iteration in latest.iteration + 1.. {
        save_noise(&store, iteration, 8 << 20);
    }
}
