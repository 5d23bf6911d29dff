//! Rows that rot one by one, and a trainer that goes on all the same.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use ckptdb::{Filter, MemoryMedium, Store, VerifyDepth};
use memchr::memmem;

use super::repair::{Harm, ROWS, harm};
use super::{content, eventful, options, picture, put, save};

const HARMS: [Harm; 3] = [Harm::Flip, Harm::FlipFirst, Harm::Remove];

/// Reads all there is, whatever comes of it: what is damaged is noticed.
fn read_all(store: &Store) {
    for found in store.list(&Filter::default()).unwrap().flatten() {
        let _ = found.load();
    }
}

fn three(path: &Path) {
    let medium = MemoryMedium::default();
    let store = Store::create_in(Arc::new(medium.clone()), options()).unwrap();
    for iteration in [1, 9, 10] {
        save(&store, "NQ", iteration);
    }
    store.close();
    fs::write(path, medium.to_vec()).unwrap();
}

#[test]
fn training_goes_on_after_a_checkpoint_whose_record_has_rotted() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.ckptdb");
    for kind in HARMS {
        three(&path);
        // The third row: the newest checkpoint.
        assert!(harm::<u64, &[u8]>(&path, "checkpoints", 2, kind));
        let store = Store::open_with(&path, options()).unwrap();
        let job = store.job("NQ").unwrap();
        let resumed = job.resume().unwrap().unwrap();
        assert_eq!(resumed.checkpoint.iteration, 9, "{kind:?}");
        assert_eq!(resumed.skipped.len(), 1, "{kind:?}");
        // The same iteration comes once more, then the next.
        let parent = resumed.checkpoint.id;
        let again = job.save(10).bytes("own", b"anew").parent(parent).commit();
        let again = again.unwrap().checkpoint;
        let next = save(&store, "NQ", 11).checkpoint;
        assert_eq!(again.parent, Some(parent));
        assert_eq!(next.parent, Some(again.id));
        assert_eq!(job.latest().unwrap().unwrap().id, next.id);
        assert_eq!(store.jobs().unwrap()[0].checkpoints, 4, "{kind:?}");
        let resumed = job.resume().unwrap().unwrap();
        assert_eq!(resumed.checkpoint.id, next.id);
        assert!(resumed.skipped.is_empty());
        again.delete(false).unwrap();
        // A repair finds the record elsewhere in the file, or says that it is lost.
        let repaired = store.repair(&mut |_, _| {}).unwrap();
        let after = store.verify(VerifyDepth::Full).unwrap();
        assert!(after.is_clean(), "{kind:?}: {:?}", after.damage);
        let all = Filter {
            abandoned: true,
            ..Filter::default()
        };
        let iterations: Vec<u64> = store
            .list(&all)
            .unwrap()
            .map(|found| found.unwrap().iteration)
            .collect();
        let found = iterations.iter().filter(|at| **at == 10).count();
        assert_eq!(found + repaired.lost.len(), 1, "{kind:?}: {iterations:?}");
        assert_eq!(job.latest().unwrap().unwrap().id, next.id);
    }
}

/// A row that can't be read says nothing of how often the chunk is named, and by which deltas.
#[test]
fn a_save_of_the_same_bytes_counts_every_chunk_anew_whose_row_was_found_rotten() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.ckptdb");
    let mut cases = 0;
    for row in 0..ROWS {
        three(&path);
        if !harm::<&[u8; 32], &[u8]>(&path, "chunks", row, Harm::Flip) {
            continue;
        }
        cases += 1;
        let store = Store::open_with(&path, options()).unwrap();
        let at = format!("row {row}");
        assert!(
            !store.verify(VerifyDepth::Quick).unwrap().is_clean(),
            "{at}"
        );
        read_all(&store);
        let job = store.job("NQ").unwrap();
        // All that there is, once more.
        for (iteration, source) in [(11, 1), (12, 9), (13, 10)] {
            let content = content(source);
            let mut save = job.save(iteration);
            for (name, bytes) in &content {
                save = put(save, name, bytes);
            }
            save.commit().unwrap();
        }
        let after = store.verify(VerifyDepth::Full).unwrap();
        assert!(after.is_clean(), "{at}: {:?}", after.damage);
        read_all(&store);
        store.delete_job("NQ").unwrap();
        assert_eq!(store.reclaim(true).unwrap().damaged, 0, "{at}");
        let stats = store.stats().unwrap();
        assert_eq!((stats.chunks, stats.nodes), (0, 0), "{at}");
    }
    assert!(cases >= 8, "{cases} rows were harmed");
}

#[test]
fn a_save_of_the_same_bytes_heals_every_node_that_was_found_rotten() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.ckptdb");
    let mut cases = 0;
    for kind in HARMS {
        for row in 0..ROWS {
            three(&path);
            if !harm::<&[u8; 32], &[u8]>(&path, "nodes", row, kind) {
                continue;
            }
            cases += 1;
            let store = Store::open_with(&path, options()).unwrap();
            let at = format!("{kind:?} of row {row}");
            assert!(
                !store.verify(VerifyDepth::Quick).unwrap().is_clean(),
                "{at}"
            );
            read_all(&store);
            // Everything of checkpoint 9, under another iteration.
            let job = store.job("NQ").unwrap();
            let content = content(9);
            let mut save = job.save(11);
            for (name, bytes) in &content {
                save = put(save, name, bytes);
            }
            save.commit().unwrap();
            if kind == Harm::FlipFirst {
                // A count is spoilt, and no byte of a checkpoint.
                let repaired = store.repair(&mut |_, _| {}).unwrap();
                assert!(repaired.left.is_empty(), "{at}: {:?}", repaired.left);
            }
            let after = store.verify(VerifyDepth::Full).unwrap();
            assert!(after.is_clean(), "{at}: {:?}", after.damage);
            for found in store.list(&Filter::default()).unwrap() {
                found.unwrap().load().unwrap();
            }
            store.delete_job("NQ").unwrap();
            assert_eq!(store.reclaim(true).unwrap().damaged, 0, "{at}");
            let stats = store.stats().unwrap();
            assert_eq!((stats.chunks, stats.nodes), (0, 0), "{at}");
        }
    }
    assert!(cases >= 12, "{cases} nodes were harmed");
}

#[test]
fn a_reader_that_came_too_late_spoils_no_later_save_of_the_same_state() {
    let medium = MemoryMedium::default();
    let store = Store::create_in(Arc::new(medium), options()).unwrap();
    let mut gone = save(&store, "NQ", 9).checkpoint;
    for _ in 0..3 {
        gone.delete(true).unwrap();
        store.reclaim(true).unwrap();
        // What it finds missing is no damage: it was reclaimed.
        assert!(matches!(gone.load(), Err(ckptdb::Error::Deleted { .. })));
        assert!(matches!(
            gone.read("long"),
            Err(ckptdb::Error::Deleted { .. })
        ));
        let again = save(&store, "NQ", 9);
        assert_eq!(again.healed_chunks, 0);
        gone = again.checkpoint;
        assert_eq!(gone.load().unwrap().len(), content(9).len());
        let report = store.verify(VerifyDepth::Full).unwrap();
        assert!(report.is_clean(), "{:?}", report.damage);
    }
}

#[test]
fn a_repair_brings_back_what_the_tables_have_lost_and_the_file_still_has() {
    let medium = MemoryMedium::default();
    let store = eventful(&medium);
    let before = picture(&store);
    store.close();
    let image = medium.to_vec();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.ckptdb");
    for name in ["checkpoints", "nodes", "extents", "log"] {
        let mut cases = 0;
        for row in 0..ROWS {
            fs::write(&path, &image).unwrap();
            let value = nth_value(&path, name, row);
            let harmed = match name {
                "nodes" => harm::<&[u8; 32], &[u8]>(&path, name, row, Harm::Remove),
                _ => harm::<u64, &[u8]>(&path, name, row, Harm::Remove),
            };
            if !harmed {
                continue;
            }
            let at = format!("row {row} of {name}");
            // The engine puts new pages where old ones were: what was there may be gone for good.
            let file = fs::read(&path).unwrap();
            let is_there = |piece: &[u8]| memmem::find(&file, piece).is_some();
            let is_overwritten = !pieces(&value).into_iter().all(is_there);
            let store = Store::open_with(&path, options()).unwrap();
            let repaired = store.repair(&mut |_, _| {}).unwrap();
            if is_overwritten {
                let told = repaired.lost.len() + repaired.left.len();
                assert!(told > 0, "{at}");
                continue;
            }
            assert!(repaired.lost.is_empty(), "{at}: {:?}", repaired.lost);
            cases += 1;
            assert!(repaired.left.is_empty(), "{at}: {:?}", repaired.left);
            assert_eq!(picture(&store), before, "{at}");
        }
        assert!(cases > 3, "{name}");
    }
}

/// What can be found again of a row wherever it lies: the frames of a bundle one by one, as they
/// may lie in older ones too; of a node what comes after its count.
fn pieces(value: &[u8]) -> Vec<&[u8]> {
    match value {
        [b'C', b'K', b'X', b'1', ..] => super::survival::parts(value),
        _ if value.get(12..16) == Some(b"CKN1") => vec![&value[12..]],
        _ => vec![value],
    }
}

/// The bytes of the row that is to be harmed.
fn nth_value(path: &Path, table: &str, row: usize) -> Vec<u8> {
    let image = fs::read(path).unwrap();
    match table {
        "nodes" => super::survival::nth::<&[u8; 32]>(&image, table, row),
        _ => super::survival::nth::<u64>(&image, table, row),
    }
}

/// A job whose series turn back, with small blocks and a full one.
fn with_series(path: &Path) {
    let medium = MemoryMedium::default();
    let store = Store::create_in(Arc::new(medium.clone()), options()).unwrap();
    let job = store.job("NQ").unwrap();
    let log = |range: std::ops::Range<u64>| {
        let mut batch = ckptdb::telemetry::Batch::default();
        for iteration in range {
            batch.log(iteration, [("loss", 1.0)]).unwrap();
        }
        job.append(&batch).unwrap();
    };
    log(1..9_001);
    let first = save(&store, "NQ", 9_000).checkpoint;
    log(9_001..9_101);
    save(&store, "NQ", 9_100);
    log(9_101..9_111);
    job.rollback(first.id, "test").unwrap();
    log(9_001..9_006);
    first.fork("NQ-fork").unwrap();
    store.close();
    fs::write(path, medium.to_vec()).unwrap();
}

#[test]
fn whatever_row_of_telemetry_is_spoilt_or_lost_training_goes_on_and_a_repair_mends_it() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.ckptdb");
    let mut cases = 0;
    for kind in HARMS {
        for row in 0..ROWS {
            with_series(&path);
            if !harm::<u64, &[u8]>(&path, "telemetry", row, kind) {
                continue;
            }
            cases += 1;
            let at = format!("{kind:?} of row {row}");
            let store = Store::open_with(&path, options()).unwrap();
            let job = store.job("NQ").unwrap();
            // Points and saves go on, and so does a session from its start.
            job.log(9_006, [("loss", 1.0)]).unwrap();
            let session = job.session(ckptdb::session::SessionOptions {
                min_free: ckptdb::session::MinFree::NONE,
                signals: false,
                ..Default::default()
            });
            let mut session = session.unwrap();
            let loss = std::collections::BTreeMap::from([("loss".to_owned(), 1.0)]);
            let step = session.step(9_010, &loss, |save| save.bytes("own", b"weights"));
            assert_eq!(step.problems, [], "{at}");
            session.finish(9_010, &loss, |save| save.bytes("own", b"weights"));
            assert_eq!(job.latest().unwrap().unwrap().iteration, 9_010, "{at}");
            let before = store.verify(VerifyDepth::Full).unwrap();
            let spoilt = !matches!(kind, Harm::Remove);
            assert!(!spoilt || !before.is_clean(), "{at}");
            store.repair(&mut |_, _| {}).unwrap();
            let after = store.verify(VerifyDepth::Full).unwrap();
            assert!(after.is_clean(), "{at}: {:?}", after.damage);
            let last = job.telemetry().unwrap().summaries().unwrap()["loss"].last.0;
            assert_eq!(last, 9_010, "{at}");
            for found in store.list(&Filter::default()).unwrap() {
                let found = found.unwrap();
                found.verify().unwrap();
                found.telemetry().summaries().unwrap();
            }
            job.log(9_011, [("loss", 1.0)]).unwrap();
        }
    }
    println!("telemetry: {cases} rows harmed");
    assert!(cases >= 12, "{cases}");
}
