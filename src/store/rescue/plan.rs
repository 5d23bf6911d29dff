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
mod tests;
