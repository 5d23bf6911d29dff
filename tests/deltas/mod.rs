//! Checkpoints stored as what has changed since the one before: they take less, load as they were,
//! and need nothing that is gone.

mod recompress;

use std::sync::Arc;

use ckptdb::interop::SafetensorsFile;
use ckptdb::{Compression, DType, Error, Job, MemoryMedium, Options, Saved, Store, VerifyDepth};

use crate::support::{noise, rounded, vector, walk};

const WORDS: usize = 40_000;

fn options() -> Options {
    Options {
        cache_bytes: 1 << 20,
        ballast_bytes: 0,
        ..Options::default()
    }
}

fn store() -> Store {
    Store::create_in(Arc::new(MemoryMedium::default()), options()).unwrap()
}

fn weights(iteration: u64) -> Vec<u8> {
    walk(1, iteration, WORDS)
}

fn save(job: &Job, iteration: u64) -> Saved {
    let weights = weights(iteration);
    let save = job
        .save(iteration)
        .tensor("weights", vector(DType::F32, &weights));
    save.commit().unwrap()
}

/// Every checkpoint of the job holds what was saved at its iteration, and the store is sound.
fn check(store: &Store, job: &Job, iterations: &[u64]) {
    for iteration in iterations {
        let found = store
            .resolve(&format!("{}@{iteration}", job.name()))
            .unwrap();
        assert!(
            found.read("weights").unwrap() == weights(*iteration),
            "{iteration}"
        );
    }
    let report = store.verify(VerifyDepth::Full).unwrap();
    assert!(report.is_clean(), "{:?}", report.damage);
    assert_eq!(report.orphans, 0);
}

#[test]
fn of_a_step_only_the_change_is_stored_and_every_ninth_is_whole() {
    let store = store();
    let job = store.job("NQ").unwrap();
    let stored: Vec<u64> = (0..20)
        .map(|iteration| save(&job, iteration).stored_bytes)
        .collect();
    for (iteration, stored) in stored.iter().enumerate() {
        let is_whole = *stored > 4 * WORDS as u64 * 3 / 4;
        assert_eq!(is_whole, iteration % 9 == 0, "{iteration}: {stored}");
    }
    check(&store, &job, &(0..20).collect::<Vec<_>>());
}

#[test]
fn what_only_deltas_need_goes_when_its_checkpoint_goes() {
    let store = store();
    let job = store.job("NQ").unwrap();
    (0..12).for_each(|iteration| drop(save(&job, iteration)));
    let whole = save(&store.job("alone").unwrap(), 8).shared_bytes;
    assert_eq!(
        whole,
        4 * WORDS as u64,
        "an equal state is shared, whoever saved it"
    );
    store.delete_job("alone").unwrap();
    // The first of a chain, one in its middle, one at its end, and two that follow each other.
    for gone in [0, 3, 7, 9, 10] {
        store
            .resolve(&format!("NQ@{gone}"))
            .unwrap()
            .delete(true)
            .unwrap();
    }
    let reclaimed = store.reclaim(true).unwrap();
    assert_eq!(reclaimed.checkpoints, 6);
    let left = [1, 2, 4, 5, 6, 8, 11];
    check(&store, &job, &left);
    assert_eq!(
        store.stats().unwrap().chunks,
        left.len() as u64,
        "no dead weight stays"
    );
    // The same, down to the last one.
    for gone in [1, 2, 4, 5, 6, 8] {
        store
            .resolve(&format!("NQ@{gone}"))
            .unwrap()
            .delete(true)
            .unwrap();
        store.reclaim(true).unwrap();
    }
    check(&store, &job, &[11]);
    assert_eq!(store.stats().unwrap().chunks, 1);
    save(&job, 12);
    check(&store, &job, &[11, 12]);
}

#[test]
fn whoever_reclaims_without_compression_leaves_deltas_what_they_are() {
    let medium = Arc::new(MemoryMedium::default());
    let store = Store::create_in(medium.clone(), options()).unwrap();
    let job = store.job("NQ").unwrap();
    (0..8).for_each(|iteration| drop(save(&job, iteration)));
    drop((job, store));
    let raw = Options {
        compression: Compression::None,
        ..options()
    };
    let store = Store::open_in(medium, raw).unwrap();
    let job = store.job("NQ").unwrap();
    let before = store.stats().unwrap().stored_bytes;
    for gone in 0..4 {
        job.at(gone).unwrap().unwrap().delete(true).unwrap();
        store.reclaim(true).unwrap();
    }
    check(&store, &job, &[4, 5, 6, 7]);
    assert!(store.stats().unwrap().stored_bytes < before);
}

#[test]
fn a_fork_is_a_delta_against_what_it_was_made_from_and_outlives_it() {
    let store = store();
    let job = store.job("NQ").unwrap();
    (0..3).for_each(|iteration| drop(save(&job, iteration)));
    let fork = store.resolve("NQ@1").unwrap().fork("ES").unwrap();
    let ours = store.job("ES").unwrap();
    let saved = save(&ours, 5);
    assert!(saved.stored_bytes < saved.new_bytes * 3 / 4, "{saved:?}");
    drop(fork);
    store.delete_job("NQ").unwrap();
    store.reclaim(true).unwrap();
    check(&store, &ours, &[1, 5]);
    assert_eq!(store.stats().unwrap().chunks, 2);
}

#[test]
fn a_rounded_copy_takes_no_bytes_beside_its_master_and_outlives_it() {
    let store = store();
    let job = store.job("NQ").unwrap();
    let master = walk(1, 3, 700_000);
    let copy = rounded(&master);
    let saved = job
        .save(1)
        .tensor("model.weights", vector(DType::Bf16, &copy))
        .tensor("optimizer.master", vector(DType::F32, &master))
        .commit()
        .unwrap();
    let alone = job
        .save(2)
        .tensor("optimizer.master", vector(DType::F32, &master));
    assert_eq!(alone.commit().unwrap().new_bytes, 0);
    let other = store.job("other").unwrap();
    let like = walk(1, 4, 700_000);
    let taken = other
        .save(1)
        .tensor("optimizer.master", vector(DType::F32, &like));
    let taken = taken.commit().unwrap().stored_bytes;
    assert!(
        saved.stored_bytes < taken + 1000,
        "{saved:?}, {taken} without the copy"
    );
    // The copy is in another job too, which alone remains.
    let third = store.job("copy").unwrap();
    third
        .save(1)
        .tensor("w", vector(DType::Bf16, &copy))
        .commit()
        .unwrap();
    store.delete_job("NQ").unwrap();
    store.delete_job("other").unwrap();
    store.reclaim(true).unwrap();
    let found = store.resolve("copy@1").unwrap();
    assert!(found.read("w").unwrap() == copy);
    assert!(store.verify(VerifyDepth::Full).unwrap().is_clean());
    assert_eq!(store.stats().unwrap().chunks, 2, "the copy's own two");
}

#[test]
fn a_rounded_copy_in_a_safetensors_file_takes_no_bytes_either() {
    let folder = tempfile::tempdir().unwrap();
    let store = store();
    let job = store.job("NQ").unwrap();
    // More than a chunk, so that copies have two masters and a rest.
    let words = 700_000;
    for iteration in 1..=2 {
        let master = walk(1, iteration, words);
        let copy = rounded(&master);
        // One that begins like the master's and ends otherwise is none, in its last chunk.
        let mut other = copy.clone();
        let last = other.len() - 1;
        other[last] ^= 1;
        let path = folder.path().join(format!("{iteration}.safetensors"));
        let tensors = [
            ("copy", vector(DType::Bf16, &copy)),
            ("master", vector(DType::F32, &master)),
            ("other", vector(DType::Bf16, &other)),
        ];
        safetensors::serialize_to_file(tensors, None, &path).unwrap();
        let file = SafetensorsFile::open(&path).unwrap();
        let saved = file.add_to(job.save(iteration), "").commit().unwrap();
        assert_eq!(saved.logical_bytes, 8 * words as u64);
        let checkpoint = job.latest().unwrap().unwrap();
        let storage = checkpoint.storage().unwrap();
        let is_derived = |at: usize| storage[at].encodings.contains("derived");
        assert_eq!([0, 1, 2].map(is_derived), [true, false, true]);
        assert!(storage[0].stored_bytes < 200, "{}", storage[0].stored_bytes);
        assert!(storage[2].encodings.len() > 1, "its last chunk is its own");
        assert!(checkpoint.read("copy").unwrap() == copy);
        assert!(checkpoint.read("other").unwrap() == other);
    }
    assert!(store.verify(VerifyDepth::Full).unwrap().is_clean());
}

#[test]
fn a_file_that_grows_and_a_table_that_is_touched_take_what_is_new() {
    let store = store();
    let job = store.job("agent").unwrap();
    let mut log = Vec::new();
    let mut table = noise(5, 400_000);
    let mut whole = 0;
    for iteration in 0..40_u64 {
        let more = format!(
            "{{\"step\": {iteration}, \"text\": \"{:?}\"}}\n",
            noise(iteration, 900)
        );
        log.extend_from_slice(more.as_bytes());
        let row = usize::try_from(iteration).unwrap() * 9_000 + 640;
        table[row..row + 128].copy_from_slice(&noise(iteration, 128));
        let saved = job
            .save(iteration)
            .bytes("log", &log)
            .tensor("table", vector(DType::U8, &table))
            .commit()
            .unwrap();
        // Whole ones are rare: when a chain has grown as long as it may.
        whole += u32::from(saved.stored_bytes > 12_000);
    }
    assert!((2..=4).contains(&whole), "{whole} of 40");
    let found = job.latest().unwrap().unwrap();
    assert!(found.read("log").unwrap() == log);
    assert!(found.read("table").unwrap() == table);
    assert!(store.verify(VerifyDepth::Full).unwrap().is_clean());
}

/// A state of so many turns and one, in each of which so many bytes are said.
fn agent_state(turns: u64, bytes: usize) -> String {
    let turn = |turn| format!("{{\"turn\": {turn}, \"said\": {:?}}}", noise(turn, bytes));
    let turns: Vec<String> = (0..=turns).map(turn).collect();
    format!("[{}]", turns.join(", "))
}

/// An agent's: a document that grows from turn to turn, and soon is many times what it began with.
#[test]
fn a_state_that_grows_is_stored_whole_once_even_where_it_leaves_its_pack() {
    let store = store();
    let job = store.job("agent").unwrap();
    let state = |turns| agent_state(turns, 900);
    for turn in 0..30_u64 {
        let save = job.save(turn).document_text("state", &state(turn));
        let stored = save.commit().unwrap().stored_bytes;
        assert!(turn == 0 || stored < 2_000, "turn {turn} takes {stored}");
    }
    let latest = job.latest().unwrap().unwrap();
    assert!(latest.entry("state").unwrap().bytes > 80_000);
    for turn in 0..30_u64 {
        let found = job.at(turn).unwrap().unwrap();
        let wanted: serde_json::Value = serde_json::from_str(&state(turn)).unwrap();
        assert!(found.document("state").unwrap() == wanted, "{turn}");
    }
    assert!(store.verify(VerifyDepth::Full).unwrap().is_clean());
}

#[test]
fn a_chain_of_states_ends_after_63_turns_and_all_of_them_load() {
    let store = store();
    let job = store.job("agent").unwrap();
    let state = |turns| agent_state(turns, 200);
    let stored = |turn| {
        let save = job.save(turn).document_text("state", &state(turn));
        save.commit().unwrap().stored_bytes
    };
    let whole: Vec<u64> = (0..70).filter(|turn| stored(*turn) > 5_000).collect();
    // The first states are too short to gain by a base.
    assert!(matches!(whole[..], [64..=66]), "{whole:?}");
    for turn in [0, 31, 32, 63, 64, 69] {
        let found = job.at(turn).unwrap().unwrap();
        let wanted: serde_json::Value = serde_json::from_str(&state(turn)).unwrap();
        assert!(found.document("state").unwrap() == wanted, "{turn}");
    }
    assert!(store.verify(VerifyDepth::Full).unwrap().is_clean());
}

/// Which bases are kept in memory decides about time, and never about what is stored.
#[test]
fn what_is_stored_does_not_depend_on_what_memory_has_kept() {
    let stored = |recent_bytes: usize| -> Vec<u64> {
        let options = Options {
            recent_bytes,
            ..options()
        };
        let store = Store::create_in(Arc::new(MemoryMedium::default()), options).unwrap();
        let job = store.job("NQ").unwrap();
        let mut pixels = noise(77, 300_000);
        let save = |iteration: u64| {
            let from = usize::try_from(iteration % 6).unwrap() * 40_000;
            pixels[from..from + 20_000].copy_from_slice(&noise(iteration, 20_000));
            let weights = weights(iteration);
            let fresh = noise(100 + iteration, 300_000);
            let save = job
                .save(iteration)
                .tensor("weights", vector(DType::F32, &weights))
                .tensor("fresh", vector(DType::F32, &fresh))
                .tensor("pixels", vector(DType::U8, &pixels));
            save.commit().unwrap().stored_bytes
        };
        (0..12).map(save).collect()
    };
    let kept = stored(64 << 20);
    // The pixels that stay are not stored again, though they are noise.
    assert!(kept[1] < kept[0] - 200_000, "{kept:?}");
    // Nothing, and less than all.
    for some in [0, 300_000, 500_000] {
        assert_eq!(stored(some), kept, "{some}");
    }
}

#[test]
fn compression_is_chosen_for_a_store_and_for_a_save() {
    let plain = Options {
        compression: Compression::None,
        ..options()
    };
    let store = Store::create_in(Arc::new(MemoryMedium::default()), plain).unwrap();
    let job = store.job("NQ").unwrap();
    let first = save(&job, 0);
    assert_eq!(first.stored_bytes, first.new_bytes);
    let weights = |iteration| walk(1, iteration, WORDS);
    let stored = |iteration, compression| {
        let weights = weights(iteration);
        let save = job.save(iteration).compression(compression);
        let save = save.tensor("weights", vector(DType::F32, &weights));
        save.commit().unwrap().stored_bytes
    };
    let none = stored(1, Compression::None);
    let fast = stored(2, Compression::Fast);
    let default = stored(3, Compression::Default);
    assert!(none > fast && fast > default, "{none} {fast} {default}");
    check(&store, &job, &[0, 1, 2, 3]);
}

#[test]
fn a_base_that_is_spoilt_is_named_and_heals_what_was_written_against_it() {
    let medium = MemoryMedium::default();
    let store = Store::create_in(Arc::new(medium.clone()), options()).unwrap();
    let job = store.job("NQ").unwrap();
    (0..3).for_each(|iteration| drop(save(&job, iteration)));
    drop(job);
    store.close();
    // The first chunk's raw low bytes stand in the file as they are: its planes of noise.
    let plane = low_plane(&weights(0));
    let mut bytes = medium.to_vec();
    let place = bytes.windows(64).position(|window| window == &plane[..64]);
    bytes[place.unwrap() + 9] ^= 4;
    let medium = MemoryMedium::new(bytes);
    let store = Store::open_in(Arc::new(medium), options()).unwrap();
    let job = store.job("NQ").unwrap();
    let read = |iteration: u64| {
        store
            .resolve(&format!("NQ@{iteration}"))
            .unwrap()
            .read("weights")
    };
    for iteration in 0..3 {
        assert!(
            matches!(read(iteration), Err(Error::Corrupt { .. })),
            "{iteration}"
        );
    }
    let told = read(2).unwrap_err().to_string();
    assert!(told.contains("its base is damaged"), "{told}");
    let report = store.verify(VerifyDepth::Full).unwrap();
    let named = report
        .damage
        .iter()
        .filter(|damage| damage.checkpoint.is_some());
    assert_eq!(named.count(), 3, "{:?}", report.damage);
    // The next save takes no base that can't be read.
    save(&job, 3);
    assert!(read(3).unwrap() == weights(3));
    // Somebody brings the first one's bytes again, and all that is above it is whole.
    let other = store.job("other").unwrap();
    assert_eq!(save(&other, 0).healed_chunks, 1);
    check(&store, &job, &[0, 1, 2, 3]);
}

/// The plane of the lowest bytes, as it is stored: every word turned left by a bit.
fn low_plane(weights: &[u8]) -> Vec<u8> {
    let (words, _) = weights.as_chunks::<4>();
    let lowest = |word: &[u8; 4]| u32::from_le_bytes(*word).rotate_left(1).to_le_bytes()[0];
    words.iter().map(lowest).collect()
}

/// A store rebuilt from these bytes.
fn salvaged(bytes: Vec<u8>) -> Store {
    let old = Arc::new(MemoryMedium::new(bytes));
    let new = Arc::new(MemoryMedium::default());
    Store::salvage_in(old, new, options(), &mut |_, _| {})
        .unwrap()
        .0
}

#[test]
fn what_was_salvaged_outlives_its_bases_too() {
    let medium = MemoryMedium::default();
    let store = Store::create_in(Arc::new(medium.clone()), options()).unwrap();
    let job = store.job("NQ").unwrap();
    (0..5).for_each(|iteration| drop(save(&job, iteration)));
    drop(job);
    store.close();
    let mut bytes = medium.to_vec();
    bytes[..4096].fill(0);
    let store = salvaged(bytes);
    let job = store.job("NQ").unwrap();
    check(&store, &job, &[0, 1, 2, 3, 4]);
    for gone in [1, 3] {
        store
            .resolve(&format!("NQ@{gone}"))
            .unwrap()
            .delete(true)
            .unwrap();
        store.reclaim(true).unwrap();
    }
    check(&store, &job, &[0, 2, 4]);
    assert_eq!(store.stats().unwrap().chunks, 3, "no dead weight stays");
    (5..12).for_each(|iteration| drop(save(&job, iteration)));
    check(&store, &job, &[0, 2, 4, 5, 6, 7, 8, 9, 10, 11]);
}

#[test]
fn encodings_that_lead_to_each_other_do_not_keep_a_salvage_from_its_end() {
    let medium = MemoryMedium::default();
    let store = Store::create_in(Arc::new(medium.clone()), options()).unwrap();
    let job = store.job("NQ").unwrap();
    save(&job, 1);
    save(&job, 2);
    // The second is now stored alone, and then the first one's bytes come again, against it. What
    // they were before lies in pages that are free.
    store.resolve("NQ@1").unwrap().delete(true).unwrap();
    store.reclaim(true).unwrap();
    let again = weights(1);
    job.save(3)
        .tensor("weights", vector(DType::F32, &again))
        .commit()
        .unwrap();
    drop(job);
    store.close();
    let image = medium.to_vec();
    let plane = low_plane(&weights(2));
    let places = image
        .windows(64)
        .enumerate()
        .filter(|(_, window)| *window == &plane[..64]);
    let places: Vec<usize> = places.map(|(at, _)| at).collect();
    assert!(!places.is_empty());
    let mut bytes = image;
    for at in places {
        bytes[at + 9] ^= 4;
    }
    let store = salvaged(bytes);
    for (iteration, right) in [(2, weights(2)), (3, weights(1))] {
        if let Ok(found) = store.resolve(&format!("NQ@{iteration}")) {
            assert!(found.read("weights").unwrap() == right, "{iteration}");
        }
    }
    assert!(store.verify(VerifyDepth::Full).unwrap().is_clean());
}

#[test]
fn a_chunk_whose_base_was_found_spoilt_is_brought_again_and_not_shared() {
    let medium = MemoryMedium::default();
    let store = Store::create_in(Arc::new(medium.clone()), options()).unwrap();
    let job = store.job("NQ").unwrap();
    (0..3).for_each(|iteration| drop(save(&job, iteration)));
    drop(job);
    store.close();
    let plane = low_plane(&weights(0));
    let mut bytes = medium.to_vec();
    let place = bytes.windows(64).position(|window| window == &plane[..64]);
    bytes[place.unwrap() + 9] ^= 4;
    let medium = Arc::new(MemoryMedium::new(bytes));
    let store = Store::open_in(medium, options()).unwrap();
    let first = store.resolve("NQ@0").unwrap();
    assert!(first.read("weights").is_err());
    let other = store.job("other").unwrap();
    assert_eq!(save(&other, 2).healed_chunks, 1);
    check_loads(&store, "other@2", 2);
    check_loads(&store, "NQ@2", 2);
}

fn check_loads(store: &Store, reference: &str, iteration: u64) {
    let found = store.resolve(reference).unwrap();
    assert!(
        found.read("weights").unwrap() == weights(iteration),
        "{reference}"
    );
}

#[test]
fn no_load_takes_more_dense_deltas_than_is_allowed() {
    let trees: [(u8, &[u8]); 5] = [
        (0, &[0]),
        (1, &[0, 1, 1, 1]),
        (2, &[0, 1, 2, 1, 2, 2]),
        (3, &[0, 1, 2, 3, 1, 2, 3, 2, 3]),
        (7, &[0, 1, 2, 3, 4, 5, 6, 7]),
    ];
    for (chain_depth, tree) in trees {
        let options = Options {
            chain_depth,
            ..options()
        };
        let store = Store::create_in(Arc::new(MemoryMedium::default()), options).unwrap();
        let job = store.job("NQ").unwrap();
        let depth = |iteration| {
            let saved = save(&job, iteration).checkpoint.storage().unwrap();
            assert_eq!(saved[0].encodings.len(), 1);
            saved[0].depth
        };
        let depths: Vec<u8> = (0..18).map(depth).collect();
        for chain in depths.chunks(tree.len()) {
            assert_eq!(chain, &tree[..chain.len()]);
        }
        assert!(store.verify(VerifyDepth::Full).unwrap().is_clean());
        // The same, as each save says.
        let store = self::store();
        let job = store.job("NQ").unwrap();
        for (iteration, depth) in (0..).zip(depths) {
            let weights = weights(iteration);
            let save = job
                .save(iteration)
                .tensor("weights", vector(DType::F32, &weights));
            let saved = save.chain_depth(chain_depth).commit().unwrap();
            assert_eq!(saved.checkpoint.storage().unwrap()[0].depth, depth);
        }
    }
}

#[test]
fn with_the_most_effort_chains_are_as_long_as_they_can_be() {
    let store = store();
    let slow = store.job("slow").unwrap();
    let deep = |iteration| {
        let weights = walk(2, iteration, WORDS);
        let save = slow
            .save(iteration)
            .tensor("weights", vector(DType::F32, &weights));
        let saved = save.compression(Compression::Max).commit().unwrap();
        saved.checkpoint.storage().unwrap()[0].depth
    };
    let depths: Vec<u8> = (0..40).map(deep).collect();
    assert_eq!(depths[..32], (0..32).collect::<Vec<u8>>());
    assert_eq!(depths[32..], (0..8).collect::<Vec<u8>>());
    assert!(store.verify(VerifyDepth::Full).unwrap().is_clean());
}

/// A ring of experience in a tensor: a stretch of it is written anew between two saves.
#[test]
fn a_replay_buffer_of_which_one_percent_is_new_takes_about_one_percent() {
    let store = store();
    let job = store.job("NQ").unwrap();
    let (rows, row) = (20_000, 24 * 4);
    let mut ring = noise(1, rows * row);
    let mut head = 0;
    for iteration in 0..6_u64 {
        let save = job
            .save(iteration)
            .tensor("replay.observations", vector(DType::F32, &ring));
        let saved = save.commit().unwrap();
        if iteration > 0 {
            let part = ring.len() as u64 / 100;
            assert!(saved.stored_bytes < part * 5 / 4, "{}", saved.stored_bytes);
        }
        let new = noise(2 + iteration, rows / 100 * row);
        for (at, bytes) in (head..).zip(new.chunks(row)) {
            let at = at % rows * row;
            ring[at..at + row].copy_from_slice(bytes);
        }
        head += rows / 100;
    }
}

#[test]
fn what_can_not_be_compressed_takes_no_more_than_its_bytes() {
    for compression in Compression::ALL {
        let store = store();
        let job = store.job("NQ").unwrap();
        for iteration in 0..3 {
            let data = noise(iteration, 3_000_000);
            let save = job
                .save(iteration)
                .tensor("random", vector(DType::F32, &data))
                .file("noise.bin", &*data);
            let saved = save.compression(compression).commit().unwrap();
            assert!(saved.stored_bytes <= saved.new_bytes, "{compression}");
        }
        let used = store.stats().unwrap().stored_bytes;
        assert!(used <= 18_000_000, "{compression}: {used}");
    }
}

#[test]
fn the_bytes_of_a_store_are_explained() {
    let store = store();
    let job = store.job("NQ").unwrap();
    for iteration in 0..3 {
        let weights = weights(iteration);
        let copy = rounded(&weights);
        let save = job
            .save(iteration)
            .tensor("weights", vector(DType::F32, &weights))
            .tensor("copy", vector(DType::Bf16, &copy))
            .tensor("bias", vector(DType::F32, &weights[..400]))
            .document_text("state", &format!("{{\"step\": {iteration}}}"));
        save.commit().unwrap();
    }
    save(&store.job("other").unwrap(), 2);
    let breakdown = store.breakdown().unwrap();
    let stats = store.stats().unwrap();
    for table in [&breakdown.encodings, &breakdown.kinds] {
        let sum = |of: fn(&ckptdb::Usage) -> u64| table.values().map(of).sum::<u64>();
        assert_eq!(sum(|usage| usage.chunks), stats.chunks, "{table:?}");
        assert_eq!(sum(|usage| usage.raw_bytes), stats.unique_bytes);
        assert_eq!(sum(|usage| usage.stored_bytes), stats.stored_bytes);
    }
    let keys: Vec<_> = breakdown.kinds.keys().map(String::as_str).collect();
    assert_eq!(keys, ["BF16", "F32", "small"]);
    assert_eq!(breakdown.encodings["derived"].chunks, 3);
    // The weights, and the packs of what is small.
    assert_eq!(breakdown.encodings["steps"].chunks, 4);
    let other = breakdown.jobs["other"];
    assert_eq!((other.chunks, other.raw_bytes), (1, 4 * WORDS as u64));
    // It has the weights of the other job's last, which is where they are counted as new.
    let (whole, shared) = (4 * WORDS as u64, |usage: ckptdb::Usage| usage.shared_bytes);
    assert_eq!((shared(other), shared(breakdown.jobs["NQ"])), (0, 0));
    assert_eq!(shared(breakdown.kinds["F32"]), whole);
    assert_eq!(shared(breakdown.encodings["steps"]), whole);
    assert_eq!(breakdown.kinds["F32"].logical_bytes, 4 * whole);
    // All copies are written against the weights, and of the weights all but the first.
    assert_eq!(breakdown.kinds["BF16"].delta_bytes, 3 * whole / 2);
    assert_eq!(breakdown.kinds["BF16"].delta_stored_bytes, 3 * 33);
    assert_eq!(breakdown.kinds["F32"].delta_bytes, 2 * whole);
    assert_eq!(stats.base_bytes, 0);
    // What only a deleted checkpoint has is stored, and named by none.
    store.resolve("NQ@1").unwrap().delete(false).unwrap();
    let left = store.breakdown().unwrap();
    assert_eq!(
        left.encodings["steps"].raw_bytes,
        breakdown.encodings["steps"].raw_bytes
    );
    let logical = |table: &std::collections::BTreeMap<String, ckptdb::Usage>| {
        table.values().map(|usage| usage.logical_bytes).sum::<u64>()
    };
    assert_eq!(logical(&left.encodings), logical(&left.kinds));
    assert_eq!(logical(&left.jobs), logical(&left.kinds));
    store
        .undelete(job.latest().unwrap().unwrap().parent.unwrap())
        .unwrap();
    let newest = job.latest().unwrap().unwrap();
    let storage = newest.storage().unwrap();
    let names: Vec<_> = storage.iter().map(|entry| entry.name.as_str()).collect();
    assert_eq!(names, ["bias", "copy", "state", "weights"]);
    assert!(storage[0].packed && storage[2].packed && !storage[3].packed);
    assert!(storage[1].encodings.contains("derived"));
    assert_eq!(storage[1].stored_bytes, 33);
    assert!(storage[3].encodings.contains("steps"));
    assert_eq!(storage[3].depth, 2);
}

/// An archive of stored members, as `torch.save` and `zipfile` write them, with their data aligned.
fn archive(members: &[(&str, &[u8])]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (name, data) in members {
        bytes.extend_from_slice(b"PK\x03\x04\x14\0\0\0\0\0");
        bytes.resize(bytes.len() + 16, 0);
        let padding = (64 - (bytes.len() + 4 + name.len()) % 64) % 64;
        for length in [name.len(), padding] {
            bytes.extend_from_slice(&u16::try_from(length).unwrap().to_le_bytes());
        }
        bytes.extend_from_slice(name.as_bytes());
        bytes.resize(bytes.len() + padding, b'Z');
        bytes.extend_from_slice(data);
    }
    bytes
}

#[test]
fn tensors_in_an_archive_share_and_delta_as_if_they_were_outside() {
    let store = store();
    let job = store.job("NQ").unwrap();
    let frozen = walk(9, 0, 300_000);
    let model = |iteration: u64| {
        // The first member grows, so that all others move.
        let pickle = vec![b'.'; usize::try_from(100 + 64 * iteration).unwrap()];
        archive(&[
            ("archive/data.pkl", &pickle),
            ("archive/data/0", &frozen),
            ("archive/data/1", &weights(iteration)),
            ("archive/data/2", &rounded(&weights(iteration))),
        ])
    };
    let mut alone = 0;
    for iteration in 0..6 {
        let file = model(iteration);
        let saved = job
            .save(iteration)
            .file("model.pt", &*file)
            .commit()
            .unwrap();
        if iteration == 0 {
            alone = saved.stored_bytes;
        } else {
            let changed = weights(0).len() as u64 * 3 / 2;
            assert!(saved.new_bytes < changed * 5 / 4, "{}", saved.new_bytes);
            assert!(
                saved.stored_bytes < changed * 3 / 4,
                "{}",
                saved.stored_bytes
            );
        }
        assert!(saved.checkpoint.read("model.pt").unwrap() == file);
        for start in [0, 70_001, 1_200_300] {
            let range = start..start + 150_000_u64;
            let part = saved
                .checkpoint
                .read_range("model.pt", range.clone())
                .unwrap();
            let [from, to] = [range.start, range.end].map(|at| usize::try_from(at).unwrap());
            assert!(part == file[from..to], "{start}");
        }
    }
    assert!(alone > 1_000_000);
    assert!(store.verify(VerifyDepth::Full).unwrap().is_clean());
}

#[test]
fn a_file_shares_what_it_had_wherever_new_bytes_come_in() {
    let store = store();
    let job = store.job("NQ").unwrap();
    let mut file = noise(4, 6_000_000);
    job.save(0).file("replay.bin", &*file).commit().unwrap();
    for (iteration, at) in (1..).zip([3_000_000, 10, 5_999_990]) {
        file.splice(at..at, noise(at as u64, 1_000));
        // Through a reader that gives little at a time.
        let reader = std::io::Read::chain(&file[..17], &file[17..]);
        let saved = job
            .save(iteration)
            .file("replay.bin", reader)
            .commit()
            .unwrap();
        assert!(saved.new_bytes < 2_200_000, "{at}: {}", saved.new_bytes);
        assert!(saved.checkpoint.read("replay.bin").unwrap() == file);
    }
    assert!(store.verify(VerifyDepth::Full).unwrap().is_clean());
}
