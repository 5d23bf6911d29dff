//! A store rebuilt from its bytes: everything that survives comes back, nothing else does.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use ckptdb::{CheckpointId, Error, Filter, MemoryMedium, Salvaged, Store, VerifyDepth};

use super::survival::{SECTOR, Survival, rows_of};
use super::{Picture, content, eventful, options, picture, places, put, save};
use crate::support::{noise, rounded, walk};

fn salvage(bytes: Vec<u8>) -> Result<(Store, Salvaged), Error> {
    let old = Arc::new(MemoryMedium::new(bytes));
    let new = Arc::new(MemoryMedium::default());
    Store::salvage_in(old, new, options(), &mut |_, _| {})
}

fn eventful_bytes() -> (Vec<u8>, Picture) {
    let medium = MemoryMedium::default();
    let store = eventful(&medium);
    let before = picture(&store);
    store.close();
    (medium.to_vec(), before)
}

#[test]
fn a_store_without_its_first_4_kib_comes_back_as_it_was() {
    let (mut bytes, before) = eventful_bytes();
    bytes[..4096].copy_from_slice(&noise(1, 4096));
    let len = bytes.len() as u64;
    let (store, salvaged) = salvage(bytes).unwrap();
    assert_eq!(picture(&store), before);
    assert!(salvaged.lost.is_empty(), "{:?}", salvaged.lost);
    assert!(salvaged.uncertain.is_empty(), "{:?}", salvaged.uncertain);
    assert_eq!(salvaged.deleted, 2);
    let stats = store.stats().unwrap();
    assert_eq!(salvaged.checkpoints, stats.checkpoints + stats.deleted);
    // Deltas come over as deltas.
    assert!(
        stats.stored_bytes < stats.unique_bytes * 92 / 100,
        "{stats:?}"
    );
    assert!(salvaged.records > stats.log_entries && salvaged.nodes >= stats.nodes);
    assert!(salvaged.chunks >= stats.chunks && salvaged.bytes > 0);
    assert_eq!(salvaged.searched, len);
    assert!(store.verify(VerifyDepth::Full).unwrap().is_clean());
    // Life goes on, with ids and numbers that were never used.
    let fresh = save(&store, "fresh", 1).checkpoint;
    let jobs = store.jobs().unwrap();
    let counts: Vec<_> = jobs
        .iter()
        .map(|job| (job.name.as_str(), job.checkpoints))
        .collect();
    assert_eq!(counts, [("ES", 6), ("fresh", 1), ("phase1/NQ", 7)]);
    assert_eq!(
        store.job("fresh").unwrap().latest().unwrap().unwrap().id,
        fresh.id
    );
    let saved = save(&store, "ES", 20);
    assert!(saved.checkpoint.id.get() > before.latest[1].unwrap());
    store.delete_job("ES").unwrap();
    store.reclaim(true).unwrap();
    assert!(store.verify(VerifyDepth::Full).unwrap().is_clean());
}

/// What was deleted is known by the log; where a record of it is lost, a checkpoint comes over
/// and is named.
#[test]
fn a_checkpoint_whose_log_record_is_lost_comes_over_and_is_said_to_be_uncertain() {
    let (image, before) = eventful_bytes();
    let id = before.latest[0].unwrap();
    let log = rows_of(&image, "log");
    let (_, record) = log.iter().find(|(key, _)| *key == id).unwrap();
    let mut bytes = image.clone();
    for at in places(&image, record) {
        bytes[at + record.len() / 2] ^= 1;
    }
    let (store, salvaged) = salvage(bytes).unwrap();
    assert_eq!(picture(&store).checkpoints, before.checkpoints);
    assert_eq!(salvaged.lost, Vec::new());
    let uncertain: Vec<_> = salvaged
        .uncertain
        .iter()
        .map(|one| one.checkpoint)
        .collect();
    assert!(
        uncertain.contains(&Some(CheckpointId::new(id))),
        "{salvaged:?}"
    );
}

#[test]
fn a_sound_store_salvages_to_an_equal_one_under_the_same_id() {
    let medium = MemoryMedium::default();
    let store = eventful(&medium);
    let (before, id) = (picture(&store), store.id());
    store.close();
    let old = Arc::new(MemoryMedium::new(medium.to_vec()));
    let untouched = old.to_vec();
    let new = Arc::new(MemoryMedium::default());
    let (store, salvaged) = Store::salvage_in(old.clone(), new, options(), &mut |_, _| {}).unwrap();
    assert_eq!(picture(&store), before);
    assert_eq!(store.id(), id);
    assert_eq!(salvaged.lost, Vec::new());
    assert_eq!(old.to_vec(), untouched, "the old file is only read");
}

#[test]
fn what_a_crash_left_of_a_save_and_a_delete_is_not_taken_for_truth() {
    // Every state of the file in which a process may die, with its header destroyed: what comes
    // back is what had been acknowledged, or that and what was under way.
    let medium = MemoryMedium::default();
    let store = Store::create_in(Arc::new(medium.clone()), options()).unwrap();
    let mut listed: BTreeSet<u64> = BTreeSet::new();
    for round in 0..12_u64 {
        save(&store, "NQ", round);
        listed.insert(round);
        if round >= 3 {
            store
                .resolve(&format!("NQ@{}", round - 3))
                .unwrap()
                .delete(false)
                .unwrap();
            listed.remove(&(round - 3));
        }
        if round % 4 == 3 {
            store.reclaim(true).unwrap();
        }
        // The bytes as a kill at this moment leaves them.
        let mut bytes = medium.to_vec();
        bytes[..4096].fill(0xff);
        let (rebuilt, salvaged) = salvage(bytes).unwrap();
        assert!(salvaged.lost.is_empty(), "{round}: {:?}", salvaged.lost);
        let found: BTreeSet<u64> = rebuilt
            .list(&Filter::default())
            .unwrap()
            .map(|found| found.unwrap().iteration)
            .collect();
        assert_eq!(found, listed, "after round {round}");
    }
}

/// The image with one in so many of its sectors replaced, and which.
fn with_garbage(image: &[u8], seed: u64, one_in: usize) -> (Vec<u8>, BTreeSet<usize>) {
    let mut bytes = image.to_vec();
    let sectors = (bytes.len() / SECTOR) as u64;
    let draws = noise(seed, image.len() / SECTOR / one_in * 8);
    let hit: BTreeSet<usize> = draws
        .chunks(8)
        .map(|draw| u64::from_le_bytes(draw.try_into().unwrap()) % sectors)
        .map(|sector| usize::try_from(sector).unwrap())
        .collect();
    for sector in &hit {
        bytes[sector * SECTOR..][..SECTOR].copy_from_slice(&noise(seed + 77, SECTOR));
    }
    (bytes, hit)
}

fn iterations_of(store: &Store) -> BTreeSet<u64> {
    let listed = store.list(&Filter::default()).unwrap();
    listed.map(|found| found.unwrap().iteration).collect()
}

/// Chains of deltas and copies that are derived: a checkpoint needs the bytes of others, and is
/// lost with them only.
#[test]
fn with_garbage_in_its_sectors_every_delta_whose_chain_survives_comes_back() {
    let state = |iteration: u64| {
        let weights = walk(4, iteration, 34_000);
        vec![rounded(&weights), weights]
    };
    let (back, lost) = come_back(&["bf16.copy", "f32.weights"], 24, &state, (100..130, 900));
    assert!(back * 3 > lost && lost > 0, "{back} came back, {lost} not");
}

#[test]
fn with_one_percent_of_its_sectors_garbage_every_checkpoint_whose_bytes_survive_comes_back() {
    // One extent each, which its page holds exactly.
    let state = |iteration: u64| vec![noise(9000 + iteration, 16_384 - 16 - 64)];
    let (back, lost) = come_back(&["own"], 60, &state, (0..20, 100));
    assert!(back > lost && lost > 0, "{back} came back, {lost} not");
}

/// Saves checkpoints with such entries, makes one sector in so many garbage, and salvages: what
/// survives comes back, bit by bit; what does not is named. Returns how many came back, and how
/// many did not.
fn come_back(
    names: &[&str],
    count: u64,
    state: &dyn Fn(u64) -> Vec<Vec<u8>>,
    (seeds, one_in): (std::ops::Range<u64>, usize),
) -> (usize, usize) {
    let medium = MemoryMedium::default();
    let store = Store::create_in(Arc::new(medium.clone()), options()).unwrap();
    let job = store.job("NQ").unwrap();
    let states: BTreeMap<u64, Vec<Vec<u8>>> = (0..count).map(|at| (at, state(at))).collect();
    for (iteration, entries) in &states {
        let entries = names.iter().zip(entries);
        let save = entries.fold(job.save(*iteration), |save, (name, bytes)| {
            put(save, name, bytes)
        });
        save.commit().unwrap();
    }
    store.close();
    let image = medium.to_vec();
    let survival = Survival::of(&image, &states);
    let (mut back, mut lost, mut headless) = (0, 0, 0);
    for seed in seeds {
        let (bytes, hit) = with_garbage(&image, seed, one_in);
        let survive = survival.beside(&hit);
        headless += usize::from(survive.is_empty());
        let (store, salvaged) = salvage(bytes).unwrap();
        let found = iterations_of(&store);
        for iteration in &found {
            let loaded = store.resolve(&format!("NQ@{iteration}")).unwrap();
            for (name, bytes) in names.iter().zip(&states[iteration]) {
                assert_eq!(loaded.read(name).unwrap(), bytes.as_slice());
            }
        }
        let gone = survive.difference(&found).collect::<Vec<_>>();
        assert!(
            gone.is_empty(),
            "seed {seed}: {gone:?} have all their bytes: {salvaged:?}"
        );
        assert!(
            salvaged
                .lost
                .iter()
                .all(|lost| lost.job.as_deref() == Some("NQ"))
        );
        let named: BTreeSet<u64> = salvaged.lost.iter().filter_map(|d| d.iteration).collect();
        let silent = |at: &&u64| !found.contains(at) && !named.contains(at);
        let silent: Vec<_> = states.keys().filter(silent).collect();
        assert!(
            silent.is_empty(),
            "seed {seed}: {silent:?} are neither there nor named"
        );
        back += found.len();
        lost += states.len() - found.len();
    }
    println!("{back} checkpoints came back, {lost} had lost bytes, {headless} files their job");
    (back, lost)
}

#[test]
fn any_piece_of_a_store_is_searched_without_a_panic_and_gives_only_what_was_saved() {
    let (image, before) = eventful_bytes();
    let mut came_back = 0;
    for cut in 1..24 {
        let from = image.len() * cut / 48;
        let to = image.len() - image.len() * cut / 60;
        for piece in [&image[from..], &image[..to], &image[from + 13..to]] {
            match salvage(piece.to_vec()) {
                Ok((store, _)) => {
                    for found in store.list(&Filter::default()).unwrap() {
                        let found = found.unwrap();
                        let (info, entries) = &before.checkpoints[&found.id.get()];
                        assert_eq!(info.content, found.content);
                        for (name, bytes) in entries {
                            assert_eq!(found.read(name).unwrap(), bytes.as_slice());
                        }
                        came_back += 1;
                    }
                }
                Err(Error::NotAStore { .. }) => {}
                Err(other) => panic!("piece {cut}: {other:?}"),
            }
        }
    }
    assert!(came_back > 50, "{came_back} checkpoints out of pieces");
}

#[test]
fn what_is_no_store_is_not_salvaged() {
    for bytes in [
        Vec::new(),
        b"text ".repeat(10_000),
        vec![0; 100_000],
        noise(3, 100_000),
    ] {
        let refused = salvage(bytes);
        assert!(
            matches!(refused, Err(Error::NotAStore { .. })),
            "{refused:?}"
        );
    }
    let folder = tempfile::tempdir().unwrap();
    let old = folder.path().join("old.ckptdb");
    let new = folder.path().join("new.ckptdb");
    std::fs::write(&old, b"text").unwrap();
    let refused = Store::salvage(&old, &new, &mut |_, _| {});
    assert!(
        matches!(refused, Err(Error::NotAStore { .. })),
        "{refused:?}"
    );
    let left: Vec<_> = folder.path().read_dir().unwrap().collect();
    assert_eq!(left.len(), 1, "nothing half is left: {left:?}");
    std::fs::write(&new, b"mine").unwrap();
    let refused = Store::salvage(&old, &new, &mut |_, _| {});
    assert!(matches!(refused, Err(Error::Exists { .. })), "{refused:?}");
    assert_eq!(std::fs::read(&new).unwrap(), b"mine");
}

#[test]
fn a_store_that_holds_another_stores_file_is_not_confused_by_it() {
    let inner = MemoryMedium::default();
    eventful(&inner).close();
    let outer = MemoryMedium::default();
    let store = Store::create_in(Arc::new(outer.clone()), options()).unwrap();
    for iteration in 1..=9 {
        save(&store, "NQ", iteration);
    }
    let job = store.job("backup").unwrap();
    job.save(1)
        .bytes("inner.ckptdb", &inner.to_vec())
        .commit()
        .unwrap();
    let id = store.id();
    // A copy of itself, too: older versions of its own records.
    let mut itself = outer.to_vec();
    itself.truncate(6 << 20);
    job.save(2)
        .bytes("itself.ckptdb", &itself)
        .commit()
        .unwrap();
    store.resolve("NQ@1").unwrap().delete(false).unwrap();
    store.close();
    let mut bytes = outer.to_vec();
    bytes[..4096].fill(0);
    let (store, salvaged) = salvage(bytes).unwrap();
    assert_eq!(store.id(), id);
    assert_eq!(salvaged.lost, Vec::new());
    assert!(store.resolve("NQ@1").is_err(), "it was deleted");
    for iteration in 2..=9 {
        let found = store.resolve(&format!("NQ@{iteration}")).unwrap();
        for (name, bytes) in content(iteration) {
            assert_eq!(found.read(&name).unwrap(), bytes);
        }
    }
    let found = store.resolve("backup@1").unwrap();
    assert_eq!(found.read("inner.ckptdb").unwrap(), inner.to_vec());
}

#[test]
fn an_entry_of_more_chunks_than_a_list_holds_comes_back() {
    let medium = MemoryMedium::default();
    let store = Store::create_in(Arc::new(medium.clone()), options()).unwrap();
    // One chunk of zeros, fifty times.
    let zeros = vec![0; 50 << 20];
    let job = store.job("NQ").unwrap();
    job.save(1).bytes("zeros", &zeros).commit().unwrap();
    drop(job);
    store.close();
    let mut bytes = medium.to_vec();
    bytes[..4096].fill(0);
    let (store, salvaged) = salvage(bytes).unwrap();
    assert_eq!((salvaged.checkpoints, salvaged.lost.len()), (1, 0));
    let found = store.resolve("NQ@1").unwrap();
    assert!(found.read("zeros").unwrap() == zeros);
}
