//! What it costs to share a store: `cargo bench --bench sharing -- SAVES [LARGE_BYTES [MIB]]`. The
//! same saves from one process and from eight, small saves of one process with sharing and without,
//! and how long others wait while a process saves so many MiB. Every eighth state is large. Files
//! go to `CKPTDB_BENCH_DIR`, or the system's temporary folder, and are removed.

#![expect(clippy::print_stdout, reason = "a benchmark prints its figures")]
#![expect(clippy::unwrap_used, reason = "a benchmark stops at the first failure")]
#![expect(clippy::disallowed_methods, reason = "it measures time")]

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use ckptdb::interop::write_folder;
use ckptdb::{Event, Filter, Options, Sharing, Store, VerifyDepth};
use noise::noise;

#[path = "support/noise.rs"]
mod noise;

const PROCESSES: u64 = 8;
const SMALL: usize = 2000;
const ROUNDS: usize = 3;
/// The number of the job that saves one state of so many MiB.
const LARGE_JOB: u64 = 99;

fn main() {
    let arguments: Vec<String> = std::env::args()
        .skip(1)
        .filter(|argument| argument != "--bench")
        .collect();
    let number = |at: usize| -> Option<u64> { Some(arguments.get(at)?.parse().unwrap()) };
    if let [what, path, job, ..] = &arguments[..]
        && what == "child"
    {
        let store = Store::open(path).unwrap();
        let job = job.parse().unwrap();
        if job == LARGE_JOB {
            return save_large(&store, number(3).unwrap());
        }
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
    let path = folder.path().join("store.ckptdb");
    let [mut alone, mut threads, mut together] = [Vec::new(), Vec::new(), Vec::new()];
    for _ in 0..ROUNDS {
        alone.push(in_one(&path, false, saves, large));
        threads.push(in_one(&path, true, saves, large));
        together.push(in_eight(&path, saves, large));
    }
    let [alone, threads, together] = [alone, threads, together].map(median);
    println!("{PROCESSES} x {saves} saves of {SMALL} bytes, every eighth of {large}");
    for (name, time) in [("one thread", alone), ("a thread for each", threads)] {
        println!(
            "  one process, {name}: {time:?}; {PROCESSES} processes: {together:?}, {:.2} of its \
             speed",
            time.as_secs_f64() / together.as_secs_f64()
        );
    }
    small(folder.path());
    beside(
        &folder.path().join("beside.ckptdb"),
        number(2).unwrap_or(1024),
    );
}

fn sharing(sharing: Sharing) -> Options {
    Options {
        sharing,
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

/// One job after the other, or each in a thread.
fn in_one(path: &Path, threads: bool, saves: u64, large: u64) -> Duration {
    let store = Store::create_with(path, sharing(Sharing::Alone)).unwrap();
    let begun = Instant::now();
    if threads {
        std::thread::scope(|scope| {
            for number in 0..PROCESSES {
                let store = &store;
                scope.spawn(move || save_all(store, number, saves, large));
            }
        });
    } else {
        for number in 0..PROCESSES {
            save_all(&store, number, saves, large);
        }
    }
    let time = begun.elapsed();
    drop(store);
    std::fs::remove_file(path).unwrap();
    time
}

fn child(path: &Path, numbers: [u64; 3]) -> Child {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.arg("child").arg(path);
    command.args(numbers.map(|number| number.to_string()));
    command.stdout(Stdio::piped()).spawn().unwrap()
}

/// One state, and a word when it is begun.
fn save_large(store: &Store, mib: u64) {
    let bytes = noise(1, usize::try_from(mib << 20).unwrap());
    println!("begins");
    let job = store.job("large").unwrap();
    job.save(1).bytes("state", &bytes).commit().unwrap();
}

/// What the command line does beside a save, in processes of its own.
const COMMANDS: [&[&str]; 4] = [
    &["ls"],
    &["watch", "--times", "1"],
    &["verify"],
    &["export", "small@latest", "--force", "-o", "exported"],
];

fn program(arguments: &[&str], path: &Path) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ckptdb"));
    command.args(arguments).arg("-s").arg(path);
    command.current_dir(path.parent().unwrap());
    let output = command.output().unwrap();
    assert!(output.status.success(), "{output:?}");
}

/// How long whoever reads waits while another process saves.
fn beside(path: &Path, mib: u64) {
    let store = Store::create(path).unwrap();
    let job = store.job("small").unwrap();
    let state = noise(2, 1 << 20);
    for iteration in 1..=100 {
        let save = job.save(iteration).bytes("state", &state);
        save.event(Event::Periodic).commit().unwrap();
    }
    let mut saver = child(path, [LARGE_JOB, mib, 0]);
    let mut line = String::new();
    BufReader::new(saver.stdout.take().unwrap())
        .read_line(&mut line)
        .unwrap();
    let begun = Instant::now();
    let mut times: BTreeMap<&str, Vec<Duration>> = BTreeMap::new();
    let out = path.with_extension("out");
    while saver.try_wait().unwrap().is_none() {
        let mut timed = |name, run: &dyn Fn()| {
            let begun = Instant::now();
            run();
            times.entry(name).or_default().push(begun.elapsed());
        };
        timed("open, list 100", &|| {
            let store = Store::open(path).unwrap();
            assert!(store.list(&Filter::default()).unwrap().count() >= 100);
        });
        timed("latest, load 1 MiB", &|| {
            let latest = job.latest().unwrap().unwrap();
            assert!(latest.read("state").unwrap() == state);
        });
        timed("store.verify", &|| {
            assert!(store.verify(VerifyDepth::Full).unwrap().is_clean());
        });
        timed("export 1 MiB", &|| {
            let latest = job.latest().unwrap().unwrap();
            write_folder(&latest, &|_| true, &out).unwrap();
            std::fs::remove_dir_all(&out).unwrap();
        });
        for command in COMMANDS {
            timed(command[0], &|| program(command, path));
        }
    }
    println!(
        "  beside a save of {mib} MiB, which took {:?}:",
        begun.elapsed()
    );
    for (name, mut times) in times {
        times.sort_unstable();
        let at = |part: usize| times[(times.len() * part / 100).min(times.len() - 1)];
        println!(
            "    {name}: {} times, p50 {:?}, p99 {:?}, worst {:?}",
            times.len(),
            at(50),
            at(99),
            at(100)
        );
    }
    std::fs::remove_file(path).unwrap();
}

fn in_eight(path: &Path, saves: u64, large: u64) -> Duration {
    drop(Store::create(path).unwrap());
    let begun = Instant::now();
    let start = |number: u64| child(path, [number, saves, large]);
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
    let shared = Store::create_with(path("shared.ckptdb"), sharing(Sharing::Local)).unwrap();
    let alone = Store::create_with(path("alone.ckptdb"), sharing(Sharing::Alone)).unwrap();
    let mut times = [Vec::new(), Vec::new()];
    for iteration in 1..=SAVES {
        let bytes = noise(iteration, SMALL);
        // Which comes first changes, since the disk is not the same after a save.
        for place in [iteration % 2, 1 - iteration % 2]
            .map(|place| place == 1)
            .map(usize::from)
        {
            let (store, times) = ([&shared, &alone][place], &mut times[place]);
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
