//! What is decided from what is left of a store's records.

use super::*;
use crate::format::{
    Group, Later, LogRecord, Manifest, MetricRecord, NO_PREVIOUS, Record, SavedPart,
    SessionsRecord, StoreTag, TableCode,
};
use crate::id::StoreId;

const STORE: StoreId = StoreId::new([7; 16]);

/// The log of these actions, from id 1 on.
fn logged(actions: Vec<Action>) -> Evidence {
    let mut evidence = Evidence::new(STORE);
    let mut previous = NO_PREVIOUS;
    for (id, action) in (1_u64..).zip(actions) {
        let record = LogRecord {
            at: 0,
            previous,
            action,
        };
        let bytes = record.to_bytes(StoreTag::of(STORE), &id.to_be_bytes());
        let bytes = bytes.unwrap();
        evidence.take(TableCode::Log, id, &bytes);
        previous = LogRecord::chain(&bytes);
    }
    evidence
}

fn create(job: u32, name: &str) -> Action {
    let name = name.to_owned();
    Action::CreateJob { job, name }
}

fn save(job: u32, iteration: u64, replaced: Option<u64>) -> Action {
    Action::Save {
        job,
        iteration,
        parent: None,
        content: [1; 32],
        replaced,
    }
}

fn declare(job: u32, name: &str, direction: u8) -> Action {
    let name = name.to_owned();
    Action::DeclareMetric {
        job,
        name,
        direction,
    }
}

fn start(job: u32, resumed: Option<u64>, lost: u64) -> Action {
    Action::SessionStart {
        job,
        resumed,
        skipped: 1,
        lost_iterations: lost,
        lost_millis: 10 * lost,
    }
}

fn end(job: u32, session: u64, outcome: u8, head: Option<u64>) -> Action {
    let reason = String::new();
    Action::SessionEnd {
        job,
        session,
        outcome,
        head,
        reason,
    }
}

/// What two jobs went through.
fn eventful() -> Vec<Action> {
    vec![
        create(1, "NQ"),
        create(2, "ES"),
        declare(1, "loss", 0),
        save(1, 10, None),
        declare(1, "sharpe", 1),
        Action::MainMetric {
            job: 1,
            name: "loss".to_owned(),
        },
        Action::Verified { checkpoint: 4 },
        save(2, 10, None),
        Action::DeleteJob { job: 1 },
        Action::DeleteJob { job: 2 },
        Action::Undelete { checkpoint: 4 },
        start(1, Some(4), 5),
        end(1, 12, SessionsRecord::COMPLETED, Some(4)),
        start(1, None, 2),
        end(1, 14, SessionsRecord::FAILED, None),
    ]
}

#[test]
fn the_log_alone_says_what_the_jobs_are() {
    let plan = Plan::of(&logged(eventful()));
    assert_eq!(plan.jobs.keys().copied().collect::<Vec<_>>(), [1, 2]);
    let (job, gone) = (&plan.jobs[&1], &plan.jobs[&2]);
    assert_eq!((job.name.as_str(), job.removed), ("NQ", false));
    assert_eq!((gone.name.as_str(), gone.removed), ("ES", true));
    let metric = |name: &str, larger| MetricRecord {
        name: name.to_owned(),
        larger: Some(larger),
        best: None,
    };
    let metrics = [metric("loss", false), metric("sharpe", true)];
    assert_eq!(job.metrics, metrics);
    assert_eq!(job.main_metric.as_deref(), Some("loss"));
    assert_eq!((job.good, gone.good), (Some(4), None));
    let sessions = SessionsRecord {
        open: None,
        completed_head: Some(4),
        started: 2,
        completed: 1,
        failed: 1,
        resumed: 1,
        fell_back: 2,
        lost_iterations: 7,
        lost_millis: 70,
        ..SessionsRecord::default()
    };
    assert_eq!(job.sessions, sessions);
    assert!(plan.has_job(2) && !plan.has_job(3));
    // Of neither checkpoint is there a record.
    let lost: Vec<_> = plan.lost.iter().map(|lost| lost.checkpoint).collect();
    let id = |id| Some(CheckpointId::new(id));
    assert_eq!(lost, [id(4), id(8)]);
    assert_eq!(plan.lost[0].job.as_deref(), Some("NQ"));
    assert_eq!(plan.lost[0].iteration, Some(10));
}

#[test]
fn a_jobs_record_is_brought_up_to_date_by_what_the_log_says_after_it() {
    let mut evidence = logged(eventful());
    let hash = |id: u64| evidence.log[&id][0].hash;
    // As it stood after its metric was declared.
    let older = JobRecord {
        metrics: vec![MetricRecord {
            name: "loss".to_owned(),
            larger: Some(true),
            best: Some((1, 4)),
        }],
        segment: Some(3),
        current: 9,
        stamp: Stamp::new(5, &hash(5)),
        ..JobRecord::new("renamed".to_owned(), 77)
    };
    // As it stood when it was deleted.
    let deleted = JobRecord {
        removed: true,
        stamp: Stamp::new(9, &hash(9)),
        ..older.clone()
    };
    // And one of a commit that the log knows nothing of.
    let stray = JobRecord {
        name: "stray".to_owned(),
        stamp: Stamp::new(15, &[9; 32]),
        ..older.clone()
    };
    evidence.jobs.insert(1, vec![older.clone(), stray]);
    let job = Plan::of(&evidence).jobs.remove(&1).unwrap();
    assert_eq!((job.name.as_str(), job.created_at), ("renamed", 77));
    // What the log said before is in the record, as it was; nothing is counted yet.
    assert_eq!(
        (job.metrics[0].larger, job.metrics[0].best),
        (Some(true), None)
    );
    assert_eq!((job.metrics.len(), job.current), (1, 0));
    assert_eq!(job.main_metric.as_deref(), Some("loss"));
    assert_eq!((job.segment, job.good), (Some(3), Some(4)));
    assert_eq!((job.removed, job.sessions.started), (false, 2));
    evidence.jobs.insert(1, vec![older, deleted]);
    let job = Plan::of(&evidence).jobs.remove(&1).unwrap();
    // It came back afterwards.
    assert!(!job.removed);
    assert_eq!((job.main_metric, job.good), (None, None));
}

#[test]
fn the_log_says_what_became_of_every_checkpoint() {
    let evidence = logged(vec![
        save(1, 1, None),
        save(2, 1, None),
        save(1, 2, None),
        save(1, 2, Some(3)),
        Action::DeleteJob { job: 2 },
        Action::Delete {
            checkpoint: 1,
            forced: false,
        },
        Action::Undelete { checkpoint: 1 },
        Action::Reclaim { checkpoint: 3 },
        save(1, 3, None),
        save(1, 4, None),
        Action::Repair { lost: vec![9] },
        Action::Salvage { lost: vec![10, 99] },
        Action::Undelete { checkpoint: 99 },
    ]);
    let fates = fates(&History::of(&evidence));
    let told: Vec<_> = fates
        .iter()
        .map(|(id, fate)| (*id, fate.iteration, fate.is_deleted, fate.is_gone))
        .collect();
    let expected = [
        (1, 1, false, false),
        (2, 1, true, false),
        (3, 2, true, true),
        (4, 2, false, false),
        (9, 3, false, true),
        (10, 4, false, true),
    ];
    assert_eq!(told, expected);
}

/// A checkpoint's record as it was written after this log record.
fn checkpoint(job: u32, iteration: u64, log: u64, evidence: &Evidence) -> CheckpointRecord {
    let saved = SavedPart {
        job,
        iteration,
        saved_at: 5,
        parent: None,
        events: Vec::new(),
        metrics: Vec::new(),
        attributes: Vec::new(),
        manifest: Manifest::Inline(Group::default()),
        entries: 0,
        bytes: 0,
    };
    let hash = evidence
        .log
        .get(&log)
        .map_or([9; 32], |known| known[0].hash);
    let stamp = Stamp::new(log, &hash);
    CheckpointRecord {
        saved,
        content: [1; 32],
        later: Later {
            stamp,
            ..Later::default()
        },
    }
}

#[test]
fn of_the_records_of_a_checkpoint_those_count_that_the_log_does_not_contradict() {
    let mut evidence = logged(vec![
        create(1, "NQ"),
        save(1, 1, None),
        save(1, 2, None),
        Action::Reclaim { checkpoint: 2 },
        save(1, 3, None),
        declare(1, "loss", 0),
    ]);
    for id in [2, 3, 5, 6] {
        let found = checkpoint(1, id, id, &evidence);
        evidence.checkpoints.insert(id, vec![found]);
    }
    // Of the same id, and other content: of a save that never came to be.
    let stray = CheckpointRecord {
        content: [2; 32],
        ..checkpoint(1, 77, 3, &evidence)
    };
    evidence.checkpoints.get_mut(&3).unwrap().insert(0, stray);
    let mut plan = Plan::of(&evidence);
    let kept: Vec<u64> = plan.checkpoints.keys().copied().collect();
    // The second was reclaimed; the sixth is something else in the log.
    assert_eq!(kept, [3, 5]);
    assert_eq!(plan.checkpoints[&3].saved.iteration, 3);
    assert!(plan.lost.is_empty() && plan.uncertain.is_empty());
    assert!(plan.corrections.is_empty());
    plan.jobs.get_mut(&1).unwrap().segment = Some(7);
    let later = &mut plan.checkpoints.get_mut(&3).unwrap().later;
    later.progress.segment = Some(5);
    assert_eq!(plan.segments(), BTreeSet::from([5]));
    assert_eq!(plan.open_segments(), BTreeSet::from([7]));
}

#[test]
fn what_was_written_before_a_gap_in_the_log_is_uncertain_and_what_after_it_is_not() {
    let mut evidence = logged(vec![
        create(1, "NQ"),
        save(1, 1, None),
        save(1, 2, None),
        declare(1, "loss", 0),
        save(1, 3, None),
    ]);
    for (id, stamp) in [(2, 2), (3, 4), (5, 5)] {
        let found = checkpoint(1, id, stamp, &evidence);
        evidence.checkpoints.insert(id, vec![found]);
    }
    evidence.log.remove(&4);
    let plan = Plan::of(&evidence);
    let uncertain: Vec<_> = plan.uncertain.iter().map(|found| found.iteration).collect();
    // The third was written with the record that is lost.
    assert_eq!(uncertain, [Some(2)]);
    assert!(
        plan.uncertain[0]
            .what
            .contains("log records that may have concerned it")
    );
    // The record of a save itself.
    evidence.log.remove(&3);
    let plan = Plan::of(&evidence);
    let of_save = |found: &&Damage| found.what == "the log record of its save is lost";
    assert_eq!(plan.uncertain.iter().filter(of_save).count(), 1);
    assert!(matches!(
        plan.history.records[&3].action,
        Action::Save { iteration: 3, .. }
    ));
}

#[test]
fn where_log_and_record_differ_on_a_delete_the_record_is_right() {
    let mut evidence = logged(vec![
        create(1, "NQ"),
        save(1, 1, None),
        save(1, 2, None),
        save(1, 3, None),
        Action::Delete {
            checkpoint: 3,
            forced: false,
        },
        declare(1, "loss", 0),
    ]);
    for id in [2, 3, 4] {
        let mut found = checkpoint(1, id, 6, &evidence);
        found.later.deleted = (id == 2).then_some(DeletedMark { log: 6, at: 0 });
        evidence.checkpoints.insert(id, vec![found]);
    }
    let plan = Plan::of(&evidence);
    let deleted = Action::Delete {
        checkpoint: 2,
        forced: true,
    };
    assert_eq!(
        plan.corrections,
        [deleted, Action::Undelete { checkpoint: 3 }]
    );
}

#[test]
fn every_job_has_a_name_of_its_own() {
    let mut evidence = logged(vec![
        create(1, "NQ"),
        create(2, "NQ"),
        create(3, "ES"),
        Action::DeleteJob { job: 3 },
        create(4, "ES"),
        save(9, 1, None),
    ]);
    let found = checkpoint(9, 1, 6, &evidence);
    evidence.checkpoints.insert(6, vec![found]);
    let plan = Plan::of(&evidence);
    let names: Vec<_> = plan.jobs.values().map(|job| job.name.as_str()).collect();
    assert_eq!(names, ["NQ", "job-2", "ES", "ES", "job-9"]);
}

#[test]
fn a_rollback_leads_through_what_is_gone() {
    let saved = |parent| Action::Save {
        job: 1,
        iteration: 1,
        parent,
        content: [1; 32],
        replaced: None,
    };
    let mut evidence = logged(vec![
        create(1, "NQ"),
        saved(None),
        saved(Some(2)),
        saved(Some(3)),
        saved(Some(2)),
        Action::Reclaim { checkpoint: 3 },
        Action::Rollback {
            job: 1,
            from: None,
            to: Some(4),
            reason: String::new(),
        },
    ]);
    for (id, parent) in [(2, None), (4, Some(3)), (5, Some(2))] {
        let mut found = checkpoint(1, id, id, &evidence);
        found.saved.parent = parent;
        evidence.checkpoints.insert(id, vec![found]);
    }
    let plan = Plan::of(&evidence);
    let left: Vec<_> = plan
        .checkpoints
        .values()
        .map(|c| c.later.abandoned)
        .collect();
    assert_eq!(left, [false, false, true]);
}
