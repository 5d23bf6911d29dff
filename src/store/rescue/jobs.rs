//! Jobs out of what is left: their records, and what the log says.

use std::collections::BTreeMap;

use super::evidence::{Evidence, latest};
use super::history::History;
use crate::format::{Action, JobRecord, MetricRecord};

/// What the jobs are: by their latest record, and by what the log says happened since.
pub(super) fn jobs_of(evidence: &Evidence, history: &History) -> BTreeMap<u32, JobRecord> {
    let mut jobs = BTreeMap::new();
    for (number, versions) in &evidence.jobs {
        let known = |stamp| history.knows(stamp);
        if let Some(found) = latest(versions, |job| job.stamp, known) {
            let job = JobRecord {
                removed: found.removed,
                metrics: found.metrics.clone(),
                main_metric: found.main_metric.clone(),
                good: found.good,
                segment: found.segment,
                sessions: found.sessions,
                stamp: found.stamp,
                ..JobRecord::new(found.name, found.created_at)
            };
            jobs.insert(*number, job);
        }
    }
    let mut saved_by: BTreeMap<u64, u32> = BTreeMap::new();
    for (log, record) in &history.records {
        let mut on = |number: u32, alter: &dyn Fn(&mut JobRecord)| {
            let job: &mut JobRecord = jobs
                .entry(number)
                .or_insert_with(|| JobRecord::new(String::new(), record.at));
            if job.stamp.log < *log {
                alter(job);
            }
        };
        match &record.action {
            Action::CreateJob { job, name } | Action::RenameJob { job, name } => {
                on(*job, &|job| job.name.clone_from(name));
            }
            Action::DeleteJob { job } => on(*job, &|job| job.removed = true),
            Action::Save { job, .. } => {
                saved_by.insert(*log, *job);
            }
            Action::Undelete { checkpoint } => {
                if let Some(job) = saved_by.get(checkpoint) {
                    on(*job, &|job| job.removed = false);
                }
            }
            Action::DeclareMetric {
                job,
                name,
                direction,
            } => on(*job, &|job| declare(job, name, *direction == 1)),
            Action::MainMetric { job, name } => {
                on(*job, &|job| job.main_metric = Some(name.clone()));
            }
            Action::Verified { checkpoint } => {
                if let Some(job) = saved_by.get(checkpoint) {
                    on(*job, &|job| job.good = Some(*checkpoint));
                }
            }
            Action::SessionStart { job, .. } | Action::SessionEnd { job, .. } => {
                on(*job, &|job| follow(job, *log, &record.action));
            }
            _ => {}
        }
    }
    for job in jobs.values_mut() {
        job.metrics.iter_mut().for_each(|metric| metric.best = None);
    }
    jobs
}

fn declare(job: &mut JobRecord, name: &str, larger: bool) {
    match job
        .metrics
        .binary_search_by(|metric| metric.name.as_str().cmp(name))
    {
        Ok(at) => job.metrics[at].larger = Some(larger),
        Err(at) => {
            let metric = MetricRecord {
                name: name.to_owned(),
                larger: Some(larger),
                best: None,
            };
            job.metrics.insert(at, metric);
        }
    }
}

/// A session that began or ended.
fn follow(job: &mut JobRecord, log: u64, action: &Action) {
    match action {
        Action::SessionStart {
            resumed,
            skipped,
            lost_iterations,
            lost_millis,
            ..
        } => {
            let lost = (*lost_iterations, *lost_millis);
            job.sessions.start(log, *resumed, *skipped, lost);
        }
        Action::SessionEnd {
            session,
            outcome,
            head,
            ..
        } => job.sessions.end(*session, *outcome, *head),
        _ => {}
    }
}
