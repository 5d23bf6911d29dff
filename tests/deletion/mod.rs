//! Deleting, and what it must never take along.

use std::sync::Arc;
use std::time::Duration;

use ckptdb::{
    Compression, Error, Event, Filter, ManualClock, MemoryMedium, Options, Store, Timestamp,
    VerifyDepth,
};

use crate::support::noise;

fn clean(store: &Store) {
    let report = store.verify(VerifyDepth::Full).unwrap();
    assert!(report.is_clean(), "{:#?}", report.damage);
    assert_eq!(report.orphans, 0);
}

#[test]
fn jobs_that_share_chunks_do_not_take_them_from_each_other() {
    let store = Store::in_memory().unwrap();
    let base = noise(1, 3_000_000);
    for name in ["a", "b"] {
        let job = store.job(name).unwrap();
        let saved = job
            .save(1)
            .bytes("base", &base)
            .bytes("own", name.as_bytes())
            .commit();
        let expected = if name == "a" { base.len() as u64 } else { 0 };
        assert!(saved.unwrap().new_bytes.abs_diff(expected) < 10);
    }
    store.delete_job("a").unwrap();
    store.reclaim(true).unwrap();
    assert_eq!(store.resolve("b@1").unwrap().read("base").unwrap(), base);
    clean(&store);
    store.delete_job("b").unwrap();
    let reclaimed = store.reclaim(true).unwrap();
    assert!(reclaimed.bytes >= base.len() as u64);
    assert_eq!(store.stats().unwrap().chunks, 0);
    clean(&store);
}

#[test]
fn a_job_that_is_renamed_is_found_by_its_new_name_with_all_that_it_has() {
    let medium = MemoryMedium::default();
    let store = Store::create_in(Arc::new(medium.clone()), Options::default()).unwrap();
    let job = store.job("NQ").unwrap();
    job.declare_metric("sharpe", ckptdb::Direction::Max)
        .unwrap();
    for iteration in 1..=3 {
        let save = job.save(iteration).bytes("s", &[1]).metric("sharpe", 4.0);
        save.commit().unwrap();
    }
    store
        .resolve("NQ@2")
        .unwrap()
        .set_tag("kept", false)
        .unwrap();
    store.job("ES").unwrap().save(1).commit().unwrap();
    let before = job.info().unwrap().unwrap();

    let refused = |done: ckptdb::Result<()>| done.unwrap_err().to_string();
    assert!(refused(store.rename_job("NX", "NQ.1", false)).contains("NX"));
    assert!(refused(store.rename_job("NQ", "ES", true)).contains("a job `ES` already"));
    assert!(refused(store.rename_job("NQ", "no@name", true)).contains("no@name"));
    store.check_rename("NQ", "NQ.1", false).unwrap();
    assert_eq!(job.info().unwrap().as_ref(), Some(&before));

    store.rename_job("NQ", "NQ.1", false).unwrap();
    store.rename_job("NQ.1", "NQ.1", false).unwrap();
    let after = store.job("NQ.1").unwrap().info().unwrap().unwrap();
    assert_eq!((after.name.as_str(), after.head), ("NQ.1", before.head));
    assert_eq!(job.info().unwrap(), None);
    let found = store.resolve("NQ.1@tag:kept").unwrap();
    assert_eq!((found.iteration, found.job.as_str()), (2, "NQ.1"));
    assert_eq!(store.resolve("NQ.1@best:sharpe").unwrap().iteration, 1);

    // The name is free again, and a job that was deleted comes back by the one that it had last.
    job.save(9).bytes("s", &[2]).commit().unwrap();
    assert_eq!(store.resolve("NQ").unwrap().iteration, 9);
    store.delete_job("NQ.1").unwrap();
    store.undelete(before.head.unwrap()).unwrap();
    assert_eq!(store.resolve("NQ.1").unwrap().iteration, 3);
    clean(&store);
    drop((store, job, found));
    let store = Store::open_in(Arc::new(medium), Options::default()).unwrap();
    assert_eq!(store.resolve("NQ.1").unwrap().iteration, 3);
    clean(&store);
}

#[test]
fn a_job_that_is_trained_is_renamed_only_by_force() {
    let store = Store::in_memory().unwrap();
    let session = store
        .job("NQ")
        .unwrap()
        .session(ckptdb::session::SessionOptions::default())
        .unwrap();
    let refused = store.rename_job("NQ", "NQ.1", false).unwrap_err();
    assert!(matches!(refused, Error::Conflict { .. }), "{refused}");
    store.check_rename("NQ", "NQ.1", false).unwrap_err();
    drop(session);
    store.rename_job("NQ", "NQ.1", false).unwrap();
    let session = store
        .job("NQ.1")
        .unwrap()
        .session(ckptdb::session::SessionOptions::default())
        .unwrap();
    store.rename_job("NQ.1", "NQ.2", true).unwrap();
    assert!(store.job("NQ.2").unwrap().sessions().unwrap().running);
    drop(session);
}

#[test]
fn a_session_does_not_go_on_with_a_checkpoint_of_a_job_that_has_another_name_since() {
    let store = Store::in_memory().unwrap();
    let job = store.job("NQ").unwrap();
    job.save(1).bytes("s", b"x").commit().unwrap();
    let resumed = job.resume().unwrap();
    store.rename_job("NQ", "NQ.1", false).unwrap();
    let options = ckptdb::session::SessionOptions::default();
    let refused = job.session_from(resumed, options).err().unwrap();
    assert!(refused.to_string().contains("NQ"), "{refused}");
    let jobs = store.jobs().unwrap();
    assert_eq!(jobs.len(), 1, "no other one was begun");
    assert!(!store.job("NQ.1").unwrap().sessions().unwrap().running);
}

#[test]
fn the_head_goes_only_by_force_and_the_one_before_takes_its_place() {
    let store = Store::in_memory().unwrap();
    let job = store.job("NQ").unwrap();
    for iteration in 1..=3 {
        job.save(iteration).bytes("s", b"x").commit().unwrap();
    }
    let head = job.latest().unwrap().unwrap();
    assert!(matches!(head.delete(false), Err(Error::Conflict { .. })));
    head.delete(true).unwrap();
    assert_eq!(job.latest().unwrap().unwrap().iteration, 2);
    assert!(matches!(head.delete(true), Err(Error::Deleted { .. })));
    let next = job.save(4).bytes("s", b"y").commit().unwrap().checkpoint;
    assert_eq!(next.parent, Some(job.at(2).unwrap().unwrap().id));
}

#[test]
fn what_is_pinned_is_never_removed_not_even_by_force_or_with_its_job() {
    let store = Store::in_memory().unwrap();
    let job = store.job("NQ").unwrap();
    let pinned = job
        .save(1)
        .bytes("s", b"x")
        .pin()
        .commit()
        .unwrap()
        .checkpoint;
    job.save(2).bytes("s", b"y").commit().unwrap();
    assert!(matches!(pinned.delete(true), Err(Error::Conflict { .. })));
    assert!(matches!(
        store.delete_job("NQ"),
        Err(Error::Conflict { .. })
    ));
    assert_eq!(
        job.list().unwrap().count(),
        2,
        "a refused change changes nothing"
    );
}

#[test]
fn pruning_an_ancestor_breaks_no_descendant() {
    let store = Store::in_memory().unwrap();
    let job = store.job("NQ").unwrap();
    let states: Vec<Vec<u8>> = (0..6).map(|seed| noise(seed / 2, 200_000)).collect();
    for (iteration, state) in (0..).zip(&states) {
        job.save(iteration).bytes("s", state).commit().unwrap();
    }
    for iteration in 0..5 {
        job.at(iteration).unwrap().unwrap().delete(false).unwrap();
        store.reclaim(true).unwrap();
        for (left, state) in (0..)
            .zip(&states)
            .skip(usize::try_from(iteration).unwrap() + 1)
        {
            assert_eq!(job.at(left).unwrap().unwrap().read("s").unwrap(), *state);
        }
        clean(&store);
    }
    let last = store.resolve("NQ@latest").unwrap();
    assert_eq!(
        last.parent
            .map(|id| store.resolve(&id.to_string()).is_err()),
        Some(true)
    );
    assert!(
        store.resolve("NQ@latest~1").is_err(),
        "none of its line survives"
    );
}

#[test]
fn a_reader_whose_checkpoint_is_reclaimed_is_told_that_it_was_deleted() {
    let store = Store::in_memory().unwrap();
    let job = store.job("NQ").unwrap();
    let old = job
        .save(1)
        .bytes("s", &noise(1, 100_000))
        .commit()
        .unwrap()
        .checkpoint;
    job.save(2).bytes("s", b"x").commit().unwrap();
    old.delete(false).unwrap();
    assert_eq!(
        old.read("s").unwrap(),
        noise(1, 100_000),
        "the undo window is a reader's, too"
    );
    store.reclaim(true).unwrap();
    assert!(matches!(old.read("s"), Err(Error::Deleted { .. })));
}

#[test]
fn the_undo_window_ends_with_two_commits_that_are_an_hour_apart() {
    let clock = Arc::new(ManualClock::default());
    let options = Options {
        clock: clock.clone(),
        ..Options::default()
    };
    assert_eq!(options.undo_window, Duration::from_hours(1));
    let store = Store::create_in(Arc::new(MemoryMedium::default()), options).unwrap();
    let job = store.job("NQ").unwrap();
    let mut now = 0;
    let mut save_after = |minutes: i64, iteration| {
        now += minutes * 60_000;
        clock.set(Timestamp::from_millis(now));
        job.save(iteration)
            .bytes("s", &noise(iteration, 50))
            .commit()
            .unwrap();
    };
    save_after(0, 1);
    save_after(1, 2);
    job.at(1).unwrap().unwrap().delete(false).unwrap();
    save_after(600, 3);
    assert_eq!(
        store.reclaim(false).unwrap().waiting,
        1,
        "one commit is not two"
    );
    save_after(30, 4);
    assert_eq!(
        store.reclaim(false).unwrap().waiting,
        1,
        "two, but half an hour apart"
    );
    save_after(30, 5);
    assert_eq!(store.reclaim(false).unwrap().checkpoints, 1);
    assert_eq!(
        store
            .list(&Filter {
                deleted: true,
                ..Filter::default()
            })
            .unwrap()
            .count(),
        0
    );
}

#[test]
fn events_of_the_same_state_meet_in_one_checkpoint() {
    let store = Store::in_memory().unwrap();
    let job = store.job("NQ").unwrap();
    let state = noise(1, 100_000);
    let save = |event| {
        job.save(25_000)
            .bytes("s", &state)
            .event(event)
            .commit()
            .unwrap()
    };
    let first = save(Event::Periodic);
    let second = save(Event::Best("sharpe".into()));
    assert!(!first.merged && second.merged);
    assert_eq!(first.checkpoint.id, second.checkpoint.id);
    assert_eq!(second.checkpoint.events.len(), 2);
    assert_eq!(store.resolve("NQ@event:best").unwrap().events.len(), 2);
    let other = job.save(25_000).bytes("s", b"other").commit();
    assert!(matches!(other, Err(Error::Conflict { .. })));
    let replaced = job
        .save(25_000)
        .bytes("s", b"other")
        .overwrite()
        .commit()
        .unwrap();
    assert_ne!(replaced.checkpoint.id, first.checkpoint.id);
    assert_eq!(job.list().unwrap().count(), 1);
    let earlier = job.save(24_000).bytes("s", b"other").commit();
    assert!(
        matches!(earlier, Err(Error::Conflict { .. })),
        "iterations rise along a line"
    );
}

#[test]
fn a_deleted_jobs_checkpoints_are_listed_counted_and_come_back_with_it() {
    let store = Store::in_memory().unwrap();
    let job = store.job("NQ").unwrap();
    for iteration in 1..=2 {
        let data = noise(iteration, 90_000);
        job.save(iteration).bytes("s", &data).commit().unwrap();
    }
    store.delete_job("NQ").unwrap();
    assert!(store.jobs().unwrap().is_empty());
    let deleted = Filter {
        deleted: true,
        ..Filter::default()
    };
    let ids: Vec<_> = store
        .list(&deleted)
        .unwrap()
        .map(|found| found.unwrap().id)
        .collect();
    assert_eq!(ids.len(), 2);
    assert_eq!(store.stats().unwrap().deleted, 2);
    assert_eq!(store.undelete(ids[1]).unwrap().iteration, 1);
    assert_eq!(job.latest().unwrap().unwrap().iteration, 1);
    assert_eq!(store.undelete(ids[0]).unwrap().iteration, 2);
    assert_eq!(job.latest().unwrap().unwrap().iteration, 2);
    clean(&store);
}

#[test]
fn what_checkpoints_alone_hold_is_what_they_free_together_and_never_what_others_share() {
    // What is written anew without a base that went would take another number of bytes.
    let plain = Options {
        compression: Compression::None,
        ..Options::default()
    };
    let store = Store::create_in(Arc::new(MemoryMedium::default()), plain).unwrap();
    let job = store.job("NQ").unwrap();
    let mut ids = Vec::new();
    for iteration in 0..6_u64 {
        // Shared by two, by all, by none; long lists of chunks; packs in a tree of nodes.
        let pair = noise(100 + iteration / 2, 80_000);
        let long = noise(200 + iteration / 3, 90_000).repeat(60);
        let own = noise(300 + iteration, 70_000);
        let mut save = job.save(iteration).bytes("pair", &pair);
        save = save.bytes("all", &pair[..0]).bytes("long", &long);
        let small: Vec<(String, &[u8])> = (0..60)
            .map(|part| (format!("layer.{part}"), &own[part * 90..][..80]))
            .collect();
        for (name, bytes) in &small {
            save = save.bytes(name, bytes);
        }
        ids.push(save.bytes("own", &own).commit().unwrap().checkpoint.id);
    }
    store.job("fork").unwrap();
    let kept = store.resolve("NQ@3").unwrap().fork("fork").unwrap();
    assert_eq!(store.freed_by(&[]).unwrap(), 0);
    // A fork holds all that its source has.
    assert_eq!(store.freed_by(&[ids[3]]).unwrap(), 0);
    let alone: u64 = ids[..3]
        .iter()
        .map(|id| store.freed_by(&[*id]).unwrap())
        .sum();
    let together = store.freed_by(&ids[..3]).unwrap();
    assert!(
        alone > 3 * 70_000 && together > alone + 80_000,
        "{alone} {together}"
    );
    let before = store.stats().unwrap().stored_bytes;
    for id in &ids[..3] {
        store.delete(*id, false).unwrap();
    }
    store.reclaim(true).unwrap();
    let freed = before - store.stats().unwrap().stored_bytes;
    assert_eq!(freed, together);
    clean(&store);
    kept.load().unwrap();
}

#[test]
fn what_stats_calls_reclaimable_is_what_a_reclaim_frees() {
    let store = Store::in_memory().unwrap();
    let job = store.job("NQ").unwrap();
    let shared = noise(0, 300_000);
    for iteration in 1..=4 {
        let own = noise(iteration, 100_000);
        let save = job.save(iteration).bytes("shared", &shared);
        save.bytes("own", &own)
            .bytes("small", &own[..500])
            .commit()
            .unwrap();
    }
    assert_eq!(store.stats().unwrap().reclaimable_bytes, 0);
    for iteration in [1, 3] {
        job.at(iteration).unwrap().unwrap().delete(false).unwrap();
    }
    let expected = store.stats().unwrap().reclaimable_bytes;
    assert!(expected > 200_000 && expected < 300_000, "{expected}");
    assert_eq!(store.reclaim(true).unwrap().bytes, expected);
}

#[test]
fn a_rollback_leaves_the_other_line_listed_but_never_latest_or_best() {
    let store = Store::in_memory().unwrap();
    let job = store.job("NQ").unwrap();
    job.declare_metric("r", ckptdb::Direction::Max).unwrap();
    for iteration in 1..=4_u32 {
        let save = job.save(iteration.into()).bytes("s", b"x");
        save.metric("r", iteration.into()).commit().unwrap();
    }
    let base = job.at(2).unwrap().unwrap();
    let save = job.save(3).bytes("s", b"y").metric("r", 0.5);
    save.parent(base.id).commit().unwrap();
    assert_eq!(
        job.latest().unwrap().unwrap().read("s").unwrap(),
        b"y".as_slice()
    );
    assert_eq!(job.best("r").unwrap().unwrap().iteration, 2);
    let all = Filter {
        job: Some("NQ".to_owned()),
        abandoned: true,
        ..Filter::default()
    };
    let listed: Vec<_> = store
        .list(&all)
        .unwrap()
        .map(|found| found.unwrap())
        .map(|found| (found.iteration, found.abandoned))
        .collect();
    let expected = [(3, false), (4, true), (3, true), (2, false), (1, false)];
    assert_eq!(listed, expected, "newest first, whatever the line");
    let hint = store.resolve("NQ@4").unwrap_err().hint().unwrap();
    assert!(hint.contains("abandoned lines have it"), "{hint}");
}

#[test]
fn an_ancestor_of_the_head_that_comes_back_is_on_the_current_line_again() {
    let store = Store::in_memory().unwrap();
    let job = store.job("NQ").unwrap();
    let save = |iteration: u64, parent: Option<ckptdb::CheckpointId>| {
        let data = noise(iteration, 40);
        let save = job.save(iteration).bytes("s", &data);
        let save = match parent {
            Some(parent) => save.parent(parent),
            None => save,
        };
        save.commit().unwrap().checkpoint.id
    };
    let (one, two, three) = (save(1, None), save(2, None), save(3, None));
    save(2, Some(one));
    store.delete(two, false).unwrap();
    save(4, Some(three));
    assert!(!store.undelete(two).unwrap().abandoned);
    let line: Vec<u64> = job.list().unwrap().map(|c| c.unwrap().iteration).collect();
    assert_eq!(line, [4, 3, 2, 1]);
    assert_eq!(store.resolve("NQ@2").unwrap().id, two);
    clean(&store);
}

/// It was the head again, and `latest` what the rollback had gone away from.
#[test]
fn what_a_rollback_left_behind_stays_so_when_it_was_deleted_and_comes_back() {
    for deleted_first in [false, true] {
        let store = Store::in_memory().unwrap();
        let job = store.job("NQ").unwrap();
        let save = |iteration: u64| {
            let saved = job
                .save(iteration)
                .bytes("s", &noise(iteration, 40))
                .commit();
            saved.unwrap().checkpoint.id
        };
        let [one, two, three, four] = [1, 2, 3, 4].map(save);
        let delete = || {
            store.delete(four, true).unwrap();
            store.delete(two, false).unwrap();
        };
        if deleted_first {
            delete();
            job.rollback(one, "it broke").unwrap();
        } else {
            job.rollback(one, "it broke").unwrap();
            delete();
        }
        for id in [four, two] {
            assert!(store.undelete(id).unwrap().abandoned, "{deleted_first}");
        }
        assert_eq!(job.latest().unwrap().unwrap().id, one);
        // Back on the line that they are of, they are on it too.
        store.delete(two, false).unwrap();
        job.rollback(three, "it did not").unwrap();
        assert!(!store.undelete(two).unwrap().abandoned);
        assert_eq!(job.latest().unwrap().unwrap().id, three);
        clean(&store);
    }
}

#[test]
fn long_entries_that_share_their_lists_survive_each_others_end() {
    let store = Store::in_memory().unwrap();
    let job = store.job("NQ").unwrap();
    // Beyond 48 chunks the list is a tree of its own.
    let long = noise(5, 60 << 20);
    let mut other = long.clone();
    other[30 << 20] ^= 1;
    for (iteration, data) in (1..).zip([&long, &other, &long]) {
        let saved = job.save(iteration).bytes("long", data).commit().unwrap();
        let most = [60 << 20, 1_048_496, 0][usize::try_from(iteration).unwrap() - 1];
        assert!(saved.new_bytes <= most, "{}", saved.new_bytes);
    }
    store.delete(job.at(1).unwrap().unwrap().id, false).unwrap();
    store.reclaim(true).unwrap();
    clean(&store);
    assert_eq!(job.at(2).unwrap().unwrap().read("long").unwrap(), other);
    let range = (29 << 20)..(31 << 20);
    let kept = job.at(3).unwrap().unwrap();
    let bytes = usize::try_from(range.start).unwrap()..usize::try_from(range.end).unwrap();
    assert_eq!(kept.read_range("long", range).unwrap(), long[bytes]);
}
