//! After damage: what a repair mends, what a salvage brings back, what a save heals, and where a
//! resume goes on.

mod blocked;
mod heal;
mod repair;
mod rows;
mod salvage;
mod survival;
mod unreadable;

use std::collections::BTreeMap;
use std::sync::Arc;

use ckptdb::{CheckpointInfo, DType, Direction, Event, Filter, MemoryMedium, Options, Save, Store};

use crate::support::{noise, rounded, vector, walk};

/// All that a store says and holds, deleted checkpoints included.
#[derive(Debug, PartialEq)]
pub(crate) struct Picture {
    checkpoints: BTreeMap<u64, (CheckpointInfo, BTreeMap<String, Vec<u8>>)>,
    deleted: BTreeMap<u64, CheckpointInfo>,
    latest: Vec<Option<u64>>,
    best: Option<u64>,
}

pub(crate) fn options() -> Options {
    Options {
        cache_bytes: 1 << 20,
        ballast_bytes: 0,
        ..Options::default()
    }
}

/// What checkpoint `iteration` of the test stores holds: bytes of its own, bytes that all share,
/// deltas, and a copy that is derived.
pub(crate) fn content(iteration: u64) -> BTreeMap<String, Vec<u8>> {
    let weights = walk(4, iteration, 33_000);
    let mut content = BTreeMap::from([
        ("bf16.copy".to_owned(), rounded(&weights)),
        ("f32.weights".to_owned(), weights),
        ("shared".to_owned(), noise(7, 70_000)),
        ("own".to_owned(), noise(1000 + iteration, 66_000)),
        ("small".to_owned(), noise(2000 + iteration, 300)),
    ]);
    if iteration.is_multiple_of(3) {
        // Enough entries for a tree of nodes, and enough chunks.
        if iteration == 9 {
            content.insert("long".to_owned(), noise(3000, 9 << 20));
        }
        for part in 0..40 {
            content.insert(
                format!("layer.{part:02}"),
                noise(5000 + iteration + part, 70),
            );
        }
    }
    content
}

pub(crate) fn save(store: &Store, job: &str, iteration: u64) -> ckptdb::Saved {
    let handle = store.job(job).unwrap();
    let content = content(iteration);
    let mut save = handle.save(iteration).event(Event::Periodic).metric(
        "sharpe",
        [1.0, 3.0, 2.0, 3.0, -1.0][(iteration % 5) as usize],
    );
    for (name, bytes) in &content {
        save = put(save, name, bytes);
    }
    save.commit().unwrap()
}

/// Adds an entry of such a checkpoint.
pub(crate) fn put<'a>(save: Save<'a>, name: &str, bytes: &'a [u8]) -> Save<'a> {
    match name.split_once('.') {
        Some(("f32", _)) => save.tensor(name, vector(DType::F32, bytes)),
        Some(("bf16", _)) => save.tensor(name, vector(DType::Bf16, bytes)),
        _ => save.bytes(name, bytes),
    }
}

/// A store with a history: two jobs, one renamed, a rollback, tags, pins, notes, deleted and
/// reclaimed ones.
pub(crate) fn eventful(medium: &MemoryMedium) -> Store {
    let store = Store::create_in(Arc::new(medium.clone()), options()).unwrap();
    let job = store.job("phase1/NQ").unwrap();
    job.declare_metric("sharpe", Direction::Max).unwrap();
    let draft = store.job("ES.draft").unwrap();
    draft.declare_metric("loss", Direction::Min).unwrap();
    store.rename_job("ES.draft", "ES", false).unwrap();
    for iteration in 1..=9 {
        save(&store, "phase1/NQ", iteration);
        save(&store, "ES", iteration);
    }
    let at = |reference: &str| store.resolve(reference).unwrap();
    at("phase1/NQ@3").set_tag("baseline", false).unwrap();
    at("phase1/NQ@2").set_pinned(true).unwrap();
    at("phase1/NQ@4")
        .annotate("note", &serde_json::json!("kept"))
        .unwrap();
    at("ES@2").delete(false).unwrap();
    at("ES@3").delete(false).unwrap();
    store.reclaim(true).unwrap();
    at("ES@4").delete(false).unwrap();
    at("phase1/NQ@5").delete(false).unwrap();
    store.undelete(at("phase1/NQ@6").id).unwrap_err();
    let parent = at("phase1/NQ@7").id;
    let job = store.job("phase1/NQ").unwrap();
    job.save(8)
        .bytes("own", b"another line")
        .parent(parent)
        .commit()
        .unwrap();
    store
}

pub(crate) fn picture(store: &Store) -> Picture {
    let all = Filter {
        abandoned: true,
        ..Filter::default()
    };
    let deleted = Filter {
        deleted: true,
        ..Filter::default()
    };
    let load = |checkpoint: &ckptdb::Checkpoint| {
        let entries = checkpoint.load().unwrap().into_iter();
        entries
            .map(|(name, (_, bytes))| (name, bytes.to_vec()))
            .collect()
    };
    let latest = |job: &str| {
        let found = store.job(job).unwrap().latest().unwrap();
        found.map(|found| found.id.get())
    };
    Picture {
        checkpoints: store
            .list(&all)
            .unwrap()
            .map(|found| found.unwrap())
            .map(|found| {
                (
                    found.id.get(),
                    (CheckpointInfo::clone(&found), load(&found)),
                )
            })
            .collect(),
        deleted: store
            .list(&deleted)
            .unwrap()
            .map(|found| found.unwrap())
            .map(|found| (found.id.get(), CheckpointInfo::clone(&found)))
            .collect(),
        latest: vec![latest("phase1/NQ"), latest("ES")],
        best: store
            .resolve("phase1/NQ@best:sharpe")
            .ok()
            .map(|best| best.id.get()),
    }
}

/// Where these bytes are in a file.
pub(crate) fn places(image: &[u8], bytes: &[u8]) -> Vec<usize> {
    let starts = image
        .iter()
        .enumerate()
        .filter(|(_, byte)| **byte == bytes[0]);
    let found = starts.filter(|(at, _)| image[*at..].starts_with(bytes));
    found.map(|(at, _)| at).collect()
}
