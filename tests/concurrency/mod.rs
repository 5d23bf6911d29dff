//! Threads on one store: savers, readers, a deleter, at once.

mod bursts;

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use ckptdb::policy::{Keep, Retention};
use ckptdb::{DType, Error, Store, TensorSlice, VerifyDepth};

use crate::support::noise;

const SAVERS: u64 = 4;
const SAVES: u64 = 25;

fn state(job: u64, iteration: u64) -> Vec<u8> {
    noise(job * 1_000 + iteration, 80_000)
}

/// Deletes all but the two newest checkpoints of every job, again and again.
fn prune(store: &Store, done: &AtomicBool) -> u64 {
    let mut deleted = 0;
    while !done.load(Ordering::SeqCst) {
        for info in store.jobs().unwrap() {
            let old = store.job(&info.name).unwrap().list().unwrap().skip(2);
            for checkpoint in old.map(Result::unwrap) {
                match checkpoint.delete(false) {
                    Ok(()) => deleted += 1,
                    Err(error) => panic!("{error:?}"),
                }
            }
        }
        store.reclaim(true).unwrap();
    }
    deleted
}

/// Loads the newest checkpoints, again and again: right, or deleted meanwhile.
fn watch(store: &Store, base: &[u8], done: &AtomicBool) -> u64 {
    let mut loaded = 0;
    while !done.load(Ordering::SeqCst) {
        for number in 0..SAVERS {
            let job = store.job(&format!("market/{number}")).unwrap();
            let Some(checkpoint) = job.latest().unwrap() else {
                continue;
            };
            let read = |name: &str| match checkpoint.read(name) {
                Ok(data) => Some(data),
                Err(Error::Deleted { .. }) => None,
                Err(error) => panic!("{error:?}"),
            };
            if let (Some(found), Some(own)) = (read("base"), read("own")) {
                assert_eq!(found, base);
                assert_eq!(own, state(number, checkpoint.iteration));
                loaded += 1;
            }
        }
    }
    loaded
}

#[test]
fn savers_readers_and_a_deleter_at_once_never_see_a_wrong_or_missing_byte() {
    let store = Store::in_memory().unwrap();
    let base = noise(99, 400_000);
    let done = AtomicBool::new(false);
    let saved = AtomicU64::new(0);
    std::thread::scope(|scope| {
        let savers: Vec<_> = (0..SAVERS)
            .map(|number| {
                let (store, base, saved) = (&store, &base, &saved);
                scope.spawn(move || {
                    let job = store.job(&format!("market/{number}")).unwrap();
                    for iteration in 1..=SAVES {
                        let own = state(number, iteration);
                        let save = job.save(iteration).bytes("base", base);
                        save.bytes("own", &own).commit().unwrap();
                        saved.fetch_add(1, Ordering::SeqCst);
                    }
                })
            })
            .collect();
        let pruner = scope.spawn(|| prune(&store, &done));
        let watcher = scope.spawn(|| watch(&store, &base, &done));
        let outcomes: Vec<_> = savers
            .into_iter()
            .map(std::thread::ScopedJoinHandle::join)
            .collect();
        done.store(true, Ordering::SeqCst);
        outcomes.into_iter().for_each(Result::unwrap);
        let (deleted, loaded) = (pruner.join().unwrap(), watcher.join().unwrap());
        println!("{deleted} deleted and {loaded} loaded beside the saves");
        assert!(deleted > 0 && loaded > 0);
    });
    assert_eq!(saved.into_inner(), SAVERS * SAVES);
    for number in 0..SAVERS {
        let latest = store.resolve(&format!("market/{number}@latest")).unwrap();
        assert_eq!(latest.iteration, SAVES);
        assert_eq!(latest.read("own").unwrap(), state(number, SAVES));
    }
    let report = store.verify(VerifyDepth::Full).unwrap();
    assert!(report.is_clean(), "{:#?}", report.damage);
    assert_eq!(report.orphans, 0);
}

#[test]
fn retention_loads_and_compactions_beside_saves_spoil_nothing() {
    let store = Store::in_memory().unwrap();
    let base = noise(99, 400_000);
    let done = AtomicBool::new(false);
    let keep = Retention::new([Keep::Latest(2)]).unwrap();
    let tidy = || {
        let (mut pruned, mut compacted) = (0, 0);
        while !done.load(Ordering::SeqCst) {
            for info in store.jobs().unwrap() {
                pruned += store.job(&info.name).unwrap().prune(&keep).unwrap().deleted;
            }
            store.reclaim(true).unwrap();
            store.compact().unwrap();
            compacted += 1;
        }
        (pruned, compacted)
    };
    std::thread::scope(|scope| {
        let tidier = scope.spawn(tidy);
        let watcher = scope.spawn(|| watch(&store, &base, &done));
        let savers: Vec<_> = (0..SAVERS)
            .map(|number| {
                let (store, base) = (&store, &base);
                scope.spawn(move || {
                    let job = store.job(&format!("market/{number}")).unwrap();
                    for iteration in 1..=SAVES {
                        let own = state(number, iteration);
                        let save = job.save(iteration).bytes("base", base);
                        save.bytes("own", &own).commit().unwrap();
                    }
                })
            })
            .collect();
        let outcomes: Vec<_> = savers
            .into_iter()
            .map(std::thread::ScopedJoinHandle::join)
            .collect();
        done.store(true, Ordering::SeqCst);
        outcomes.into_iter().for_each(Result::unwrap);
        let ((pruned, compacted), loaded) = (tidier.join().unwrap(), watcher.join().unwrap());
        println!("{pruned} pruned, {compacted} compactions, {loaded} loaded beside the saves");
        assert!(pruned > 0 && compacted > 0 && loaded > 0);
    });
    for number in 0..SAVERS {
        let job = store.job(&format!("market/{number}")).unwrap();
        job.prune(&keep).unwrap();
        let kept: Vec<u64> = job.list().unwrap().map(|c| c.unwrap().iteration).collect();
        assert_eq!(kept, [SAVES, SAVES - 1]);
        let latest = job.latest().unwrap().unwrap();
        assert_eq!(latest.read("own").unwrap(), state(number, SAVES));
        assert_eq!(latest.read("base").unwrap(), base);
    }
    let report = store.verify(VerifyDepth::Full).unwrap();
    assert!(report.is_clean(), "{:#?}", report.damage);
}

/// Between the chunks that a verification reads, others delete, reclaim, recompress and save.
#[test]
fn what_others_remove_or_save_while_a_store_is_verified_is_no_damage() {
    let store = Store::in_memory().unwrap();
    let job = store.job("NQ").unwrap();
    let save = |iteration: u64| {
        // A little of it changes, and is kept with other such changes.
        let mut bytes = state(1, 1);
        let from = usize::try_from(iteration).unwrap() * 100;
        bytes[from..from + 400].fill(7);
        let tensor = TensorSlice::new(DType::U8, &[bytes.len()], &bytes).unwrap();
        let save = job.save(iteration).tensor("weights", tensor);
        save.commit().unwrap().checkpoint
    };
    let all: Vec<_> = (1..10).map(save).collect();
    let mut old = all.iter();
    let mut iteration = 100;
    let beside = &mut |_: u64, _: u64| {
        if let Some(checkpoint) = old.next().filter(|_| old.len() > 4) {
            checkpoint.delete(true).unwrap();
            store.reclaim(true).unwrap();
        }
        iteration += 1;
        if iteration < 120 {
            save(iteration);
        }
    };
    let report = store.verify_with(VerifyDepth::Full, beside).unwrap();
    assert!(report.is_clean(), "{:?}", report.damage);
    assert_eq!(report.orphans, 0);
    assert_eq!(report.checkpoints, 9);
}
