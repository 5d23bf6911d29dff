//! A job: the handle that saves and finds its checkpoints.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::line::direction_of;
use super::{Checkpoints, Filter, query};
use crate::error::Result;
use crate::format::JobRecord;
use crate::id::CheckpointId;
use crate::metric::Direction;
use crate::name::check_job;
use crate::platform::Clock;
use crate::storage::Records;
use crate::store::{Checkpoint, Store};
use crate::time::Timestamp;

/// A named line of training, or of agent work. The handle is cheap; the job exists from its first
/// save or declaration.
#[derive(Clone, Debug)]
pub struct Job {
    store: Store,
    name: String,
}

/// What is known of a job.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct JobInfo {
    /// Its name.
    pub name: String,
    /// Checkpoints on its current line.
    pub checkpoints: u64,
    /// Checkpoints on lines that a rollback left behind.
    pub abandoned: u64,
    /// Deleted checkpoints that can still come back.
    pub deleted: u64,
    /// The newest of the current line.
    pub head: Option<CheckpointId>,
    /// Its iteration.
    pub head_iteration: Option<u64>,
    /// The metrics that have a direction.
    pub metrics: BTreeMap<String, Direction>,
    /// Other metrics that checkpoints of it have or had; by these none is best.
    pub undeclared_metrics: Vec<String>,
    /// The metric that `best` alone means.
    pub main_metric: Option<String>,
    /// Bytes of the entries of all its checkpoints.
    pub logical_bytes: u64,
    /// Bytes that its checkpoints added to the store, as they were encoded then.
    pub new_bytes: u64,
    /// When it began.
    pub created_at: Timestamp,
    /// When its head was saved.
    pub last_saved_at: Option<Timestamp>,
}

impl JobInfo {
    /// The metrics that it knows, those with a direction first.
    pub fn metric_names(&self) -> impl Iterator<Item = &str> + Clone {
        let all = self.metrics.keys().chain(&self.undeclared_metrics);
        all.map(String::as_str)
    }

    pub(super) fn of(record: &JobRecord) -> Self {
        let declared = |metric: &crate::format::MetricRecord| {
            direction_of(metric).map(|direction| (metric.name.clone(), direction))
        };
        let of_none = record
            .metrics
            .iter()
            .filter(|metric| declared(metric).is_none());
        Self {
            name: record.name.clone(),
            undeclared_metrics: of_none.map(|metric| metric.name.clone()).collect(),
            checkpoints: record.current,
            abandoned: record.abandoned,
            deleted: record.deleted,
            head: record.head.map(|head| CheckpointId::new(head.id)),
            head_iteration: record.head.map(|head| head.iteration),
            metrics: record.metrics.iter().filter_map(declared).collect(),
            main_metric: record.main_metric.clone(),
            logical_bytes: record.bytes,
            new_bytes: record.new_bytes,
            created_at: Timestamp::from_millis(record.created_at),
            last_saved_at: record.head.map(|head| Timestamp::from_millis(head.at)),
        }
    }
}

impl Store {
    /// A job of this name. It exists from its first save or declaration.
    ///
    /// # Errors
    /// [`Error::Invalid`](crate::Error::Invalid) when the name can't be one.
    pub fn job(&self, name: &str) -> Result<Job> {
        check_job(name)?;
        Ok(Job {
            store: self.clone(),
            name: name.to_owned(),
        })
    }
}

impl Job {
    pub(super) const fn store(&self) -> &Store {
        &self.store
    }

    /// The store that it is in.
    pub(crate) fn store_handle(&self) -> Store {
        self.store.clone()
    }

    /// Refuses a forked process, in which nothing of the store can be used.
    pub(crate) fn check_process(&self) -> Result<()> {
        self.store.engine().check_process()
    }

    /// The store's clock.
    pub(crate) fn store_clock(&self) -> Arc<dyn Clock> {
        Arc::clone(&self.store.options().clock)
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What is known of it; `None` before it exists.
    ///
    /// # Errors
    /// From the disk, or [`Error::Corrupt`](crate::Error::Corrupt).
    pub fn info(&self) -> Result<Option<JobInfo>> {
        self.store.read(|rows| {
            let job = Records(rows).job_named(&self.name)?;
            Ok(job.map(|(_, record)| JobInfo::of(&record)))
        })
    }

    /// The head of its current line. Two rows are read, however many there are.
    ///
    /// # Errors
    /// From the disk, or [`Error::Corrupt`](crate::Error::Corrupt).
    pub fn latest(&self) -> Result<Option<Checkpoint>> {
        query::latest(&self.store, &self.name)
    }

    /// The best by a metric: of equal values the earliest; NaN and infinities never. Costs
    /// O(log n) rows.
    ///
    /// # Errors
    /// [`Error::Undeclared`](crate::Error::Undeclared) when the metric has no direction;
    /// [`Error::NotFound`](crate::Error::NotFound), with those that there are, when the job knows
    /// no such metric.
    pub fn best(&self, metric: &str) -> Result<Option<Checkpoint>> {
        query::best(&self.store, &self.name, metric)
    }

    /// The `count` best by a metric, the best first. Costs O(log n + count) rows.
    ///
    /// # Errors
    /// As [`Job::best`].
    pub fn ranking(&self, metric: &str, count: usize) -> Result<Vec<Checkpoint>> {
        query::ranking(&self.store, &self.name, metric, count)
    }

    /// The checkpoint of this iteration on the current line.
    ///
    /// Where the index has none, every record of the store is asked, so that a lost page of the
    /// index does not pass for that answer.
    ///
    /// # Errors
    /// From the disk, or [`Error::Corrupt`](crate::Error::Corrupt).
    pub fn at(&self, iteration: u64) -> Result<Option<Checkpoint>> {
        query::at(&self.store, &self.name, iteration)
    }

    /// The checkpoint with this tag.
    ///
    /// Where the index has none, every record of the store is asked, so that a lost page of the
    /// index does not pass for that answer.
    ///
    /// # Errors
    /// From the disk, or [`Error::Corrupt`](crate::Error::Corrupt).
    pub fn tagged(&self, tag: &str) -> Result<Option<Checkpoint>> {
        query::tagged(&self.store, &self.name, tag)
    }

    /// Its checkpoints, the newest first.
    ///
    /// # Errors
    /// From the disk, or [`Error::Corrupt`](crate::Error::Corrupt).
    pub fn list(&self) -> Result<Checkpoints> {
        self.store.list(&Filter {
            job: Some(self.name.clone()),
            ..Filter::default()
        })
    }
}
