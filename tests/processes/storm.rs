//! The kill storm: a worker is killed at any instant, again and again, and after each kill
//! everything that it acknowledged is there.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use ckptdb::Store;
use tempfile::TempDir;

use crate::child::{self, Process};
use crate::content::Random;
use crate::model::{Model, Outcome};
use crate::operation::Operation;

/// What the ordinary run must reach.
const KILLS: u64 = 2_000;
const SAVES: u64 = 5_000;
/// Kills after which a new file is begun: of the old one, every instant has been seen.
const KILLS_OF_A_FILE: u64 = 100;

/// What a storm has done.
#[derive(Default)]
struct Tally {
    kills: u64,
    /// Kills inside of an operation, by its kind and by what became of it.
    inside: BTreeMap<String, [u64; 3]>,
    acknowledged: BTreeMap<String, u64>,
}

impl Tally {
    fn saves(&self) -> u64 {
        let is_save = |kind: &str| {
            ["save", "merge", "overwrite"]
                .iter()
                .any(|w| kind.starts_with(w))
        };
        let saves = self.acknowledged.iter().filter(|(kind, _)| is_save(kind));
        saves.map(|(_, count)| count).sum()
    }

    fn add(&mut self, other: Self) {
        self.kills += other.kills;
        for (kind, counts) in other.inside {
            let sums = self.inside.entry(kind).or_default();
            sums.iter_mut().zip(counts).for_each(|(sum, n)| *sum += n);
        }
        for (kind, count) in other.acknowledged {
            *self.acknowledged.entry(kind).or_default() += count;
        }
    }

    fn print(&self, took: Duration) {
        let inside: u64 = self.inside.values().flatten().sum();
        println!(
            "{} kills in {:.0} s, {inside} inside of an operation; {} acknowledged saves",
            self.kills,
            took.as_secs_f64(),
            self.saves()
        );
        for (kind, [applied, absent, partly]) in &self.inside {
            println!("  killed in {kind}: {applied} done, {absent} not, {partly} in part");
        }
        for (kind, count) in &self.acknowledged {
            println!("  acknowledged {kind}: {count}");
        }
    }
}

/// When a storm ends.
#[derive(Clone, Copy)]
enum Until {
    Counts { kills: u64, saves: u64 },
    Time(Instant),
}

impl Until {
    fn is_over(self, tally: &Tally) -> bool {
        match self {
            Self::Counts { kills, saves } => tally.kills >= kills && tally.saves() >= saves,
            Self::Time(end) => Instant::now() >= end,
        }
    }
}

/// One store under the storm.
struct Storm {
    random: Random,
    path: PathBuf,
    model: Model,
    next_iteration: u64,
    tally: Tally,
}

impl Storm {
    /// Works on store after store in `folder`.
    fn run(folder: &Path, seed: u64, until: Until) -> Tally {
        let mut tally = Tally::default();
        let mut file = 0;
        while !until.is_over(&tally) {
            file += 1;
            let path = folder.join(format!("{file}.ckptdb"));
            drop(Store::create(&path).unwrap());
            let mut storm = Self {
                random: Random::new(seed ^ (file << 32)),
                path,
                model: Model::default(),
                next_iteration: 1,
                tally: std::mem::take(&mut tally),
            };
            let end = storm.tally.kills + KILLS_OF_A_FILE;
            while storm.tally.kills < end && !until.is_over(&storm.tally) {
                storm.strike();
            }
            tally = storm.tally;
            std::fs::remove_file(&storm.path).unwrap();
        }
        tally
    }

    /// Starts a worker, kills it, and looks at what it left.
    fn strike(&mut self) {
        let seed = self.random.word();
        let mut command = child::command("worker");
        command
            .env("CKPTDB_TEST_STORE", &self.path)
            .env("CKPTDB_TEST_SEED", seed.to_string())
            .env("CKPTDB_TEST_NEXT", self.next_iteration.to_string());
        let mut worker = Process::start(&mut command);
        let mut told = Vec::new();
        let magnitude = 4 + self.random.below(12);
        let microseconds = self.random.below(1 << magnitude);
        if self.random.below(4) == 0 {
            // At any time, the process's start included.
            thread::sleep(Duration::from_micros(microseconds));
        } else {
            // Inside of an operation that has just begun, or soon after it.
            let mut intents = 1 + self.random.below(9);
            // Deletes are half of all there is.
            let passes_deletes = self.random.below(4) > 0;
            while intents > 0 {
                let line = worker.line().unwrap();
                let is_delete = passes_deletes && line.starts_with("> delete");
                intents -= u64::from(line.starts_with('>') && !is_delete);
                told.push(line);
            }
            wait(Duration::from_micros(microseconds));
        }
        worker.kill();
        told.extend(worker.rest());
        let status = worker.wait();
        assert_eq!(status.code(), None, "{status}: killed, after {told:#?}");
        self.look(&told, seed);
    }

    /// Replays what the worker told on the model, and compares.
    fn look(&mut self, told: &[String], seed: u64) {
        let mut cut = None;
        for line in told {
            match line.split_once(' ').unwrap() {
                (">", operation) => {
                    let operation: Operation = operation.parse().unwrap();
                    if let Operation::Save(state) = operation {
                        self.next_iteration = state.iteration + 1;
                    }
                    cut = Some(operation);
                }
                (_, id) => {
                    let operation = cut.take().unwrap();
                    self.model.apply(operation, id.parse().unwrap());
                    *self.tally.acknowledged.entry(operation.kind()).or_default() += 1;
                }
            }
        }
        let _evidence = Evidence {
            path: &self.path,
            seed,
            cut,
        };
        let store = Store::open(&self.path).unwrap();
        let outcome = self.model.settle(&store, cut);
        self.tally.kills += 1;
        if let Some(cut) = cut {
            let counts = self.tally.inside.entry(cut.kind()).or_default();
            match outcome {
                Outcome::Applied => counts[0] += 1,
                Outcome::Absent | Outcome::Nothing => counts[1] += 1,
                Outcome::Partly => counts[2] += 1,
            }
        }
    }
}

/// Keeps the store of a failure, and says where it is.
struct Evidence<'a> {
    path: &'a Path,
    seed: u64,
    cut: Option<Operation>,
}

impl Drop for Evidence<'_> {
    fn drop(&mut self) {
        if thread::panicking() {
            let name = format!("killed-{}.ckptdb", self.seed);
            let kept = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
            let copied = std::fs::copy(self.path, &kept);
            println!(
                "the kill cut {:?} off; kept: {} ({copied:?})",
                self.cut,
                kept.display()
            );
        }
    }
}

/// Waits more exactly than a sleep does.
fn wait(time: Duration) {
    let begun = Instant::now();
    while begun.elapsed() < time {
        std::hint::spin_loop();
    }
}

/// Where the storm's stores lie: on the disk, and in memory where a kill comes sooner after a
/// write.
fn folders() -> [TempDir; 2] {
    let memory = Path::new("/dev/shm");
    let second = TempDir::new_in(memory).or_else(|_| TempDir::new());
    [TempDir::new().unwrap(), second.unwrap()]
}

#[test]
fn a_process_killed_at_any_instant_loses_nothing_that_it_acknowledged() {
    let begun = Instant::now();
    let minutes: Option<u64> = std::env::var("CKPTDB_SOAK_MINUTES")
        .ok()
        .map(|text| text.parse().unwrap());
    let until = match minutes {
        Some(minutes) => Until::Time(begun + Duration::from_secs(60 * minutes)),
        None => Until::Counts {
            kills: KILLS / 2,
            saves: SAVES / 2,
        },
    };
    let seed = minutes.map_or(1, |_| u64::from(std::process::id()));
    let folders = folders();
    let mut total = Tally::default();
    thread::scope(|scope| {
        let storms: Vec<_> = folders
            .iter()
            .zip([seed << 1, (seed << 1) | 1])
            .map(|(folder, seed)| scope.spawn(move || Storm::run(folder.path(), seed, until)))
            .collect();
        for storm in storms {
            total.add(storm.join().unwrap());
        }
    });
    total.print(begun.elapsed());
    if minutes.is_none() {
        assert!(total.kills >= KILLS && total.saves() >= SAVES);
        let inside: u64 = total.inside.values().flatten().sum();
        assert!(inside >= KILLS / 2, "{inside} kills inside of operations");
    }
}
