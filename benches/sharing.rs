//! What it costs to share a store: `cargo bench --bench sharing -- [SAVES] [LARGE_BYTES]`. The same
//! saves from one process and from eight, and small saves of one process with sharing and without,
//! in turn, in the same run. Every eighth state is large. Files go to `CKPTDB_BENCH_DIR`, or the
//! system's temporary folder, and are removed.

#![expect(clippy::print_stdout, reason = "a benchmark prints its figures")]
#![expect(clippy::unwrap_used, reason = "a benchmark stops at the first failure")]
#![expect(clippy::disallowed_methods, reason = "it measures time")]

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use ckptdb::{Options, Store};
use noise::noise;

#[path = "support/noise.rs"]
mod noise;

const PROCESSES: u64 = 8;
const SMALL: usize = 2000;
const ROUNDS: usize = 3;

fn main() {
    let arguments: Vec<String> = std::env::args()
        .skip(1)
        .filter(|argument| argument != "--bench")
        .collect();
    let number = |at: usize| -> Option<u64> { Some(arguments.get(at)?.parse().unwrap()) };
    if let [what, path, job, ..] = &arguments[..]
        && what == "child"
    {
        let store = Store::open_with(path, shared()).unwrap();
        let job = job.parse().unwrap();
        return save_all(&store, job, number(3).unwrap(), number(4).unwrap());
    }
    let Some(saves) = number(0) else {
        // `cargo bench` without a choice, and `cargo test --benches`, only see that it builds.
        println!("say how many saves each process shall do");
        return;
    };
    let large = number(1).unwrap_or(20_000_000);
    let folder = match std::env::var_os("CKPTDB_BENCH_DIR") {
        Some(place) => tempfile::tempdir_in(place).unwrap(),
        None => tempfile::tempdir().unwrap(),
    };
    let (mut alone, mut together) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        alone.push(in_one(&folder.path().join("one.ckptdb"), saves, large));
        together.push(in_eight(&folder.path().join("eight.ckptdb"), saves, large));
    }
    let (alone, together) = (median(alone), median(together));
    println!("{PROCESSES} x {saves} saves of {SMALL} bytes, every eighth of {large}");
    println!(
        "  one process {alone:?}, {PROCESSES} processes {together:?}: {:.2} of its speed",
        alone.as_secs_f64() / together.as_secs_f64()
    );
    small(folder.path());
}

fn shared() -> Options {
    Options {
        share: true,
        ..Options::default()
    }
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times[times.len() / 2]
}

fn save_all(store: &Store, number: u64, saves: u64, large: u64) {
    let large = usize::try_from(large).unwrap();
    let job = store.job(&format!("market/{number}")).unwrap();
    for iteration in 1..=saves {
        let len = if iteration % 8 == 3 { large } else { SMALL };
        let bytes = noise(number << 32 | iteration, len);
        job.save(iteration).bytes("state", &bytes).commit().unwrap();
    }
}

fn in_one(path: &Path, saves: u64, large: u64) -> Duration {
    let store = Store::create(path).unwrap();
    let begun = Instant::now();
    for number in 0..PROCESSES {
        save_all(&store, number, saves, large);
    }
    let time = begun.elapsed();
    drop(store);
    std::fs::remove_file(path).unwrap();
    time
}

fn in_eight(path: &Path, saves: u64, large: u64) -> Duration {
    drop(Store::create_with(path, shared()).unwrap());
    let begun = Instant::now();
    let start = |number: u64| {
        Command::new(std::env::current_exe().unwrap())
            .arg("child")
            .arg(path)
            .args([number, saves, large].map(|number| number.to_string()))
            .stdout(Stdio::null())
            .spawn()
            .unwrap()
    };
    let children: Vec<_> = (0..PROCESSES).map(start).collect();
    for mut child in children {
        assert!(child.wait().unwrap().success());
    }
    let time = begun.elapsed();
    std::fs::remove_file(path).unwrap();
    time
}

/// Small saves of one process, with sharing and without, in turn.
fn small(folder: &Path) {
    const SAVES: u64 = 2000;
    let path = |name: &str| -> PathBuf { folder.join(name) };
    let shared = Store::create_with(path("shared.ckptdb"), shared()).unwrap();
    let alone = Store::create(path("alone.ckptdb")).unwrap();
    let mut times = [Vec::new(), Vec::new()];
    for iteration in 1..=SAVES {
        let bytes = noise(iteration, SMALL);
        for (store, times) in [&shared, &alone].into_iter().zip(&mut times) {
            let job = store.job("small").unwrap();
            let begun = Instant::now();
            job.save(iteration).bytes("state", &bytes).commit().unwrap();
            times.push(begun.elapsed());
        }
    }
    let [shared, alone] = times.map(median);
    println!(
        "  {SAVES} saves of {SMALL} bytes by one process: p50 {shared:?} with sharing, {alone:?} \
         without: {:.3}",
        shared.as_secs_f64() / alone.as_secs_f64()
    );
}
