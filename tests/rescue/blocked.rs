//! What a damaged row does not stop, and what it may not pass for.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use ckptdb::policy::{Keep, Retention};
use ckptdb::{Compression, Direction, Error, Event, MemoryMedium, Store, VerifyDepth};

use super::repair::{Harm, ROWS, harm};
use super::{options, save};

/// Three checkpoints with a metric, of which 2 is the best and 3 the next.
fn ranked(path: &Path) {
    let medium = MemoryMedium::default();
    let store = Store::create_in(Arc::new(medium.clone()), options()).unwrap();
    let job = store.job("NQ").unwrap();
    job.declare_metric("loss", Direction::Min).unwrap();
    for (iteration, loss) in [(1, 0.9), (2, 0.1), (3, 0.4)] {
        let own = iteration.to_string();
        let save = job.save(iteration).bytes("own", own.as_bytes());
        save.metric("loss", loss).commit().unwrap();
    }
    store.close();
    fs::write(path, medium.to_vec()).unwrap();
}

#[test]
fn a_resume_from_the_best_passes_over_a_better_one_whose_record_has_rotted() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.ckptdb");
    for kind in [Harm::Flip, Harm::FlipFirst, Harm::Remove] {
        ranked(&path);
        assert!(harm::<u64, &[u8]>(&path, "checkpoints", 1, kind));
        let store = Store::open_with(&path, options()).unwrap();
        let resumed = store.job("NQ").unwrap().resume_best("loss");
        let resumed = resumed.unwrap().unwrap();
        assert_eq!(resumed.checkpoint.iteration, 3, "{kind:?}");
        let skipped: Vec<_> = resumed.skipped.iter().map(|skip| skip.iteration).collect();
        assert_eq!(skipped, [Some(2)], "{kind:?}: {:?}", resumed.skipped);
    }
}

#[test]
fn a_head_whose_record_has_rotted_stops_no_change_to_the_others() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.ckptdb");
    for kind in [Harm::Flip, Harm::FlipFirst, Harm::Remove] {
        let medium = MemoryMedium::default();
        let store = Store::create_in(Arc::new(medium.clone()), options()).unwrap();
        for iteration in 1..=6 {
            save(&store, "NQ", iteration);
        }
        store.close();
        fs::write(&path, medium.to_vec()).unwrap();
        assert!(harm::<u64, &[u8]>(&path, "checkpoints", 5, kind));
        let store = Store::open_with(&path, options()).unwrap();
        let at = |iteration: u64| store.resolve(&format!("NQ@{iteration}"));
        let first = at(1).unwrap();
        first.delete(false).unwrap();
        store.undelete(first.id).unwrap();
        at(2).unwrap().set_pinned(true).unwrap();
        let retention = Retention::new([Keep::Latest(2)]).unwrap();
        // Nothing is decided on the damaged one; of the others the newest two stay.
        let pruned = store.job("NQ").unwrap().prune(&retention).unwrap();
        assert_eq!(pruned.deleted, 2, "{kind:?}");
        store.reclaim(true).unwrap();
        store
            .recompress(Compression::Default, &mut |_, _| {})
            .unwrap();
        at(4).unwrap().load().unwrap();
        at(2).unwrap().set_pinned(false).unwrap();
        assert_eq!(store.delete_job("NQ").unwrap(), 4, "{kind:?}");
        assert!(store.jobs().unwrap().is_empty());
        assert!(matches!(at(6), Err(Error::NotFound { .. })), "{kind:?}");
        store.repair(&mut |_, _| {}).unwrap();
        let after = store.verify(VerifyDepth::Full).unwrap();
        assert!(after.is_clean(), "{kind:?}: {:?}", after.damage);
    }
}

/// What is asked by iteration, tag or event is answered rightly, or refused.
#[test]
fn a_row_of_the_index_that_is_lost_passes_for_no_answer() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.ckptdb");
    let medium = MemoryMedium::default();
    let store = Store::create_in(Arc::new(medium.clone()), options()).unwrap();
    let job = store.job("NQ").unwrap();
    let older = job.save(1).bytes("own", b"1").event(Event::Final);
    older.tag("sent").commit().unwrap();
    let newer = job.save(2).bytes("own", b"2").event(Event::Final);
    newer.tag("good").commit().unwrap();
    store.close();
    let (mut lost, mut refused) = (0, 0);
    for row in 0..ROWS {
        fs::write(&path, medium.to_vec()).unwrap();
        if !harm::<&[u8; 25], ()>(&path, "index", row, Harm::Remove) {
            continue;
        }
        lost += 1;
        let store = Store::open_with(&path, options()).unwrap();
        for (reference, iteration) in [
            ("NQ@1", 1),
            ("NQ@2", 2),
            ("NQ@tag:sent", 1),
            ("NQ@tag:good", 2),
            ("NQ@event:final", 2),
            ("NQ@latest", 2),
        ] {
            match store.resolve(reference) {
                Ok(found) => assert_eq!(found.iteration, iteration, "{reference}, row {row}"),
                Err(Error::Corrupt { .. }) => refused += 1,
                Err(other) => panic!("{reference}, row {row}: {other}"),
            }
        }
    }
    assert!(lost >= 8 && refused >= 6, "{lost} lost, {refused} refused");
}
