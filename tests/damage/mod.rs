//! No wrong answer from a damaged file: every byte of a small store is changed, and everything
//! that it still answers is what was saved.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use ckptdb::{
    CheckpointInfo, DType, Direction, Error, Filter, Medium, MemoryMedium, Options, Store,
    VerifyDepth,
};

use redb::ReadableTable;

use crate::support::{DamagedMedium, noise, vector, walk};

/// What a store must answer, or refuse to.
#[derive(Debug, PartialEq)]
struct Truth {
    checkpoints: Vec<(CheckpointInfo, BTreeMap<String, Vec<u8>>)>,
    latest: u64,
    best: u64,
    listed: Vec<u64>,
}

fn options() -> Options {
    Options {
        cache_bytes: 1 << 20,
        ..Options::default()
    }
}

/// A store with every kind of record, node and chunk, and its bytes after a clean close.
fn small_store() -> (Vec<u8>, Truth) {
    let medium = MemoryMedium::default();
    let store = Store::create_in(Arc::new(medium.clone()), options()).unwrap();
    let job = store.job("NQ").unwrap();
    job.declare_metric("sharpe", Direction::Max).unwrap();
    let frozen = noise(1, 65_600);
    for iteration in 0..4_u64 {
        let moving = noise(iteration, 2_000);
        let weights = walk(9, iteration, 2_000);
        let parts: Vec<Vec<u8>> = (0..12).map(|i| noise(i, 60)).collect();
        let mut save = job
            .save(iteration * 100)
            .bytes("frozen", &frozen)
            .tensor("weights", vector(DType::F32, &weights))
            .document(
                "state",
                &serde_json::json!({"text": "word ".repeat(100), "i": iteration}),
            )
            .metric(
                "sharpe",
                [1.0, 3.0, 2.0, 3.0][usize::try_from(iteration).unwrap()],
            );
        for (i, part) in parts.iter().enumerate() {
            save = save.bytes(&format!("bias.{i}"), part);
        }
        save.bytes("moving", &moving)
            .tag(&format!("t{iteration}"))
            .commit()
            .unwrap();
    }
    store
        .job("agent")
        .unwrap()
        .save(1)
        .bytes("tiny", b"inline")
        .commit()
        .unwrap();
    store.resolve("NQ@200").unwrap().delete(false).unwrap();
    let truth = answers(&store).unwrap();
    drop(job);
    store.close();
    (medium.to_vec(), truth)
}

fn answers(store: &Store) -> Result<Truth, Error> {
    let mut checkpoints = Vec::new();
    for checkpoint in store.list(&Filter::default())? {
        let checkpoint = checkpoint?;
        let loaded = checkpoint.load()?;
        let bytes = loaded
            .into_iter()
            .map(|(name, (_, data))| (name, data.to_vec()))
            .collect();
        checkpoints.push(((*checkpoint).clone(), bytes));
    }
    Ok(Truth {
        latest: store.resolve("NQ@latest")?.id.get(),
        best: store.resolve("NQ@best:sharpe")?.id.get(),
        listed: checkpoints.iter().map(|(info, _)| info.id.get()).collect(),
        checkpoints,
    })
}

/// Asks a damaged store for everything. Returns how many answers it refused.
fn interrogate(medium: DamagedMedium, truth: &Truth, at: &str) -> u64 {
    let medium: Arc<dyn Medium> = Arc::new(medium);
    let Ok(store) = Store::open_in(medium, options()) else {
        return 1;
    };
    let mut refused = 0;
    for (info, entries) in &truth.checkpoints {
        let Ok(found) = store.resolve(&info.id.to_string()) else {
            refused += 1;
            continue;
        };
        assert_eq!(*found, *info, "{at}: another description");
        match found.load() {
            Ok(loaded) => {
                assert_eq!(loaded.len(), entries.len(), "{at}: other entries");
                for (name, (_, data)) in loaded {
                    assert_eq!(data, entries[&name], "{at}: wrong bytes of {name}");
                }
            }
            Err(_) => refused += 1,
        }
    }
    for (reference, id) in [("NQ@latest", truth.latest), ("NQ@best:sharpe", truth.best)] {
        match store.resolve(reference) {
            Ok(found) => assert_eq!(found.id.get(), id, "{at}: another {reference}"),
            Err(_) => refused += 1,
        }
    }
    let listed: Result<Vec<u64>, Error> = store
        .list(&Filter::default())
        .and_then(|all| all.map(|found| found.map(|c| c.id.get())).collect());
    match listed {
        Ok(listed) => assert_eq!(listed, truth.listed, "{at}: another list"),
        Err(_) => refused += 1,
    }
    refused
}

/// Name of the threads whose panics are expected.
const WORKER: &str = "damage worker";

#[test]
fn no_flipped_bit_is_answered_with_something_else() {
    let (bytes, truth) = small_store();
    let bytes = Arc::new(bytes);
    let undamaged = DamagedMedium::new(Arc::clone(&bytes), Vec::new());
    assert_eq!(interrogate(undamaged, &truth, "undamaged"), 0);
    // The engine may panic on what it finds; the library catches that, and its message would only
    // fill the output. Other tests' panics are theirs to show.
    let shown = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        if std::thread::current().name() != Some(WORKER) {
            shown(panic);
        }
    }));
    let refused = AtomicU64::new(0);
    let step = 2;
    let failed = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..step)
            .map(|start| {
                let (bytes, truth, refused) = (&bytes, &truth, &refused);
                let search = move || {
                    for position in (start..bytes.len()).step_by(step) {
                        let byte = bytes[position] ^ (1 << (position % 8));
                        let damaged = DamagedMedium::new(Arc::clone(bytes), vec![(position, byte)]);
                        let at = format!("bit {} of byte {position}", position % 8);
                        if interrogate(damaged, truth, &at) > 0 {
                            refused.fetch_add(1, Ordering::Relaxed);
                        }
                    }
                };
                let worker = std::thread::Builder::new().name(WORKER.to_owned());
                worker.spawn_scoped(scope, search).unwrap()
            })
            .collect();
        workers
            .into_iter()
            .map(std::thread::ScopedJoinHandle::join)
            .find_map(Result::err)
    });
    if let Some(panic) = failed {
        std::panic::resume_unwind(panic);
    }
    let refused = refused.into_inner();
    println!(
        "{} positions, {refused} of them noticed, 0 wrong answers",
        bytes.len()
    );
    // The floor of what is told in docs/durability.md, and what is read of a small file.
    assert!(bytes.len() >= 150_000, "{} positions", bytes.len());
    assert!(refused * 8 > bytes.len() as u64, "{refused} noticed");
}

#[test]
fn verify_names_the_checkpoints_and_entries_that_a_damaged_chunk_belongs_to() {
    let (bytes, _) = small_store();
    let frozen = noise(1, 65_600);
    let at = bytes
        .windows(64)
        .position(|window| window == &frozen[30_000..30_064])
        .unwrap();
    let byte = bytes[at] ^ 1;
    let damaged = DamagedMedium::new(Arc::new(bytes), vec![(at, byte)]);
    let store = Store::open_in(Arc::new(damaged), options()).unwrap();
    assert!(
        store.verify(VerifyDepth::Quick).unwrap().is_clean(),
        "quick reads no chunk"
    );
    let report = store.verify(VerifyDepth::Full).unwrap();
    let mut named: Vec<_> = report
        .damage
        .iter()
        .map(|damage| (damage.iteration.unwrap(), damage.entry.clone().unwrap()))
        .collect();
    named.sort();
    let expected: Vec<_> = [0, 100, 200, 300].map(|i| (i, "frozen".to_owned())).into();
    assert_eq!(
        named, expected,
        "deleted checkpoints can still come back, so they count"
    );
    let newest = store.resolve("NQ@latest").unwrap();
    assert!(matches!(newest.read("frozen"), Err(Error::Corrupt { .. })));
    assert_eq!(
        newest.read("moving").unwrap(),
        noise(3, 2_000),
        "the others load"
    );
}

#[test]
fn one_damaged_record_hides_no_other_checkpoint_and_blocks_no_reclaim() {
    let medium = MemoryMedium::default();
    let store = Store::create_in(Arc::new(medium.clone()), options()).unwrap();
    for name in ["a", "b"] {
        let job = store.job(name).unwrap();
        for iteration in 1..=3 {
            let data = noise(iteration, 300);
            job.save(iteration)
                .bytes(&format!("only-{name}-{iteration}"), &data)
                .commit()
                .unwrap();
        }
        for iteration in 1..=2 {
            job.at(iteration).unwrap().unwrap().delete(false).unwrap();
        }
    }
    store.close();
    let mut bytes = medium.to_vec();
    // The record that has this entry inline; every stale copy of it, too.
    let name = b"only-a-1";
    let places: Vec<usize> = (0..bytes.len() - name.len())
        .filter(|at| &bytes[*at..*at + name.len()] == name)
        .collect();
    assert!(!places.is_empty());
    for place in places {
        bytes[place] ^= 1;
    }
    let store = Store::open_in(Arc::new(MemoryMedium::new(bytes)), options()).unwrap();
    let deleted = Filter {
        deleted: true,
        ..Filter::default()
    };
    let (found, damaged): (Vec<_>, Vec<_>) = store.list(&deleted).unwrap().partition(Result::is_ok);
    assert_eq!((found.len(), damaged.len()), (3, 1));
    let of_b = Filter {
        job: Some("b".to_owned()),
        abandoned: true,
        ..Filter::default()
    };
    assert!(store.list(&of_b).unwrap().all(|found| found.is_ok()));
    store.stats().unwrap();
    let reclaimed = store.reclaim(true).unwrap();
    assert_eq!((reclaimed.checkpoints, reclaimed.damaged), (3, 1));
    assert!(!store.verify(VerifyDepth::Full).unwrap().is_clean());
}

/// Takes one row out of the index behind the store's back.
fn lose_row(path: &std::path::Path, lost: impl Fn(&[u8; 25]) -> bool) {
    let table: redb::TableDefinition<'_, &[u8; 25], ()> = redb::TableDefinition::new("index");
    let database = redb::Database::open(path).unwrap();
    let transaction = database.begin_write().unwrap();
    {
        let mut index = transaction.open_table(table).unwrap();
        let keys: Vec<[u8; 25]> = index
            .range::<&[u8; 25]>(..)
            .unwrap()
            .map(|row| *row.unwrap().0.value())
            .collect();
        let key = keys.into_iter().rfind(|key| lost(key)).unwrap();
        index.remove(&key).unwrap();
    }
    transaction.commit().unwrap();
}

#[test]
fn a_row_that_the_index_lost_is_noticed_and_never_a_shorter_answer() {
    let folder = tempfile::tempdir().unwrap();
    // Kinds as docs/format.md numbers them: 1 commit, 2 iteration, 4 metric.
    for (kind, question) in [(1, "latest"), (2, "list"), (4, "best")] {
        let path = folder.path().join(format!("{kind}.ckptdb"));
        let store = Store::create(&path).unwrap();
        let job = store.job("NQ").unwrap();
        job.declare_metric("r", Direction::Max).unwrap();
        for iteration in 1..=5_u32 {
            let save = job.save(iteration.into()).bytes("s", b"x");
            save.metric("r", iteration.into()).commit().unwrap();
        }
        drop((job, store));
        lose_row(&path, |key| key[0] == kind);
        let store = Store::open(&path).unwrap();
        let job = store.job("NQ").unwrap();
        let answer = match question {
            "latest" => job.latest().map(drop),
            "best" => job.best("r").map(drop),
            _ => job.list().unwrap().try_for_each(|found| found.map(drop)),
        };
        assert!(
            matches!(answer, Err(Error::Corrupt { .. })),
            "{question}: {answer:?}"
        );
        let report = store.verify(VerifyDepth::Quick).unwrap();
        assert!(!report.is_clean(), "{question}: verify sees it too");
    }
}

/// Where the index is not to be trusted, the records say which checkpoint is the newest of the
/// line: not one that a rollback left behind, that is deleted, or that is of another job.
#[test]
fn a_resume_finds_the_newest_of_the_line_without_its_row_in_the_index() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.ckptdb");
    let store = Store::create(&path).unwrap();
    let job = store.job("NQ").unwrap();
    let save = |iteration: u64| job.save(iteration).bytes("s", b"x");
    let first = save(1).commit().unwrap().checkpoint;
    save(2).commit().unwrap();
    let newest = save(5).parent(first.id).commit().unwrap().checkpoint;
    let deleted = save(6).commit().unwrap().checkpoint;
    deleted.delete(true).unwrap();
    newest.set_pinned(true).unwrap();
    let left = save(7).commit().unwrap().checkpoint;
    job.rollback(newest.id, "diverged").unwrap();
    let other = store.job("ES").unwrap();
    other.save(9).bytes("s", b"x").commit().unwrap();
    drop((first, deleted, left, other));
    let expected = newest.id;
    drop((newest, job, store));
    let id = expected.get().to_be_bytes();
    lose_row(&path, |key| key[0] == 1 && key[17..] == id);
    let store = Store::open(&path).unwrap();
    let resumed = store.job("NQ").unwrap().resume().unwrap().unwrap();
    assert_eq!(resumed.checkpoint.id, expected);
    assert!(resumed.skipped.is_empty());
}

#[test]
fn a_sample_reads_its_share_and_another_seed_reads_others() {
    let store = Store::in_memory().unwrap();
    let job = store.job("NQ").unwrap();
    for iteration in 0..200 {
        let own = noise(iteration, 5_000);
        job.save(iteration).bytes("own", &own).commit().unwrap();
    }
    let read = |percent, seed| {
        let report = store
            .verify(VerifyDepth::Sampled { percent, seed })
            .unwrap();
        assert!(report.is_clean());
        report.bytes / 5_000
    };
    assert_eq!((read(100, 1), read(100, 2), read(0, 1)), (200, 200, 0));
    let few = read(10, 1);
    assert!((4..50).contains(&few), "{few} of 200");
    assert_eq!(read(10, 1), few);
    let half: Vec<u64> = (0..8).map(|seed| read(50, seed)).collect();
    assert!(half.iter().all(|read| (60..140).contains(read)), "{half:?}");
    assert!(half.iter().any(|read| *read != half[0]), "{half:?}");
    assert_eq!(store.verify(VerifyDepth::Quick).unwrap().bytes, 0);
}

/// The engine's own commits while it compacts leave no note of its free pages: an opening after a
/// kill would check the whole file, and refuse it for one rotten page.
#[test]
fn one_rotten_page_keeps_no_store_from_opening_that_was_killed_after_a_compaction() {
    let medium = MemoryMedium::default();
    let store = Store::create_in(Arc::new(medium.clone()), options()).unwrap();
    let job = store.job("a").unwrap();
    for iteration in 1..=4 {
        let own = noise(iteration, 200_000);
        job.save(iteration).bytes("own", &own).commit().unwrap();
    }
    store.resolve("a@1").unwrap().delete(false).unwrap();
    store.reclaim(true).unwrap();
    store.compact().unwrap();
    let mut killed = medium.to_vec();
    let spoilt = noise(2, 200_000);
    let at = killed
        .windows(32)
        .position(|bytes| *bytes == spoilt[100_000..100_032]);
    killed[at.unwrap()] ^= 1;
    let store = Store::open_in(Arc::new(MemoryMedium::new(killed)), options()).unwrap();
    for (iteration, is_sound) in [(2, false), (3, true), (4, true)] {
        let found = store.resolve(&format!("a@{iteration}")).unwrap();
        assert_eq!(found.load().is_ok(), is_sound, "{iteration}");
    }
}
