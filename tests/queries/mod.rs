//! Latest, best, references, lists: right, and at a price that does not grow with the store.

use std::sync::Arc;

use ckptdb::policy::{Keep, Retention};
use ckptdb::{
    Direction, Error, Event, Filter, ManualClock, MemoryMedium, Options, Store, Timestamp,
};

use crate::support::{CountingMedium, noise};

fn store_with(scores: &[f64]) -> Store {
    let store = Store::in_memory().unwrap();
    let job = store.job("NQ").unwrap();
    job.declare_metric("score", Direction::Max).unwrap();
    job.declare_metric("loss", Direction::Min).unwrap();
    for (iteration, score) in (1_u64..).zip(scores) {
        let save = job.save(iteration * 10).bytes("s", b"x");
        save.metric("score", *score)
            .metric("loss", *score)
            .commit()
            .unwrap();
    }
    store
}

fn iterations(found: Vec<ckptdb::Checkpoint>) -> Vec<u64> {
    found
        .into_iter()
        .map(|checkpoint| checkpoint.iteration)
        .collect()
}

/// Stable Baselines 3 #468: a best model was restored without the statistics of its normaliser.
#[test]
fn the_best_comes_with_the_normaliser_that_it_was_saved_with() {
    let store = Store::in_memory().unwrap();
    let job = store.job("NQ").unwrap();
    job.declare_metric("reward", Direction::Max).unwrap();
    for (iteration, reward) in [(1_u64, 0.5), (2, 0.9), (3, 0.7), (4, 0.8)] {
        let (policy, statistics) = (noise(iteration, 70_000), noise(100 + iteration, 900));
        let save = job.save(iteration).bytes("policy", &policy);
        let save = save.bytes("vecnormalize.pkl", &statistics);
        save.metric("reward", reward).commit().unwrap();
    }
    let best = Keep::Best {
        metric: "reward".to_owned(),
        count: 1,
        direction: None,
    };
    let keep = [Keep::Latest(1), best];
    job.prune(&Retention::new(keep).unwrap()).unwrap();
    store.reclaim(true).unwrap();
    let best = job.resume_best("reward").unwrap().unwrap().checkpoint;
    assert_eq!(best.iteration, 2);
    assert!(best.read("policy").unwrap() == noise(2, 70_000));
    assert!(best.read("vecnormalize.pkl").unwrap() == noise(102, 900));
    assert_eq!(job.latest().unwrap().unwrap().iteration, 4);
}

/// Lightning #11379: a run that was resumed deleted the checkpoints of another.
#[test]
fn a_prune_of_one_job_leaves_every_other_as_it_was() {
    let store = store_with(&[1.0, 2.0, 3.0, 4.0]);
    let fork = store.resolve("NQ@20").unwrap().fork("NQ/again").unwrap();
    let other = store.job("NQ/again").unwrap();
    for iteration in 30..36 {
        other.save(iteration).bytes("s", b"y").commit().unwrap();
    }
    let before: Vec<u64> = iterations(
        store
            .job("NQ")
            .unwrap()
            .list()
            .unwrap()
            .map(Result::unwrap)
            .collect(),
    );
    let pruned = other.prune(&Retention::new([Keep::Latest(2)]).unwrap());
    assert_eq!(pruned.unwrap().deleted, 5);
    store.reclaim(true).unwrap();
    let after = store.job("NQ").unwrap().list().unwrap().map(Result::unwrap);
    assert_eq!(iterations(after.collect()), before);
    assert!(store.resolve(&fork.id.to_string()).is_err());
    assert!(store.resolve("NQ@20").unwrap().load().is_ok());
}

#[test]
fn one_nan_never_freezes_the_best_and_infinities_never_rank() {
    let store = store_with(&[
        f64::NAN,
        1.0,
        f64::INFINITY,
        2.0,
        f64::NEG_INFINITY,
        f64::NAN,
    ]);
    let job = store.job("NQ").unwrap();
    assert_eq!(iterations(job.ranking("score", 10).unwrap()), [40, 20]);
    assert_eq!(iterations(job.ranking("loss", 10).unwrap()), [20, 40]);
    let shown = job.at(10).unwrap().unwrap();
    assert!(
        shown.metrics["score"].is_nan(),
        "it is recorded all the same"
    );
}

#[test]
fn of_equal_values_the_earlier_is_better_in_both_directions() {
    let store = store_with(&[1.0, 3.0, 3.0, 0.0, -0.0]);
    let job = store.job("NQ").unwrap();
    assert_eq!(iterations(job.ranking("score", 3).unwrap()), [20, 30, 10]);
    assert_eq!(
        iterations(job.ranking("loss", 2).unwrap()),
        [40, 50],
        "-0 is 0"
    );
}

#[test]
fn a_metric_without_direction_is_never_guessed() {
    let store = store_with(&[1.0]);
    let job = store.job("NQ").unwrap();
    job.save(20)
        .bytes("s", b"y")
        .metric("reward", 1.0)
        .commit()
        .unwrap();
    let error = job.best("reward").unwrap_err();
    assert!(matches!(error, Error::Undeclared { .. }));
    assert!(error.hint().unwrap().contains("metric declare NQ reward"));
    let error = job.declare_metric("score", Direction::Min).unwrap_err();
    assert!(
        matches!(error, Error::Conflict { .. }),
        "a wrong declaration is noticed"
    );
    job.redirect_metric("score", Direction::Min).unwrap();
    assert_eq!(job.best("score").unwrap().unwrap().iteration, 10);
    assert!(matches!(
        store.resolve("NQ@best"),
        Err(Error::NotFound { .. })
    ));
    job.set_main_metric("score").unwrap();
    assert_eq!(store.resolve("NQ@best").unwrap().iteration, 10);
}

#[test]
fn the_best_by_the_only_metric_with_a_direction_needs_no_main_one() {
    let store = Store::in_memory().unwrap();
    let job = store.job("NQ").unwrap();
    for (iteration, loss) in [(1, 0.5), (2, 0.25), (3, 0.75)] {
        let save = job.save(iteration).bytes("s", b"y").metric("loss", loss);
        save.direction("loss", Direction::Min).commit().unwrap();
    }
    assert_eq!(store.resolve("NQ@best").unwrap().iteration, 2);
    assert_eq!(store.resolve("best").unwrap().iteration, 2);
    job.declare_metric("reward", Direction::Max).unwrap();
    let error = store.resolve("NQ@best").unwrap_err();
    assert!(error.hint().unwrap().contains("best:loss or best:reward"));
    assert_eq!(store.resolve("~2").unwrap().iteration, 1);
    assert_eq!(store.resolve("NQ@~1").unwrap().iteration, 2);
}

#[test]
fn references_lead_where_they_say() {
    let store = store_with(&[1.0, 4.0, 2.0, 3.0]);
    let job = store.job("NQ").unwrap();
    let interrupt = job.save(50).bytes("s", b"z").event(Event::Interrupt);
    interrupt.tag("good").commit().unwrap();
    for (reference, iteration) in [
        ("NQ", 50),
        ("NQ@latest", 50),
        ("latest~2", 30),
        ("best:score", 20),
        ("NQ@best:score~1", 10),
        ("NQ@best:loss", 10),
        ("30", 30),
        ("NQ@50:interrupt", 50),
        ("NQ@event:interrupt", 50),
        ("NQ@event:manual", 40),
        ("NQ@tag:good", 50),
    ] {
        assert_eq!(
            store.resolve(reference).unwrap().iteration,
            iteration,
            "{reference}"
        );
    }
    let elsewhere = store.resolve("other.ckptdb:NQ@latest");
    assert!(
        matches!(elsewhere, Err(Error::Invalid { .. })),
        "never another store's"
    );
    for (reference, hint) in [
        ("NQ@35", "nearest is 30"),
        ("NQ@50:final", "the events of iteration 50: interrupt"),
        ("NP@latest", "did you mean `NQ`"),
        ("NQ@latest~9", "4 checkpoints"),
        ("id:999", "ids go up to"),
        ("NQ@tag:bad", "there are: good"),
        ("NQ@tag:goodd", "did you mean `good`?"),
        ("NQ@event:final", "its events: interrupt, manual"),
        ("NQ@-3d", "none that old"),
        ("NQ@best:los", "did you mean `loss`?"),
        ("NQ@best:reward", "there are: loss, score"),
    ] {
        let error = store.resolve(reference).unwrap_err();
        assert!(
            matches!(error, Error::NotFound { .. }),
            "{reference}: {error:?}"
        );
        assert!(
            error.hint().unwrap().contains(hint),
            "{reference}: {:?}",
            error.hint()
        );
    }
}

#[test]
fn order_is_by_commit_whatever_the_clock_says() {
    let clock = Arc::new(ManualClock::default());
    let options = Options {
        clock: clock.clone(),
        ..Options::default()
    };
    let store = Store::create_in(Arc::new(MemoryMedium::default()), options).unwrap();
    let job = store.job("NQ").unwrap();
    let hour = 3_600_000;
    for (iteration, time) in [
        (1, 5 * hour),
        (2, i64::MAX),
        (3, 0),
        (4, -hour),
        (5, 3 * hour),
    ] {
        clock.set(Timestamp::from_millis(time));
        job.save(iteration).bytes("s", b"x").commit().unwrap();
    }
    assert_eq!(job.latest().unwrap().unwrap().iteration, 5);
    let listed: Vec<u64> = job
        .list()
        .unwrap()
        .map(|found| found.unwrap().iteration)
        .collect();
    assert_eq!(listed, [5, 4, 3, 2, 1]);
    assert_eq!(
        store.resolve("NQ@-2h").unwrap().iteration,
        4,
        "the newest that is two hours old"
    );
}

#[test]
fn filters_select_by_job_event_iteration_and_number() {
    let store = Store::in_memory().unwrap();
    for job in ["phase1/NQ", "phase2/NQ", "phase2/ES"] {
        for iteration in 1..=3_u64 {
            let event = if iteration == 2 {
                Event::Best("r".into())
            } else {
                Event::Periodic
            };
            let save = store.job(job).unwrap();
            save.save(iteration)
                .bytes("s", job.as_bytes())
                .event(event)
                .commit()
                .unwrap();
        }
    }
    let count = |filter: &Filter| store.list(filter).unwrap().map(Result::unwrap).count();
    let of = |pattern: &str| Filter {
        job: Some(pattern.to_owned()),
        ..Filter::default()
    };
    assert_eq!(count(&Filter::default()), 9);
    assert_eq!(count(&of("phase2/*")), 6);
    assert_eq!(count(&of("phase1/NQ")), 3);
    assert_eq!(count(&of("nothing")), 0);
    let events = |events: &[&str]| Filter {
        events: events.iter().map(ToString::to_string).collect(),
        ..of("phase1/NQ")
    };
    assert_eq!(count(&events(&["best"])), 1);
    assert_eq!(count(&events(&["best(r)"])), 1);
    assert_eq!(count(&events(&["periodic"])), 2);
    assert_eq!(count(&events(&["final"])), 0);
    assert_eq!(count(&events(&["best", "periodic"])), 3);
    let two = Filter {
        limit: Some(2),
        ..events(&["best", "periodic"])
    };
    assert_eq!(count(&two), 2);
    assert_eq!(
        count(&Filter {
            iterations: 2..=2,
            ..events(&["periodic"])
        }),
        0
    );
    assert_eq!(
        count(&Filter {
            events: vec!["best".to_owned()],
            ..of("*/NQ")
        }),
        2
    );
    assert_eq!(
        count(&Filter {
            iterations: 2..=3,
            ..Filter::default()
        }),
        6
    );
    assert_eq!(
        count(&Filter {
            limit: Some(4),
            ..Filter::default()
        }),
        4
    );
}

/// Reads of the medium that a query takes in a store of `total` checkpoints, with nothing cached.
fn cold_reads(total: u64, query: impl Fn(&Store)) -> u64 {
    let medium = MemoryMedium::default();
    let store = Store::create_in(Arc::new(medium.clone()), Options::default()).unwrap();
    let jobs: Vec<_> = (0..10)
        .map(|job| store.job(&format!("job{job}")).unwrap())
        .collect();
    for job in &jobs {
        job.declare_metric("score", Direction::Max).unwrap();
    }
    for n in 0..total {
        let job = &jobs[usize::try_from(n % 10).unwrap()];
        let score = f64::from(u32::try_from((n * 7919) % 1009).unwrap());
        job.save(n / 10)
            .bytes("s", b"x")
            .metric("score", score)
            .commit()
            .unwrap();
    }
    drop(jobs);
    store.close();
    let (counting, counters) = CountingMedium::new(Arc::new(medium));
    let store = Store::open_in(counting, Options::default()).unwrap();
    let before = counters.reads();
    query(&store);
    counters.reads() - before
}

#[test]
fn queries_read_pages_by_the_logarithm_of_the_store() {
    type Query = fn(&Store);
    let queries: [(&str, Query); 5] = [
        ("latest", |store| {
            store.job("job7").unwrap().latest().unwrap().unwrap();
        }),
        ("best", |store| {
            let job = store.job("job7").unwrap();
            job.best("score").unwrap().unwrap();
        }),
        ("ranking", |store| {
            let job = store.job("job7").unwrap();
            job.ranking("score", 5).unwrap();
        }),
        ("newest 10", |store| {
            let filter = Filter {
                job: Some("job7".to_owned()),
                limit: Some(10),
                ..Filter::default()
            };
            assert_eq!(store.list(&filter).unwrap().count(), 10);
        }),
        ("some iterations", |store| {
            let filter = Filter {
                job: Some("job7".to_owned()),
                iterations: 5..=9,
                ..Filter::default()
            };
            assert_eq!(store.list(&filter).unwrap().count(), 5);
        }),
    ];
    for (name, query) in queries {
        let (small, large) = (cold_reads(200, query), cold_reads(4_000, query));
        // Twenty times the checkpoints: a level or two more in each of the trees that are read.
        assert!(large <= small + 20, "{name}: {small} reads, then {large}");
    }
}
