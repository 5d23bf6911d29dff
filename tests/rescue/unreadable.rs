//! Sectors that the disk can't read: an error of the system in place of wrong bytes.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use ckptdb::{Error, Filter, MemoryMedium, Store, VerifyDepth};

use super::{content, options, places, put, save};
use crate::support::{UnreadableMedium, noise};

/// Three checkpoints; the sector in the middle of these bytes is bad.
fn with_bad_sector(bytes: &[u8]) -> (Arc<UnreadableMedium>, Store) {
    let medium = MemoryMedium::default();
    let store = Store::create_in(Arc::new(medium.clone()), options()).unwrap();
    for iteration in 1..=3 {
        save(&store, "NQ", iteration);
    }
    store.close();
    let at = places(&medium.to_vec(), &bytes[..16])[0] as u64 + bytes.len() as u64 / 2;
    let bad = UnreadableMedium::new(Arc::new(medium), at / 512 * 512);
    let store = Store::open_in(bad.clone(), options()).unwrap();
    (bad, store)
}

#[test]
fn training_goes_on_after_a_checkpoint_that_the_disk_cant_read() {
    let (bad, store) = with_bad_sector(&content(3)["own"]);
    let job = store.job("NQ").unwrap();
    let load = |iteration: u64| store.resolve(&format!("NQ@{iteration}")).unwrap().load();
    assert!(matches!(load(3), Err(Error::Io { .. })));
    load(2).unwrap();
    let resumed = job.resume().unwrap().unwrap();
    assert_eq!(resumed.checkpoint.iteration, 2);
    assert!(resumed.skipped[0].what.contains("sector"), "{resumed:?}");
    // Training does the same once more, and brings the same bytes.
    let content = content(3);
    let mut again = job.save(3).parent(resumed.checkpoint.id);
    for (name, bytes) in &content {
        again = put(again, name, bytes);
    }
    let again = again.commit().unwrap();
    assert!(again.healed_chunks > 0);
    for found in store.list(&Filter::default()).unwrap() {
        found.unwrap().load().unwrap();
    }
    let abandoned = job.resume().unwrap().unwrap();
    assert_eq!(abandoned.checkpoint.id, again.checkpoint.id);
    let report = store.verify(VerifyDepth::Full).unwrap();
    assert!(report.is_clean(), "{:?}", report.damage);
    store.close();
    let store = Store::open_in(bad, options()).unwrap();
    save(&store, "NQ", 4);
    store.delete_job("NQ").unwrap();
    store.reclaim(true).unwrap();
}

#[test]
fn a_chunk_that_the_disk_cant_read_does_not_keep_the_others_from_being_reclaimed() {
    let (_, store) = with_bad_sector(&content(3)["own"]);
    store.delete_job("NQ").unwrap();
    store.reclaim(true).unwrap();
    assert_eq!(store.stats().unwrap().chunks, 0);
    save(&store, "NQ", 1);
    store.resolve("NQ@1").unwrap().load().unwrap();
}

#[test]
fn a_repair_marks_what_the_disk_cant_read_as_lost_and_a_save_heals_it() {
    let (bad, store) = with_bad_sector(&content(3)["own"]);
    let repaired = store.repair(&mut |_, _| {}).unwrap();
    assert_eq!(repaired.lost_chunks, 1);
    assert_eq!(repaired.left.len(), 1, "{:?}", repaired.left);
    store.close();
    let store = Store::open_in(bad, options()).unwrap();
    save(&store, "NQ", 4);
    let job = store.job("NQ").unwrap();
    let saved = job.save(5).bytes("own", &content(3)["own"]).commit();
    assert_eq!(saved.unwrap().healed_chunks, 1);
    let report = store.verify(VerifyDepth::Full).unwrap();
    assert!(report.is_clean(), "{:?}", report.damage);
}

#[test]
fn of_short_chunks_that_share_a_page_a_bad_sector_takes_one_or_two_and_a_repair_brings_the_others()
{
    let medium = MemoryMedium::default();
    let store = Store::create_in(Arc::new(medium.clone()), options()).unwrap();
    let state = |iteration: u64| noise(iteration, 3000);
    let save = |store: &Store, iteration: u64| {
        let job = store.job("a").unwrap();
        job.save(iteration)
            .bytes("state", &state(iteration))
            .commit()
    };
    for iteration in 1..=20 {
        save(&store, iteration).unwrap();
    }
    store.close();
    let bytes = medium.to_vec();
    // There are older copies of what was moved on with the bundle; each has its own place.
    let at = *places(&bytes, &state(8)[..16]).last().unwrap() as u64 + 1500;
    let bad = UnreadableMedium::new(Arc::new(medium), at / 512 * 512);
    let store = Store::open_in(bad.clone(), options()).unwrap();
    let unread = |store: &Store| -> Vec<u64> {
        let is_unread = |iteration: &u64| {
            let found = store.resolve(&format!("a@{iteration}")).unwrap().load();
            !found.is_ok_and(|found| found["state"].1 == state(*iteration))
        };
        (1..=20).filter(is_unread).collect()
    };
    let before = unread(&store);
    assert!(
        before.contains(&8) && (1..=5).contains(&before.len()),
        "{before:?}"
    );
    // Saving goes on meanwhile, in this process and in the next.
    save(&store, 21).unwrap();
    store.close();
    let store = Store::open_in(bad, options()).unwrap();
    save(&store, 22).unwrap();
    let repaired = store.repair(&mut |_, _| {}).unwrap();
    assert!(repaired.lost_chunks <= 2, "{}", repaired.lost_chunks);
    let after = unread(&store);
    assert_eq!(after.len() as u64, repaired.lost_chunks, "{after:?}");
    assert!(after.len() < before.len() && after.iter().all(|lost| before.contains(lost)));
    let report = store.verify(VerifyDepth::Full).unwrap();
    assert_eq!(report.damage.len() as u64, repaired.lost_chunks);
    store.delete_job("a").unwrap();
    store.reclaim(true).unwrap();
    save(&store, 1).unwrap();
    store.resolve("a@1").unwrap().load().unwrap();
}

/// After one thread's read has failed, the engine refuses every other: of what these read nothing
/// is known. A resume that took it for damage would go on from an older checkpoint, and leave the
/// newest behind.
#[test]
fn a_resume_passes_over_nothing_because_another_thread_met_a_bad_sector() {
    let (_, store) = with_bad_sector(&content(3)["own"]);
    let good = store.job("ES").unwrap();
    for iteration in 1..=2 {
        save(&store, "ES", iteration);
    }
    let bad = store.resolve("NQ@3").unwrap();
    let goes_on = AtomicBool::new(true);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while goes_on.load(Ordering::SeqCst) {
                assert!(bad.load().is_err());
            }
        });
        let resumed: Vec<_> = (0..60).map(|_| good.resume()).collect();
        goes_on.store(false, Ordering::SeqCst);
        for resumed in resumed {
            let resumed = resumed.unwrap().unwrap();
            assert_eq!(resumed.checkpoint.iteration, 2, "{:?}", resumed.skipped);
        }
    });
}

/// The numbers that were given out are known from elsewhere: the engine does nothing more once it
/// has met a page that can't be read, and the last row of all is often in one.
#[test]
fn a_repair_goes_on_after_the_newest_chunk_that_the_disk_cant_read() {
    for bytes in [4_000, 8_100, 65_000, 66_000, 131_000, 200_000] {
        let medium = MemoryMedium::default();
        let store = Store::create_in(Arc::new(medium.clone()), options()).unwrap();
        let newest = crate::support::noise(1, bytes);
        for (iteration, own) in [(1, &crate::support::noise(2, bytes)), (2, &newest)] {
            let job = store.job("NQ").unwrap();
            job.save(iteration).bytes("own", own).commit().unwrap();
        }
        store.close();
        let at = places(&medium.to_vec(), &newest[..16])[0] as u64;
        // In its middle, and where its number stands.
        for at in [at + bytes as u64 / 2, at] {
            let medium = MemoryMedium::new(medium.to_vec());
            let bad = UnreadableMedium::new(Arc::new(medium), at / 512 * 512);
            let store = Store::open_in(bad.clone(), options()).unwrap();
            let repaired = store.repair(&mut |_, _| {}).unwrap();
            assert_eq!(repaired.lost_chunks, 1, "{:?}", repaired.left);
            store.close();
            let store = Store::open_in(bad, options()).unwrap();
            let job = store.job("NQ").unwrap();
            let saved = job.save(3).bytes("own", &newest).commit().unwrap();
            assert_eq!(saved.healed_chunks, 1);
            assert!(saved.checkpoint.read("own").unwrap() == newest);
            assert!(store.verify(VerifyDepth::Full).unwrap().is_clean());
        }
    }
}

/// The engine reads the page beside which it puts the next chunk.
#[test]
fn saves_go_on_after_the_newest_chunk_that_the_disk_cant_read() {
    let medium = MemoryMedium::default();
    let store = Store::create_in(Arc::new(medium.clone()), options()).unwrap();
    let job = store.job("NQ").unwrap();
    let newest = crate::support::noise(1, 400_000);
    job.save(1).bytes("own", &newest).commit().unwrap();
    store.close();
    for at in places(&medium.to_vec(), &newest[..16]) {
        let bad = UnreadableMedium::new(Arc::new(medium.clone()), at as u64 / 512 * 512);
        let store = Store::open_in(bad, options()).unwrap();
        let job = store.job("NQ").unwrap();
        assert!(job.latest().unwrap().unwrap().load().is_err());
        let next = crate::support::noise(2, 400_000);
        let saved = job.save(2).bytes("own", &next).commit().unwrap();
        assert!(saved.checkpoint.read("own").unwrap() == next);
    }
}
