//! What is stored, encoded anew.

use std::sync::Arc;

use ckptdb::{Compression, DType, MemoryMedium, Options, Saved, Store, VerifyDepth};

use super::{WORDS, check, options, save, store, weights};
use crate::support::{noise, rounded, vector, walk};

#[test]
fn a_recompression_makes_what_was_saved_in_a_hurry_as_small_as_the_rest_and_changes_nothing_else() {
    let hasty = Options {
        compression: Compression::None,
        ..options()
    };
    let store = Store::create_in(Arc::new(MemoryMedium::default()), hasty).unwrap();
    let job = store.job("NQ").unwrap();
    let saved: Vec<Saved> = (0..12).map(|iteration| save(&job, iteration)).collect();
    let other = store.job("other").unwrap();
    let fork = saved[3].checkpoint.fork("fork").unwrap();
    saved[5].checkpoint.delete(false).unwrap();
    let before = store.stats().unwrap().stored_bytes;
    let mut told = (0, 0);
    let done = store
        .recompress(Compression::Default, &mut |done, total| {
            assert!(done <= total);
            told = (done, total);
        })
        .unwrap();
    assert!(told.0 == told.1 && told.0 > 0, "{told:?}");
    assert_eq!(done.chunks, 11);
    assert!(done.rewritten > 9, "{done:?}");
    let after = store.stats().unwrap().stored_bytes;
    assert_eq!(before - after, done.before - done.after);
    assert!(after < before * 4 / 5, "{after} of {before}");
    let left: Vec<u64> = (0..12).filter(|iteration| *iteration != 5).collect();
    check(&store, &job, &left);
    for was in saved.iter().filter(|was| was.checkpoint.iteration != 5) {
        let found = store.resolve(&was.checkpoint.id.to_string()).unwrap();
        assert_eq!(found.content, was.checkpoint.content);
        assert_eq!(found.parent, was.checkpoint.parent);
    }
    assert!(fork.read("weights").unwrap() == weights(3));
    // Once more, there is nothing left to gain.
    let again = store
        .recompress(Compression::Default, &mut |_, _| {})
        .unwrap();
    assert_eq!((again.rewritten, again.before), (0, 0));
    // What was deleted comes back; what is dropped takes nothing else with it.
    let back = store.undelete(saved[5].checkpoint.id).unwrap();
    assert!(back.read("weights").unwrap() == weights(5));
    save(&other, 20);
    store.recompress(Compression::Max, &mut |_, _| {}).unwrap();
    for was in &saved[..9] {
        store.delete(was.checkpoint.id, false).unwrap();
    }
    store.reclaim(true).unwrap();
    check(&store, &job, &[9, 10, 11]);
    check(&store, &other, &[20]);
}

/// What was written before the cut stays, and the next run ends where one without a cut does.
#[test]
fn a_recompression_that_is_cut_off_anywhere_goes_on() {
    let hasty = Options {
        compression: Compression::None,
        ..options()
    };
    let stored = |cut: Option<u64>| {
        let store = Store::create_in(Arc::new(MemoryMedium::default()), hasty.clone()).unwrap();
        let job = store.job("NQ").unwrap();
        (0..6).for_each(|iteration| drop(save(&job, iteration)));
        let before = store.stats().unwrap().stored_bytes;
        if let Some(cut) = cut {
            let mut left = cut;
            let run = std::panic::AssertUnwindSafe(|| {
                store.recompress(Compression::Default, &mut |_, _| {
                    left = left.checked_sub(1).expect("it is cut off here");
                })
            });
            std::panic::catch_unwind(run).unwrap_err();
            check(&store, &job, &[0, 1, 2, 3, 4, 5]);
            assert!(store.stats().unwrap().stored_bytes < before, "{cut}");
        }
        let done = store
            .recompress(Compression::Default, &mut |_, _| {})
            .unwrap();
        check(&store, &job, &[0, 1, 2, 3, 4, 5]);
        let after = store.stats().unwrap().stored_bytes;
        (after, done.rewritten)
    };
    let (whole, all) = stored(None);
    for cut in 0..6 {
        let (bytes, rewritten) = stored(Some(cut));
        assert_eq!(bytes, whole, "{cut}");
        assert_eq!(rewritten, all - cut - 1, "{cut}");
    }
}

/// However the copies were stored before: as they are, or as deltas, each against the one before.
#[test]
fn a_recompression_finds_rounded_copies_and_leaves_what_only_begins_like_one() {
    // More than a chunk, so that copies have two masters and a rest.
    let words = 700_000;
    let masters: Vec<Vec<u8>> = (0..5).map(|step| walk(1, step, words)).collect();
    let other = |copy: &[u8]| {
        let mut other = copy.to_vec();
        *other.last_mut().unwrap() ^= 1;
        other
    };
    for compression in [Compression::None, Compression::Default] {
        let store = store();
        let job = store.job("NQ").unwrap();
        for (iteration, master) in (0..).zip(&masters) {
            let (copy, moments) = (rounded(master), noise(iteration, 4 * words));
            let other = other(&copy);
            let save = job
                .save(iteration)
                .compression(compression)
                .tensor("moments", vector(DType::F32, &moments))
                .tensor("weights", vector(DType::F32, master))
                // What comes from a reader is not compared with anything.
                .tensor_from("copy", DType::Bf16, &[words as u64], &*copy)
                .tensor_from("other", DType::Bf16, &[words as u64], &*other);
            save.commit().unwrap();
        }
        let encodings = |iteration: u64, at: usize| {
            let found = store.resolve(&format!("NQ@{iteration}")).unwrap();
            found.storage().unwrap()[at].encodings.clone()
        };
        assert!(!encodings(2, 0).contains("derived"));
        let before = store.stats().unwrap().stored_bytes;
        let again = |effort| store.recompress(effort, &mut |_, _| {}).unwrap();
        let done = again(Compression::Default);
        let after = store.stats().unwrap().stored_bytes;
        assert_eq!(before - after, done.before - done.after);
        assert_eq!(done.chunks, store.stats().unwrap().chunks);
        for (iteration, master) in (0..).zip(&masters) {
            let found = store.resolve(&format!("NQ@{iteration}")).unwrap();
            let storage = found.storage().unwrap();
            assert_eq!(encodings(iteration, 0).len(), 1);
            assert!(encodings(iteration, 0).contains("derived"), "{iteration}");
            assert!(storage[0].stored_bytes < 200);
            assert!(
                encodings(iteration, 2).len() > 1,
                "its last chunk is its own"
            );
            let copy = rounded(master);
            assert!(found.read("copy").unwrap() == copy);
            assert!(found.read("other").unwrap() == other(&copy));
            assert!(found.read("weights").unwrap() == *master);
        }
        let deep = store.resolve("NQ@3").unwrap().storage().unwrap();
        assert!(deep[3].depth > 1, "the masters are deltas nevertheless");
        assert_eq!(again(Compression::Default).rewritten, 0);
        assert!(store.verify(VerifyDepth::Full).unwrap().is_clean());
        // A master that goes takes no copy with it.
        for iteration in 0..4 {
            let found = store.resolve(&format!("NQ@{iteration}")).unwrap();
            found.delete(false).unwrap();
        }
        store.reclaim(true).unwrap();
        let last = job.latest().unwrap().unwrap();
        assert!(last.read("copy").unwrap() == rounded(&masters[4]));
        assert!(store.verify(VerifyDepth::Full).unwrap().is_clean());
    }
}

/// What moves from place to place is its neighbour's base, before it gets one itself.
#[test]
fn a_recompression_of_a_pool_that_moves_on_by_one_place_loses_nothing() {
    let hasty = Options {
        compression: Compression::None,
        ..options()
    };
    let store = Store::create_in(Arc::new(MemoryMedium::default()), hasty).unwrap();
    let job = store.job("pool").unwrap();
    // Of the second, two places have each other's.
    for (iteration, opponents) in [(0, [3, 2, 1, 9, 10]), (1, [4, 3, 2, 10, 9])] {
        let pool = opponents.map(|opponent| walk(2, opponent, WORDS));
        let names = ["s0", "s1", "s2", "t0", "t1"];
        let places = names.iter().zip(&pool);
        let save = places.fold(job.save(iteration), |save, (name, weights)| {
            save.tensor(name, vector(DType::F32, weights))
        });
        save.commit().unwrap();
    }
    let first = store.resolve("pool@0").unwrap();
    first.delete(false).unwrap();
    for compression in [Compression::Default, Compression::Max] {
        store.recompress(compression, &mut |_, _| {}).unwrap();
        assert!(store.verify(VerifyDepth::Full).unwrap().is_clean());
        let last = store.resolve("pool@1").unwrap();
        for (name, opponent) in [("s0", 4), ("s1", 3), ("s2", 2), ("t0", 10), ("t1", 9)] {
            assert!(
                last.read(name).unwrap() == walk(2, opponent, WORDS),
                "{name}"
            );
        }
    }
}

/// Zeros are their own rounding, and so is whatever repeats itself in the right way.
#[test]
fn a_recompression_derives_nothing_from_itself() {
    let words = 700_000;
    let zeros = vec![0; 4 * words];
    // A word of which both halves are 0x3f80 rounds to such a half.
    let ones: Vec<u8> = [0x80, 0x3f].repeat(2 * words);
    for (master, copies) in [(&zeros, 1), (&zeros, 2), (&ones, 1), (&ones, 2)] {
        let store = store();
        let job = store.job("NQ").unwrap();
        let copy = &master[..2 * words];
        for iteration in 1..=2 {
            let mut save = job
                .save(iteration)
                .compression(Compression::None)
                .tensor("master", vector(DType::F32, master));
            for number in 0..copies {
                let name = format!("copy.{number}");
                save = save.tensor(&name, vector(DType::Bf16, copy));
            }
            save.document_text("step", &iteration.to_string())
                .commit()
                .unwrap();
        }
        for effort in [Compression::Default, Compression::Max, Compression::Default] {
            store.recompress(effort, &mut |_, _| {}).unwrap();
            let report = store.verify(VerifyDepth::Full).unwrap();
            assert!(report.is_clean(), "{:?}", report.damage);
            let last = job.latest().unwrap().unwrap();
            assert!(last.read("master").unwrap() == master[..]);
            assert!(last.read("copy.0").unwrap() == *copy);
        }
    }
}

/// The next state has another copy, that is no rounding: it must not keep this one as it is.
#[test]
fn a_copy_is_derived_whatever_comes_after_it_or_else_encoded_as_all_are() {
    let words = 100_000;
    let master = walk(1, 0, words);
    let copy = rounded(&master);
    let mut other = copy.clone();
    other.iter_mut().step_by(2_000).for_each(|byte| *byte ^= 1);
    // Written against it beforehand, or by the recompression.
    for later in [Compression::None, Compression::Default] {
        let store = store();
        let job = store.job("NQ").unwrap();
        for (iteration, effort, copy) in [(0, Compression::None, &copy), (1, later, &other)] {
            let save = job
                .save(iteration)
                .compression(effort)
                .tensor("master", vector(DType::F32, &master))
                .tensor_from("copy", DType::Bf16, &[words as u64], &**copy);
            save.commit().unwrap();
        }
        store
            .recompress(Compression::Default, &mut |_, _| {})
            .unwrap();
        let first = store.resolve("NQ@0").unwrap().storage().unwrap();
        let is_derived = first[0].encodings.contains("derived");
        assert_eq!(is_derived, later == Compression::None);
        assert!(
            first[0].stored_bytes < 2 * words as u64 * 4 / 5,
            "{first:?}"
        );
        let last = job.latest().unwrap().unwrap();
        assert!(last.read("copy").unwrap() == other);
        assert!(store.verify(VerifyDepth::Full).unwrap().is_clean());
    }
}
