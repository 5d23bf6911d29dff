//! Damaged chunks, healed by whoever saves their bytes again; and resuming past damage.

use std::sync::Arc;

use ckptdb::{Error, MemoryMedium, Store, VerifyDepth};

use super::{content, options, save};

/// Spoils one byte wherever these bytes are in the medium.
pub(crate) fn spoil(medium: &MemoryMedium, bytes: &[u8]) -> MemoryMedium {
    let mut image = medium.to_vec();
    let at = super::places(&image, &bytes[..64]);
    assert!(!at.is_empty());
    for at in at {
        image[at + 10] ^= 0x10;
    }
    MemoryMedium::new(image)
}

fn three(job: &str) -> MemoryMedium {
    let medium = MemoryMedium::default();
    let store = Store::create_in(Arc::new(medium.clone()), options()).unwrap();
    for iteration in 1..=3 {
        save(&store, job, iteration);
    }
    store.close();
    medium
}

#[test]
fn a_save_of_the_same_bytes_heals_every_checkpoint_that_shares_a_rotten_chunk() {
    for repaired_first in [false, true] {
        let shared = content(1)["shared"].clone();
        let medium = spoil(&three("NQ"), &shared);
        let store = Store::open_in(Arc::new(medium.clone()), options()).unwrap();
        let read = |iteration: u64| {
            let found = store.resolve(&format!("NQ@{iteration}")).unwrap();
            found.read("shared")
        };
        assert!(matches!(read(1), Err(Error::Corrupt { .. })));
        if repaired_first {
            let repaired = store.repair(&mut |_, _| {}).unwrap();
            assert_eq!(repaired.lost_chunks, 1);
            assert!(repaired.lost.is_empty());
            assert_eq!(repaired.left.len(), 3, "{:?}", repaired.left);
            // The mark outlives the process.
            store.reopen().unwrap();
        }
        let saved = save(&store, "NQ", 4);
        assert_eq!(saved.healed_chunks, 1, "repaired first: {repaired_first}");
        for iteration in 1..=4 {
            assert_eq!(read(iteration).unwrap(), shared, "checkpoint {iteration}");
        }
        let report = store.verify(VerifyDepth::Full).unwrap();
        assert!(report.is_clean(), "{:?}", report.damage);
        assert_eq!(report.orphans, 0);
        store.delete_job("NQ").unwrap();
        store.reclaim(true).unwrap();
        assert_eq!(store.stats().unwrap().chunks, 0, "its count is right");
    }
}

#[test]
fn repeating_the_save_of_a_rotten_checkpoint_heals_it() {
    let own = content(3)["own"].clone();
    let medium = spoil(&three("NQ"), &own);
    let store = Store::open_in(Arc::new(medium), options()).unwrap();
    let damaged = store.verify(VerifyDepth::Full).unwrap();
    assert_eq!(damaged.damage.len(), 1, "{:?}", damaged.damage);
    let saved = save(&store, "NQ", 3);
    assert!(
        saved.merged && saved.healed_chunks == 1,
        "{saved:?} {damaged:?}"
    );
    assert!(store.verify(VerifyDepth::Full).unwrap().is_clean());
}

#[test]
fn resume_passes_over_a_damaged_checkpoint_and_says_why() {
    let own = content(3)["own"].clone();
    let medium = spoil(&three("NQ"), &own);
    let store = Store::open_in(Arc::new(medium.clone()), options()).unwrap();
    let resumed = store.job("NQ").unwrap().resume().unwrap().unwrap();
    assert_eq!(resumed.checkpoint.iteration, 2);
    let skipped = &resumed.skipped[0];
    assert_eq!(
        (skipped.iteration, skipped.job.as_deref()),
        (Some(3), Some("NQ"))
    );
    assert!(skipped.what.contains("damaged"), "{}", skipped.what);
    assert!(store.job("nobody").unwrap().resume().unwrap().is_none());
    // Going on from there records the rollback.
    let parent = resumed.checkpoint.id;
    let job = store.job("NQ").unwrap();
    job.save(3)
        .bytes("own", b"anew")
        .parent(parent)
        .commit()
        .unwrap();
    let resumed = job.resume().unwrap().unwrap();
    assert_eq!(resumed.checkpoint.read("own").unwrap(), b"anew".as_slice());
    assert!(resumed.skipped.is_empty());
}

#[test]
fn resume_without_any_sound_checkpoint_is_an_error_and_not_a_fresh_start() {
    let medium = MemoryMedium::default();
    let store = Store::create_in(Arc::new(medium.clone()), options()).unwrap();
    let saved = save(&store, "NQ", 1);
    assert_eq!(saved.checkpoint.verify().unwrap(), saved.logical_bytes);
    store.close();
    let medium = spoil(&medium, &content(1)["own"]);
    let store = Store::open_in(Arc::new(medium), options()).unwrap();
    let resumed = store.job("NQ").unwrap().resume();
    assert!(matches!(resumed, Err(Error::Corrupt { .. })), "{resumed:?}");
}

#[test]
fn the_last_checkpoint_known_good_is_deleted_only_by_force() {
    let medium = three("NQ");
    let store = Store::open_in(Arc::new(medium), options()).unwrap();
    let at = |iteration: u64| store.resolve(&format!("NQ@{iteration}")).unwrap();
    at(1).verify_and_record().unwrap();
    at(2).verify_and_record().unwrap();
    // An older one does not take its place.
    at(1).verify_and_record().unwrap();
    at(1).delete(false).unwrap();
    store.reopen().unwrap();
    let refused = at(2).delete(false);
    assert!(
        matches!(refused, Err(Error::Conflict { .. })),
        "{refused:?}"
    );
    at(3).verify_and_record().unwrap();
    at(3).delete(true).unwrap();
    // The one that was verified before it is the last known good again.
    save(&store, "NQ", 4);
    let refused = at(2).delete(false);
    assert!(
        matches!(refused, Err(Error::Conflict { .. })),
        "{refused:?}"
    );
    at(2).delete(true).unwrap();
    assert!(store.verify(VerifyDepth::Full).unwrap().is_clean());
}
