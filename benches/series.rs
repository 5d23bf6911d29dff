//! Series of checkpoints, stored whole: bytes of the file over bytes of the checkpoints, and the
//! speed of saving and loading them beside memcpy and BLAKE3 in the same run.
//!
//! `cargo bench --bench series -- [--compression=NAME,...] [--threads=N] [--recent=MB]
//! [--depth=N] FOLDER...`:
//! each folder holds a series, `*.safetensors`, `*.json`, `*.pt` or `*.zip`, in the order of their
//! names. Every checkpoint is loaded again and compared. Files go to `CKPTDB_BENCH_DIR`, or the
//! system's temporary folder, and are removed.

#![expect(clippy::print_stdout, reason = "a benchmark prints its figures")]
#![expect(clippy::unwrap_used, reason = "a benchmark stops at the first failure")]
#![expect(clippy::disallowed_methods, reason = "the reference is a plain file")]
#![expect(
    clippy::cast_precision_loss,
    reason = "ratios are printed with three digits"
)]

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use ckptdb::{Compression, Options, Saved, Store};
use safetensors::SafeTensors;

/// The quickest of so many loads of a checkpoint is compared with others'.
const LOADS: usize = 3;

fn main() {
    let mut compressions = vec![Compression::None, Compression::Fast, Compression::Default];
    let mut folders = Vec::new();
    let mut options = Options::default();
    for argument in std::env::args().skip(1).filter(|text| text != "--bench") {
        match argument.split_once('=') {
            Some(("--compression", names)) => {
                compressions = names.split(',').map(|name| name.parse().unwrap()).collect();
            }
            Some(("--threads", number)) => options.threads = number.parse().unwrap(),
            Some(("--depth", number)) => options.chain_depth = number.parse().unwrap(),
            Some(("--recent", mb)) => options.recent_bytes = mb.parse::<usize>().unwrap() << 20,
            _ => folders.push(argument),
        }
    }
    if folders.is_empty() {
        // `cargo bench` without a choice, and `cargo test --benches`, only see that it builds.
        println!("name folders with series of checkpoints");
        return;
    }
    println!(
        "| series | checkpoints | MB | compression | file / raw | save MB/s | load MB/s | slowest \
         load | of a whole one's time a byte | memcpy | BLAKE3 |"
    );
    println!("|---|---|---|---|---|---|---|---|---|---|---|");
    for folder in &folders {
        for compression in &compressions {
            measure(Path::new(folder), *compression, &options);
        }
    }
}

/// The files of a series, in the order of their names.
fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).unwrap();
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    let is = |path: &PathBuf, kind: &str| path.extension().is_some_and(|found| found == kind);
    let kinds = ["safetensors", "json", "pt", "zip"];
    let kind = kinds
        .into_iter()
        .find(|kind| files.iter().any(|path| is(path, kind)));
    files.retain(|path| kind.is_some_and(|kind| is(path, kind)));
    files.sort();
    files
}

fn save(store: &Store, iteration: u64, bytes: &[u8], compression: Compression) -> Saved {
    let save = store.job("series").unwrap().save(iteration);
    let save = save.compression(compression);
    match SafeTensors::deserialize(bytes) {
        Ok(tensors) => {
            let views = tensors.iter().collect::<Vec<_>>();
            save.tensors(views).commit().unwrap()
        }
        Err(_) => match std::str::from_utf8(bytes) {
            Ok(text) => save.document_text("state", text).commit().unwrap(),
            Err(_) => save.file("state", bytes).commit().unwrap(),
        },
    }
}

fn measure(folder: &Path, compression: Compression, options: &Options) {
    let place = std::env::var_os("CKPTDB_BENCH_DIR").map_or_else(std::env::temp_dir, PathBuf::from);
    let path = place.join(format!("series-{}.ckptdb", std::process::id()));
    let store = Store::create_with(&path, options.clone()).unwrap();
    let files = files(folder);
    let (mut raw, mut saving) = (0, Duration::ZERO);
    let (mut copying, mut hashing) = (Duration::ZERO, Duration::ZERO);
    for (iteration, file) in (1..).zip(&files) {
        let bytes = std::fs::read(file).unwrap();
        raw += bytes.len();
        let begun = Instant::now();
        let saved = save(&store, iteration, &bytes, compression);
        saving += begun.elapsed();
        drop(saved);
        let mut copy = vec![1; bytes.len()];
        let begun = Instant::now();
        copy.copy_from_slice(&bytes);
        copying += begun.elapsed();
        let begun = Instant::now();
        std::hint::black_box(blake3::hash(&copy));
        hashing += begun.elapsed();
    }
    store.compact().unwrap();
    let mut loads = Vec::new();
    let (mut loading, mut longest) = (Duration::ZERO, Duration::ZERO);
    for (iteration, file) in (1_u64..).zip(&files) {
        let found = store.resolve(&format!("series@{iteration}")).unwrap();
        let begun = Instant::now();
        let loaded = found.load().unwrap();
        let mut quickest = begun.elapsed();
        loading += quickest;
        let bytes = std::fs::read(file).unwrap();
        if let Ok(tensors) = SafeTensors::deserialize(&bytes) {
            assert_eq!(tensors.len(), loaded.len());
            for (name, view) in tensors.iter() {
                assert!(loaded[name].1 == view.data(), "{name} of {iteration}");
            }
        } else if std::str::from_utf8(&bytes).is_err() {
            assert!(loaded["state"].1 == bytes, "{iteration}");
        }
        drop(loaded);
        for _ in 1..LOADS {
            let begun = Instant::now();
            drop(found.load().unwrap());
            quickest = quickest.min(begun.elapsed());
        }
        longest = longest.max(quickest);
        loads.push(quickest.as_secs_f64() / bytes.len() as f64);
    }
    // What it takes on the disk: a file that has grown has holes.
    let stored = store.stats().unwrap().allocated_bytes;
    drop(store);
    std::fs::remove_file(&path).unwrap();
    let speed = |time: Duration| raw as f64 / 1e6 / time.as_secs_f64();
    // The first has no base.
    let slowest = loads.iter().copied().fold(0.0, f64::max) / loads[0];
    println!(
        "| {} | {} | {:.0} | {compression:?} | {:.4} | {:.0} | {:.0} | {longest:.1?} | \
         {slowest:.1} x | {:.0} | {:.0} |",
        folder.file_name().unwrap().to_string_lossy(),
        files.len(),
        raw as f64 / 1e6,
        stored as f64 / raw as f64,
        speed(saving),
        speed(loading),
        speed(copying),
        speed(hashing),
    );
}
