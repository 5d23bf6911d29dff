//! What a store shall hold after a repair or a salvage, decided from what is left of its records.

use std::collections::{BTreeMap, BTreeSet};

use super::evidence::{Evidence, latest};
use super::history::History;
use super::jobs::jobs_of;
use super::replay::replay;
use crate::format::{Action, CheckpointRecord, DeletedMark, JobRecord, Stamp};
use crate::id::CheckpointId;
use crate::store::Damage;

/// A store's records, decided.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) history: History,
    pub(super) checkpoints: BTreeMap<u64, CheckpointRecord>,
    /// What a job is, without what it counts.
    pub(super) jobs: BTreeMap<u32, JobRecord>,
    /// What the log does not say any more, and the records do.
    pub(super) corrections: Vec<Action>,
    /// Checkpoints that the log knows and nothing else.
    pub(super) lost: Vec<Damage>,
    /// What was decided without the log, because that has gaps.
    pub(super) uncertain: Vec<Damage>,
}

/// What the log says of a checkpoint.
#[derive(Clone, Debug)]
struct Fate {
    job: u32,
    iteration: u64,
    content: [u8; 32],
    is_deleted: bool,
    is_gone: bool,
}

impl Plan {
    pub(super) fn of(evidence: &Evidence) -> Self {
        let history = History::of(evidence);
        let fates = fates(&history);
        let mut plan = Self {
            jobs: jobs_of(evidence, &history),
            history,
            checkpoints: BTreeMap::new(),
            corrections: Vec::new(),
            lost: Vec::new(),
            uncertain: Vec::new(),
        };
        for (id, versions) in &evidence.checkpoints {
            plan.choose(*id, versions, fates.get(id));
        }
        for (id, fate) in fates {
            if !fate.is_gone && !plan.checkpoints.contains_key(&id) {
                let damage = plan.damage(id, fate.job, fate.iteration, "its record is lost");
                plan.lost.push(damage);
            }
        }
        plan.fill_saves();
        plan.replay();
        plan.correct();
        plan.name_jobs();
        plan
    }

    /// Whether there is a job with this number. What is of another belongs to a change that never
    /// came to be.
    pub(super) fn has_job(&self, number: u64) -> bool {
        u32::try_from(number).is_ok_and(|number| self.jobs.contains_key(&number))
    }

    /// The segments of telemetry that checkpoints name.
    pub(super) fn segments(&self) -> BTreeSet<u64> {
        let records = self.checkpoints.values();
        records
            .filter_map(|record| record.later.progress.segment)
            .collect()
    }

    /// Those that jobs go on with, by their records. One may be of a commit that never came to be.
    pub(super) fn open_segments(&self) -> BTreeSet<u64> {
        self.jobs.values().filter_map(|job| job.segment).collect()
    }

    fn choose(&mut self, id: u64, versions: &[CheckpointRecord], fate: Option<&Fate>) {
        let logged = self.history.records.get(&id);
        match fate {
            Some(fate) if fate.is_gone => return,
            // The log has something else by this number: a save that never came to be.
            None if logged.is_some() => return,
            _ => {}
        }
        let fits: Vec<_> = versions
            .iter()
            .filter(|record| fate.is_none_or(|fate| fate.content == record.content))
            .cloned()
            .collect();
        let known = |stamp: Stamp| self.history.knows(stamp);
        let Some(record) = latest(&fits, |record| record.later.stamp, known) else {
            return;
        };
        let saved = &record.saved;
        let why = if fate.is_none() {
            Some("the log record of its save is lost")
        } else if self.history.last_gap > Some(record.later.stamp.log) {
            Some("log records that may have concerned it are lost")
        } else {
            None
        };
        if let Some(why) = why {
            let damage = self.damage(id, saved.job, saved.iteration, why);
            self.uncertain.push(damage);
        }
        self.checkpoints.insert(id, record);
    }

    fn damage(&self, id: u64, job: u32, iteration: u64, what: &str) -> Damage {
        Damage {
            checkpoint: Some(CheckpointId::new(id)),
            job: self.jobs.get(&job).map(|job| job.name.clone()),
            iteration: Some(iteration),
            entry: None,
            what: what.to_owned(),
        }
    }

    /// A checkpoint whose log record is lost says itself what that was.
    fn fill_saves(&mut self) {
        for (id, record) in &self.checkpoints {
            let saved = &record.saved;
            let action = Action::Save {
                job: saved.job,
                iteration: saved.iteration,
                parent: saved.parent,
                content: record.content,
                replaced: None,
            };
            self.history.fill(*id, saved.saved_at, action);
        }
    }

    /// Where the log's word that a checkpoint was deleted or came back is lost, its record has it.
    fn correct(&mut self) {
        let fates = fates(&self.history);
        for (id, record) in &self.checkpoints {
            let logged = fates.get(id).is_some_and(|fate| fate.is_deleted);
            let checkpoint = *id;
            match (logged, record.later.deleted.is_some()) {
                (false, true) => self.corrections.push(Action::Delete {
                    checkpoint,
                    forced: true,
                }),
                (true, false) => self.corrections.push(Action::Undelete { checkpoint }),
                _ => {}
            }
        }
    }

    /// Brings records up to date whose latest version is lost: what the log says happened since.
    fn replay(&mut self) {
        let parents: BTreeMap<u64, Option<u64>> = self
            .history
            .records
            .iter()
            .filter_map(|(id, record)| match &record.action {
                Action::Save { parent, .. } => Some((*id, *parent)),
                _ => None,
            })
            .chain(self.checkpoints.iter().map(|(id, c)| (*id, c.saved.parent)))
            .collect();
        for (log, record) in &self.history.records {
            let mark = DeletedMark {
                log: *log,
                at: record.at,
            };
            replay(&mut self.checkpoints, &parents, &record.action, mark);
        }
    }

    /// Every job that a checkpoint belongs to has a name, and no two have the same.
    fn name_jobs(&mut self) {
        let numbers: BTreeSet<u32> = self.checkpoints.values().map(|c| c.saved.job).collect();
        for number in numbers {
            self.jobs
                .entry(number)
                .or_insert_with(|| JobRecord::new(String::new(), 0));
        }
        let mut taken = BTreeSet::new();
        for (number, job) in self.jobs.iter_mut().filter(|(_, job)| !job.removed) {
            if job.name.is_empty() || taken.contains(&job.name) {
                job.name = format!("job-{number}");
            }
            taken.insert(job.name.clone());
        }
    }
}

fn fates(history: &History) -> BTreeMap<u64, Fate> {
    let mut fates: BTreeMap<u64, Fate> = BTreeMap::new();
    for (id, record) in &history.records {
        match &record.action {
            Action::Save {
                job,
                iteration,
                content,
                replaced,
                ..
            } => {
                let fate = Fate {
                    job: *job,
                    iteration: *iteration,
                    content: *content,
                    is_deleted: false,
                    is_gone: false,
                };
                fates.insert(*id, fate);
                alter(&mut fates, replaced, |fate| fate.is_deleted = true);
            }
            Action::Delete { checkpoint, .. } => {
                alter(&mut fates, [checkpoint], |fate| fate.is_deleted = true);
            }
            Action::Undelete { checkpoint } => {
                alter(&mut fates, [checkpoint], |fate| fate.is_deleted = false);
            }
            Action::DeleteJob { job } => {
                let of_job = fates.values_mut().filter(|fate| fate.job == *job);
                of_job.for_each(|fate| fate.is_deleted = true);
            }
            Action::Reclaim { checkpoint } => {
                alter(&mut fates, [checkpoint], |fate| fate.is_gone = true);
            }
            Action::Repair { lost } | Action::Salvage { lost } => {
                alter(&mut fates, lost, |fate| fate.is_gone = true);
            }
            _ => {}
        }
    }
    fates
}

fn alter<'a>(
    fates: &mut BTreeMap<u64, Fate>,
    ids: impl IntoIterator<Item = &'a u64>,
    alter: impl Fn(&mut Fate),
) {
    for id in ids {
        if let Some(fate) = fates.get_mut(id) {
            alter(fate);
        }
    }
}

#[cfg(test)]
mod tests {
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
}
