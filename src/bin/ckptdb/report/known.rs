//! What is known of a job.

use std::collections::BTreeMap;

use ckptdb::telemetry::Summary;
use ckptdb::{Checkpoint, Filter, Job, JobInfo, Store, Telemetry};

use crate::failure::Failure;

/// A job, its series, and its checkpoints by what became of them.
pub(super) struct Known<'i> {
    pub(super) info: &'i JobInfo,
    pub(super) job: Job,
    pub(super) telemetry: Telemetry,
    pub(super) series: BTreeMap<String, Summary>,
    /// On its line, oldest first.
    pub(super) line: Vec<Checkpoint>,
    /// On lines that a rollback left behind.
    pub(super) abandoned: Vec<Checkpoint>,
    /// Deleted, and not reclaimed yet. What is damaged of these has no place in a picture.
    pub(super) deleted: Vec<Checkpoint>,
}

impl<'i> Known<'i> {
    pub(super) fn read(store: &Store, info: &'i JobInfo) -> Result<Self, Failure> {
        let listed = |deleted| {
            store.list(&Filter {
                job: Some(info.name.clone()),
                abandoned: true,
                deleted,
                ..Filter::default()
            })
        };
        let mut live = listed(false)?.collect::<Result<Vec<_>, _>>()?;
        let mut deleted: Vec<Checkpoint> = listed(true)?.filter_map(Result::ok).collect();
        for found in [&mut live, &mut deleted] {
            found.sort_by_key(|checkpoint| checkpoint.id);
        }
        let (abandoned, line) = live.into_iter().partition(|found| found.abandoned);
        let job = store.job(&info.name)?;
        let telemetry = job.telemetry()?;
        Ok(Self {
            series: telemetry.summaries()?,
            info,
            job,
            telemetry,
            line,
            abandoned,
            deleted,
        })
    }

    /// Those that are not deleted, newest first.
    pub(super) fn newest(&self) -> Vec<Checkpoint> {
        let mut all: Vec<&Checkpoint> = self.line.iter().chain(&self.abandoned).collect();
        all.sort_by_key(|checkpoint| std::cmp::Reverse(checkpoint.id));
        all.into_iter().cloned().collect()
    }
}
