//! Saves and loads beside what the disk, the processor and other tools do with the same bytes: in
//! turn, in the same run; medians, and ratios of medians. Prints a table, and with `--json=FILE`
//! writes it there.
//!
//! `cargo bench --bench store -- [--mib=2048] [--rounds=5] [--json=FILE] [FOLDER]`. The state is
//! noise that nothing makes shorter, in tensors of 64 MiB; a folder of nothing but safetensors
//! files, one a checkpoint, is saved with the default codec. With `--checkpoints=N` it is queries
//! and pruning that are measured, among so many and a hundredth of them. Files go to
//! `CKPTDB_BENCH_DIR`, or the system's temporary folder, and are removed. What is read cold is so
//! only for who may drop the system's caches.

#![expect(clippy::print_stdout, reason = "a benchmark prints its figures")]
#![expect(clippy::unwrap_used, reason = "a benchmark stops at the first failure")]
#![expect(clippy::disallowed_methods, reason = "the reference is a plain file")]
#![expect(
    clippy::cast_precision_loss,
    reason = "ratios are printed with three digits"
)]

use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use bytes::Bytes;
use ckptdb::{Checkpoint, Compression, DType, Options, Save, Store, TensorSlice};
use noise::noise;

#[path = "store/beside.rs"]
mod beside;
#[path = "store/many.rs"]
mod many;
#[path = "support/noise.rs"]
mod noise;
#[path = "store/small.rs"]
mod small;

const TENSOR: usize = 64 << 20;
/// Entries of the state of which one is loaded.
const ENTRIES: usize = 1000;
const ENTRY: usize = 64 << 10;

/// What is measured, and what it is compared with. Ratios are of times, the reference's over ours.
const ROWS: [(&str, &str); 21] = [
    ("save, new", "write + fdatasync"),
    ("save, new", "safetensors + fsync"),
    ("save, 5 % changed", "write + fdatasync"),
    ("save, unchanged", "BLAKE3, all cores"),
    ("save, unchanged, told so", "BLAKE3, all cores"),
    ("load, cached", "safetensors, cached"),
    ("load into buffers, cached", "read, cached"),
    ("load, cold", "read, cold"),
    ("load one of 1,000", "read one of 1,000"),
    ("copy for a save beside", "memcpy"),
    ("copy for a save beside", "memcpy, all cores"),
    ("session: blocked, lent", "memcpy"),
    ("session: blocked, lent", "memcpy, all cores"),
    ("session: blocked, owned", "memcpy"),
    ("owned buffers for a save beside", "memcpy"),
    ("save of 2 KB", "write of 2 KB + fdatasync"),
    ("save of 2 KB, 8 at once", "save of 2 KB"),
    ("save of 300 KB", "write of 300 KB + fdatasync"),
    ("series, default codec", "series, write + fdatasync"),
    ("series, load", "series, safetensors"),
    ("series, load, cold", "series, safetensors, cold"),
];

fn main() {
    let mut mib = None;
    let (mut rounds, mut json, mut folder, mut checkpoints) = (5, None, None, None);
    for argument in std::env::args().skip(1) {
        match argument.split_once('=') {
            Some(("--mib", number)) => mib = Some(number.parse().unwrap()),
            Some(("--rounds", number)) => rounds = number.parse().unwrap(),
            Some(("--checkpoints", number)) => checkpoints = Some(number.parse().unwrap()),
            Some(("--json", file)) => json = Some(PathBuf::from(file)),
            _ if argument.starts_with("--") => {}
            _ => folder = Some(PathBuf::from(argument)),
        }
    }
    let place = match std::env::var_os("CKPTDB_BENCH_DIR") {
        Some(place) => tempfile::tempdir_in(place).unwrap(),
        None => tempfile::tempdir().unwrap(),
    };
    let table = match (mib, checkpoints) {
        (_, Some(checkpoints)) => many::measure(place.path(), checkpoints),
        (Some(mib), None) => states(place.path(), mib, rounds, folder.as_deref()),
        // `cargo bench` without a choice, and `cargo test --benches`, only see that it builds.
        (None, None) => {
            println!("say --mib=N: how many MiB the state shall have; or --checkpoints=N");
            return;
        }
    };
    if let Some(json) = json {
        std::fs::write(json, format!("{table:#}\n")).unwrap();
    }
}

/// Saves and loads of a state of so many MiB, of small ones, and of a folder's series.
fn states(place: &Path, mib: usize, rounds: usize, folder: Option<&Path>) -> serde_json::Value {
    let state = noise(1, mib << 20);
    let series = folder.map_or_else(Vec::new, files);
    let mut times = Times::default();
    for round in 0..rounds {
        // Each comes first, second and last in turn: what is written before costs the next.
        for turn in 0..3 {
            settle();
            match (round + turn) % 3 {
                0 => plain(&mut times, place, &state),
                1 => library(&mut times, place, &state),
                _ => large(&mut times, place, &state, round),
            }
        }
        kernels(&mut times, &state);
        small::measure(&mut times, place);
        chosen(&mut times, place);
        trained(&mut times, place, &series, round);
    }
    times.print(state.len(), rounds);
    times.json(state.len(), rounds)
}

fn files(folder: &Path) -> Vec<Vec<u8>> {
    let entries = std::fs::read_dir(folder).unwrap();
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    let read = |path: &PathBuf| std::fs::read(path).unwrap();
    paths.iter().map(read).collect()
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

    fn median(&self, what: &str) -> Option<f64> {
        let mut times = self.0.get(what)?.clone();
        times.sort_by(f64::total_cmp);
        times.get(times.len() / 2).copied()
    }

    /// What was measured: ours and the reference's seconds.
    fn rows(&self) -> impl Iterator<Item = (&'static str, f64, &'static str, f64)> + '_ {
        ROWS.iter().filter_map(|(ours, theirs)| {
            Some((*ours, self.median(ours)?, *theirs, self.median(theirs)?))
        })
    }

    fn print(&self, bytes: usize, rounds: usize) {
        println!("{} MiB, medians of {rounds} rounds", bytes >> 20);
        println!("| what | time | reference | time | times its speed |");
        println!("|---|---|---|---|---|");
        for (what, ours, reference, theirs) in self.rows() {
            let ratio = theirs / ours;
            let (ours, theirs) = (shown(ours), shown(theirs));
            println!("| {what} | {ours} | {reference} | {theirs} | {ratio:.2} |");
        }
    }

    fn json(&self, bytes: usize, rounds: usize) -> serde_json::Value {
        let rows = self.rows().map(|(what, seconds, reference, theirs)| {
            serde_json::json!({
                "what": what,
                "seconds": seconds,
                "reference": reference,
                "reference_seconds": theirs,
                "times_its_speed": theirs / seconds,
            })
        });
        let rows: Vec<_> = rows.collect();
        serde_json::json!({
            "schema": "ckptdb.bench.store/1",
            "bytes": bytes,
            "rounds": rounds,
            "rows": rows,
        })
    }
}

fn shown(seconds: f64) -> String {
    if seconds < 1e-3 {
        format!("{:.1} us", seconds * 1e6)
    } else {
        format!("{:.1} ms", seconds * 1e3)
    }
}

/// Has the system read from the disk what is read next, if that is allowed.
fn drop_caches() -> bool {
    std::fs::write("/proc/sys/vm/drop_caches", "1").is_ok()
}

fn write_plainly(path: &Path, pieces: &[&[u8]]) {
    let mut file = File::create(path).unwrap();
    for piece in pieces {
        file.write_all(piece).unwrap();
    }
    file.sync_data().unwrap();
}

fn read_plainly(path: &Path, piece: usize) {
    let mut file = File::open(path).unwrap();
    let mut left = usize::try_from(file.metadata().unwrap().len()).unwrap();
    let mut read = Vec::new();
    while left > 0 {
        let mut bytes = vec![0; left.min(piece)];
        file.read_exact(&mut bytes).unwrap();
        left -= bytes.len();
        read.push(bytes);
    }
    std::hint::black_box(&read);
}

fn tensors(state: &[u8]) -> Vec<(String, TensorSlice<'_>)> {
    let tensor = |(number, bytes): (usize, _)| {
        let tensor = TensorSlice::new(DType::F32, &[<[u8]>::len(bytes) / 4], bytes).unwrap();
        (format!("layer.{number:04}"), tensor)
    };
    state.chunks(TENSOR).enumerate().map(tensor).collect()
}

/// What the safetensors library takes to write a file that survives a power failure.
fn write_safetensors(path: &Path, tensors: Vec<(String, TensorSlice<'_>)>) {
    safetensors::serialize_to_file(tensors, None, path).unwrap();
    File::open(path).unwrap().sync_all().unwrap();
}

fn load_safetensors(path: &Path) {
    let bytes = Bytes::from(std::fs::read(path).unwrap());
    let read = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    std::hint::black_box(read.tensors());
}

/// Has the disk done what it was given.
fn settle() {
    rustix::fs::sync();
    std::thread::sleep(Duration::from_millis(500));
}

fn plain(times: &mut Times, folder: &Path, state: &[u8]) {
    let path = folder.join("plain");
    let pieces: Vec<&[u8]> = state.chunks(TENSOR).collect();
    times.take("write + fdatasync", || write_plainly(&path, &pieces));
    times.take("read, cached", || read_plainly(&path, TENSOR));
    if drop_caches() {
        times.take("read, cold", || read_plainly(&path, TENSOR));
    }
    std::fs::remove_file(&path).unwrap();
}

fn library(times: &mut Times, folder: &Path, state: &[u8]) {
    let path = folder.join("library");
    times.take("safetensors + fsync", || {
        write_safetensors(&path, tensors(state));
    });
    times.take("safetensors, cached", || load_safetensors(&path));
    std::fs::remove_file(&path).unwrap();
}

fn kernels(times: &mut Times, state: &[u8]) {
    times.take("BLAKE3, all cores", || {
        let cores = std::thread::available_parallelism().unwrap().get();
        std::thread::scope(|scope| {
            for part in state.chunks(state.len().div_ceil(cores)) {
                scope.spawn(|| std::hint::black_box(blake3::hash(part)));
            }
        });
    });
}

fn large(times: &mut Times, folder: &Path, state: &[u8], round: usize) {
    let path = folder.join(format!("{round}.ckptdb"));
    let store = Store::create(&path).unwrap();
    let first = times.take("save, new", || save(&store, 1, state));
    // Once before: what has been written need not have stayed in the system's cache.
    first.load().unwrap();
    times.take("load, cached", || {
        std::hint::black_box(first.load().unwrap())
    });
    let mut buffers: Vec<(String, Vec<u8>)> = tensors(state)
        .into_iter()
        .map(|(name, _)| (name, vec![0; TENSOR.min(state.len())]))
        .collect();
    times.take("load into buffers, cached", || {
        for (name, buffer) in &mut buffers {
            first.read_into(name, buffer).unwrap();
        }
    });
    drop(buffers);
    if drop_caches() {
        times.take("load, cold", || std::hint::black_box(first.load().unwrap()));
    }
    times.take("save, unchanged", || save(&store, 2, state));
    // The first twentieth.
    let mut changed = state.to_vec();
    let part = changed.len() / 20;
    changed[..part].iter_mut().for_each(|byte| *byte ^= 0x55);
    times.take("save, 5 % changed", || save(&store, 3, &changed));
    drop(changed);
    beside::measure(times, &store, state);
    store.close();
    std::fs::remove_file(&path).unwrap();
}

fn with_tensors<'s>(store: &Store, iteration: u64, state: &'s [u8]) -> Save<'s> {
    let job = store.job("bench").unwrap();
    job.save(iteration).tensors(tensors(state))
}

fn save(store: &Store, iteration: u64, state: &[u8]) -> Checkpoint {
    with_tensors(store, iteration, state)
        .commit()
        .unwrap()
        .checkpoint
}

/// One entry of many.
fn chosen(times: &mut Times, folder: &Path) {
    let state = noise(1, ENTRIES * ENTRY);
    let plain = folder.join("plain");
    write_plainly(&plain, &[&state]);
    let file = File::open(&plain).unwrap();
    let path = folder.join("chosen.ckptdb");
    let store = Store::create(&path).unwrap();
    let views = state.chunks(ENTRY).enumerate().map(|(number, bytes)| {
        let tensor = TensorSlice::new(DType::F32, &[ENTRY / 4], bytes).unwrap();
        (format!("layer.{number:04}"), tensor)
    });
    let save = store.job("bench").unwrap().save(1).tensors(views);
    let checkpoint = save.commit().unwrap().checkpoint;
    for number in (0..ENTRIES).step_by(7) {
        times.take("read one of 1,000", || {
            let mut bytes = vec![0; ENTRY];
            let at = (number * ENTRY) as u64;
            std::os::unix::fs::FileExt::read_exact_at(&file, &mut bytes, at).unwrap();
            std::hint::black_box(&bytes);
        });
        let name = format!("layer.{number:04}");
        times.take("load one of 1,000", || {
            std::hint::black_box(checkpoint.read(&name).unwrap())
        });
    }
    drop(checkpoint);
    store.close();
    std::fs::remove_file(&plain).unwrap();
    std::fs::remove_file(&path).unwrap();
}

/// Checkpoints of a training, each after the one before, as files and in a store; one first, and
/// then the other.
fn trained(times: &mut Times, folder: &Path, series: &[Vec<u8>], round: usize) {
    let plain = folder.join("plain");
    let path = folder.join("series.ckptdb");
    let options = Options {
        compression: Compression::Default,
        ..Options::default()
    };
    let store = Store::create_with(&path, options).unwrap();
    let job = store.job("series").unwrap();
    for (iteration, bytes) in (0..).zip(series) {
        let parsed = safetensors::SafeTensors::deserialize(bytes).unwrap();
        let write = |times: &mut Times| {
            times.take("series, write + fdatasync", || {
                write_plainly(&plain, &[bytes]);
            });
        };
        let is_first = (iteration + round).is_multiple_of(2);
        if is_first {
            write(times);
        }
        let saved = times.take("series, default codec", || {
            let save = job.save(iteration as u64).tensors(parsed.tensors());
            save.commit().unwrap()
        });
        if !is_first {
            write(times);
        }
        times.take("series, safetensors", || load_safetensors(&plain));
        std::fs::remove_file(&plain).unwrap();
        let loaded = times.take("series, load", || saved.checkpoint.load().unwrap());
        let shown: HashMap<_, _> = parsed.tensors().into_iter().collect();
        for (name, (_, data)) in &loaded {
            assert!(shown[name].data() == &**data, "{name}");
        }
    }
    drop(job);
    store.close();
    trained_cold(times, (&plain, &path), series, round);
    std::fs::remove_file(&path).unwrap();
}

/// The same checkpoints, of which neither the system's cache nor the engine's has anything; not
/// between the saves, which would have to read from the disk what they are written against.
fn trained_cold(
    times: &mut Times,
    (plain, path): (&Path, &Path),
    series: &[Vec<u8>],
    round: usize,
) {
    if !drop_caches() {
        return;
    }
    for (number, bytes) in series.iter().enumerate() {
        write_plainly(plain, &[bytes]);
        settle();
        let store = Store::open(path).unwrap();
        let checkpoint = store.resolve(&format!("series@{number}")).unwrap();
        for turn in 0..2 {
            drop_caches();
            if (number + round + turn).is_multiple_of(2) {
                times.take("series, safetensors, cold", || load_safetensors(plain));
            } else {
                let load = || drop(std::hint::black_box(checkpoint.load().unwrap()));
                times.take("series, load, cold", load);
            }
        }
        drop(checkpoint);
        store.close();
        std::fs::remove_file(plain).unwrap();
    }
}
