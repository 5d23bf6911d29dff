//! Threads over one store in many thousand orders: every lock that they meet at is shuttle's, which
//! decides who goes on. Whatever the order, nobody waits for ever, what is acknowledged is there,
//! and the store verifies.
//!
//! ```console
//! RUSTFLAGS="--cfg ckptdb_schedules" cargo test --manifest-path fuzz/Cargo.toml \
//!     --target-dir fuzz/target/schedules --test schedules
//! ```
#![cfg(ckptdb_schedules)]

#[path = "../../tests/support/table.rs"]
mod table;

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use ckptdb::policy::{Keep, Retention};
use ckptdb::{
    Backend, CheckpointId, Clock, Error, Locks, ManualClock, Medium, MemoryMedium, Options, Store,
    Timestamp, VerifyDepth,
};
use shuttle::scheduler::{PctScheduler, RandomScheduler};
use shuttle::{Config, FailurePersistence, Runner};

/// Schedules of one test: half of them at random, half with few preemptions at bad moments.
const SCHEDULES: usize = 5_000;
/// Preemptions that the second half has.
const PREEMPTIONS: usize = 3;
const SEED: u64 = 2_026;

fn config() -> Config {
    let mut config = Config::new();
    // The engine's frames are large.
    config.stack_size = 1 << 20;
    config.failure_persistence = FailurePersistence::Print;
    config
}

/// Runs `story` in so many orders, each from the start.
fn in_every_order(name: &str, story: impl Fn() + Send + Sync + 'static) {
    let story = Arc::new(story);
    let half = SCHEDULES / 2;
    let told = Arc::new(AtomicU64::new(0));
    let run = || {
        let (story, told) = (Arc::clone(&story), Arc::clone(&told));
        move || {
            told.fetch_add(1, Ordering::SeqCst);
            story();
        }
    };
    Runner::new(RandomScheduler::new_from_seed(SEED, half), config()).run(run());
    Runner::new(
        PctScheduler::new_from_seed(SEED, PREEMPTIONS, half),
        config(),
    )
    .run(run());
    let told = told.load(Ordering::SeqCst);
    println!("{name}: {told} schedules, seed {SEED}");
    assert!(told >= SCHEDULES as u64);
}

/// Time that passes whenever somebody looks, the same in each run of a schedule: a reclaim gives
/// way after each checkpoint.
#[derive(Debug, Default)]
struct Looked(ManualClock);

impl Clock for Looked {
    fn now(&self) -> Timestamp {
        self.0.now()
    }

    fn elapsed(&self) -> Duration {
        self.0.advance(Duration::from_millis(100));
        self.0.elapsed()
    }
}

fn options() -> Options {
    Options {
        cache_bytes: 1 << 20,
        ballast_bytes: 0,
        clock: Arc::new(Looked::default()),
        ..Options::default()
    }
}

fn store() -> Store {
    Store::create_in(Arc::new(MemoryMedium::default()), options()).unwrap()
}

/// Memory that several handles share as processes do a file.
#[derive(Clone, Debug, Default)]
struct Shared {
    memory: MemoryMedium,
    table: table::Table,
}

impl Medium for Shared {
    fn open(&self) -> io::Result<Box<dyn Backend>> {
        Ok(Box::new(Opened(self.memory.open()?)))
    }

    fn path(&self) -> &Path {
        self.memory.path()
    }

    fn locks(&self) -> io::Result<Option<Box<dyn Locks>>> {
        Ok(Some(self.table.locks()))
    }
}

#[derive(Debug)]
struct Opened(Box<dyn Backend>);

impl Backend for Opened {
    fn len(&self) -> io::Result<u64> {
        self.0.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.0.read(offset, out)
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.0.write(offset, data)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.0.set_len(len)
    }

    fn sync(&self) -> io::Result<()> {
        self.0.sync()
    }

    fn try_lock(&self) -> io::Result<bool> {
        Ok(true)
    }

    fn unlock(&self) -> io::Result<()> {
        Ok(())
    }
}

/// Bytes of their own for a seed, and bytes that all share; long enough to be chunks.
fn content(seed: u8) -> [Vec<u8>; 2] {
    let noise = |seed: u8| {
        let mut bytes = vec![0; 5_000];
        let mut hasher = blake3::Hasher::new();
        hasher.update(&[seed]);
        hasher.finalize_xof().fill(&mut bytes);
        bytes
    };
    [noise(0), noise(seed)]
}

fn save(store: &Store, job: &str, iteration: u64, seed: u8) -> Result<CheckpointId, Error> {
    let [shared, own] = content(seed);
    let job = store.job(job)?;
    let save = job.save(iteration).bytes("shared", &shared);
    Ok(save.bytes("own", &own).commit()?.checkpoint.id)
}

/// Loads a checkpoint and compares it.
fn holds(store: &Store, id: CheckpointId, seed: u8) {
    let found = store.resolve(&id.to_string()).unwrap();
    let [shared, own] = content(seed);
    assert_eq!(found.read("shared").unwrap(), shared.as_slice());
    assert_eq!(found.read("own").unwrap(), own.as_slice());
}

fn verifies(store: &Store) {
    let report = store.verify(VerifyDepth::Full).unwrap();
    assert!(report.is_clean(), "{:?}", report.damage);
}

type Thread<T> = shuttle::thread::JoinHandle<T>;

fn spawn<T: Send + 'static>(
    store: &Store,
    run: impl FnOnce(Store) -> T + Send + 'static,
) -> Thread<T> {
    let store = store.clone();
    shuttle::thread::spawn(move || run(store))
}

#[test]
fn jobs_save_side_by_side_and_a_reader_sees_only_whole_checkpoints() {
    in_every_order("savers and a reader", || {
        let store = store();
        let savers: Vec<_> = ["NQ", "ES"]
            .into_iter()
            .zip(1..)
            .map(|(job, seed)| {
                spawn(&store, move |store| {
                    [1, 2].map(|iteration| save(&store, job, iteration, seed).unwrap())
                })
            })
            .collect();
        let reader = spawn(&store, |store| {
            let mut newest = 0;
            for _ in 0..2 {
                let job = store.job("NQ").unwrap();
                if let Some(latest) = job.latest().unwrap() {
                    assert!(latest.iteration >= newest, "latest went back");
                    newest = latest.iteration;
                    holds(&store, latest.id, 1);
                }
            }
        });
        for (saver, seed) in savers.into_iter().zip(1..) {
            for id in saver.join().unwrap() {
                holds(&store, id, seed);
            }
        }
        reader.join().unwrap();
        verifies(&store);
    });
}

#[test]
fn two_trainers_of_one_job_never_both_get_the_same_iteration() {
    in_every_order("one job, two savers", || {
        let store = store();
        let savers = [1, 2].map(|seed| spawn(&store, move |store| save(&store, "NQ", 7, seed)));
        let saved: Vec<_> = savers
            .into_iter()
            .map(|saver| saver.join().unwrap())
            .collect();
        let won: Vec<_> = saved
            .iter()
            .filter_map(|saved| saved.as_ref().ok())
            .collect();
        assert_eq!(won.len(), 1, "{saved:?}");
        for (saved, seed) in saved.iter().zip(1..) {
            match saved {
                Ok(id) => holds(&store, *id, seed),
                Err(error) => assert!(matches!(error, Error::Conflict { .. }), "{error}"),
            }
        }
        verifies(&store);
    });
}

#[test]
fn what_is_deleted_and_reclaimed_takes_nothing_with_it_that_a_save_shares() {
    in_every_order("a saver, a deleter, a reader", || {
        let store = store();
        let old = save(&store, "old", 1, 1).unwrap();
        let deleter = spawn(&store, move |store| {
            store.delete(old, true).unwrap();
            store.reclaim(true).unwrap();
        });
        let saver = spawn(&store, |store| save(&store, "NQ", 1, 1).unwrap());
        let reader = spawn(&store, move |store| {
            let read = store.resolve(&old.to_string()).and_then(|old| old.load());
            match read {
                Ok(entries) => assert_eq!(entries.len(), 2),
                Err(Error::Deleted { .. } | Error::NotFound { .. }) => {}
                Err(other) => panic!("{other}"),
            }
        });
        deleter.join().unwrap();
        holds(&store, saver.join().unwrap(), 1);
        reader.join().unwrap();
        verifies(&store);
    });
}

#[test]
fn a_store_that_is_reopened_or_compacted_under_its_users_loses_nothing() {
    in_every_order("a saver, a reopening, a compaction", || {
        let store = store();
        let first = save(&store, "NQ", 1, 1).unwrap();
        let reopener = spawn(&store, |store| store.reopen().unwrap());
        let compactor = spawn(&store, |store| store.compact().map(drop).unwrap());
        let saver = spawn(&store, |store| save(&store, "NQ", 2, 2).unwrap());
        holds(&store, first, 1);
        reopener.join().unwrap();
        compactor.join().unwrap();
        holds(&store, saver.join().unwrap(), 2);
        holds(&store, first, 1);
        verifies(&store);
    });
}

#[test]
fn handles_that_share_a_store_save_read_and_reclaim_in_whatever_order() {
    in_every_order("handles that share a store", || {
        let medium = Shared::default();
        let first = Store::create_in(Arc::new(medium.clone()), options()).unwrap();
        let [old, kept] = [1, 2].map(|iteration| save(&first, "old", iteration, 9).unwrap());
        let open = || Store::open_in(Arc::new(medium.clone()), options()).unwrap();
        let saver = spawn(&first, |store| {
            [1, 2].map(|iteration| save(&store, "NQ", iteration, 1).unwrap())
        });
        let other = spawn(&open(), |store| save(&store, "ES", 1, 1).unwrap());
        let remover = spawn(&open(), |store| {
            let newest = Retention::new([Keep::Latest(1)]).unwrap();
            store.job("old").unwrap().prune(&newest).unwrap();
            store.reclaim(true).unwrap();
            store.compact().unwrap();
        });
        // Two threads of one handle.
        let onlooker = open();
        let readers = [1, 2].map(|_| {
            spawn(&onlooker, |store| {
                let job = store.job("NQ").unwrap();
                if let Some(latest) = job.latest().unwrap() {
                    holds(&store, latest.id, 1);
                }
            })
        });
        let saved = saver.join().unwrap();
        let other = other.join().unwrap();
        remover.join().unwrap();
        for reader in readers {
            reader.join().unwrap();
        }
        let last = open();
        for store in [&first, &onlooker, &last] {
            for id in [saved[0], saved[1], other] {
                holds(store, id, 1);
            }
            holds(store, kept, 9);
            store.resolve(&old.to_string()).unwrap_err();
        }
        verifies(&last);
    });
}
