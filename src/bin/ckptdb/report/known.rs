//! What is known of the jobs of a store.

use std::collections::{BTreeMap, BTreeSet};

use ckptdb::telemetry::{Summary, is_own};
use ckptdb::{Checkpoint, CheckpointId, Error, Filter, Job, JobInfo, Store, Telemetry};

use crate::failure::Failure;

/// The checkpoints of a store by job, read once however many jobs there are.
pub(super) struct Gathered {
    by_job: BTreeMap<String, Fates>,
    /// Checkpoints that other jobs began with, by id: the job, and the iteration.
    origins: BTreeMap<CheckpointId, (String, u64)>,
    forks: BTreeMap<CheckpointId, Vec<Fork>>,
    /// Places where listing met damage; what is there has no place in a picture.
    pub(super) damaged: u64,
}

/// Checkpoints of a job by what became of them, oldest first.
#[derive(Default)]
struct Fates {
    line: Vec<Checkpoint>,
    abandoned: Vec<Checkpoint>,
    deleted: Vec<Checkpoint>,
}

/// A job that began with a checkpoint of another.
pub(super) struct Fork {
    pub(super) job: String,
    pub(super) checkpoints: usize,
    /// The iterations of its first and its newest checkpoint.
    pub(super) iterations: (u64, u64),
}

impl Gathered {
    pub(super) fn read(store: &Store) -> Result<Self, Failure> {
        let mut by_job: BTreeMap<String, Fates> = BTreeMap::new();
        let mut damaged = 0;
        for deleted in [false, true] {
            let filter = Filter {
                abandoned: true,
                deleted,
                ..Filter::default()
            };
            for found in store.list(&filter)? {
                let found = match found {
                    Err(Error::Corrupt { .. }) => {
                        damaged += 1;
                        continue;
                    }
                    found => found?,
                };
                let fates = by_job.entry(found.job.clone()).or_default();
                match (deleted, found.abandoned) {
                    (true, _) => fates.deleted.push(found),
                    (false, true) => fates.abandoned.push(found),
                    (false, false) => fates.line.push(found),
                }
            }
        }
        for fates in by_job.values_mut() {
            let Fates {
                line,
                abandoned,
                deleted,
            } = fates;
            for found in [line, abandoned, deleted] {
                found.sort_by_key(|checkpoint| checkpoint.id);
            }
        }
        let forks = forks(&by_job);
        let all = by_job.values().flat_map(Fates::all);
        let origins = all
            .filter(|found| forks.contains_key(&found.id))
            .map(|found| (found.id, (found.job.clone(), found.iteration)))
            .collect();
        Ok(Self {
            by_job,
            origins,
            forks,
            damaged,
        })
    }

    /// The job and the iteration of a checkpoint that another job began with, unless it is gone.
    pub(super) fn origin(&self, id: CheckpointId) -> Option<&(String, u64)> {
        self.origins.get(&id)
    }

    /// The jobs that began with a checkpoint.
    pub(super) fn forks(&self, of: CheckpointId) -> &[Fork] {
        self.forks.get(&of).map_or(&[], Vec::as_slice)
    }
}

impl Fates {
    fn all(&self) -> impl Iterator<Item = &Checkpoint> {
        [&self.line, &self.abandoned, &self.deleted]
            .into_iter()
            .flatten()
    }
}

/// The jobs that began with a checkpoint of another, by that one.
fn forks(by_job: &BTreeMap<String, Fates>) -> BTreeMap<CheckpointId, Vec<Fork>> {
    let mut forks: BTreeMap<CheckpointId, Vec<Fork>> = BTreeMap::new();
    for (job, fates) in by_job {
        let sources: BTreeSet<_> = fates.all().filter_map(|found| found.forked_from).collect();
        let iterations = || fates.all().map(|found| found.iteration);
        let (Some(first), Some(last)) = (iterations().min(), iterations().max()) else {
            continue;
        };
        for source in sources {
            forks.entry(source).or_default().push(Fork {
                job: job.clone(),
                checkpoints: fates.line.len(),
                iterations: (first, last),
            });
        }
    }
    forks
}

/// A job, its series, and its checkpoints by what became of them.
pub(super) struct Known<'g> {
    pub(super) info: &'g JobInfo,
    pub(super) gathered: &'g Gathered,
    pub(super) job: Job,
    pub(super) telemetry: Telemetry,
    pub(super) series: BTreeMap<String, Summary>,
    /// On its line, oldest first.
    pub(super) line: &'g [Checkpoint],
    /// On lines that a rollback left behind.
    pub(super) abandoned: &'g [Checkpoint],
    /// Deleted, and not reclaimed yet.
    pub(super) deleted: &'g [Checkpoint],
    /// Names of metrics that were logged or saved.
    pub(super) metrics: BTreeSet<String>,
}

impl<'g> Known<'g> {
    pub(super) fn read(
        store: &Store,
        info: &'g JobInfo,
        gathered: &'g Gathered,
    ) -> Result<Self, Failure> {
        let job = store.job(&info.name)?;
        let telemetry = job.telemetry()?;
        let of = |fate: fn(&Fates) -> &[Checkpoint]| {
            gathered.by_job.get(&info.name).map_or(&[][..], fate)
        };
        let series = telemetry.summaries()?;
        let line = of(|fates| &fates.line);
        let saved = line.iter().flat_map(|checkpoint| checkpoint.metrics.keys());
        let mut metrics: BTreeSet<String> = series.keys().cloned().collect();
        for name in saved {
            if !metrics.contains(name) {
                metrics.insert(name.clone());
            }
        }
        metrics.retain(|name| !is_own(name));
        Ok(Self {
            series,
            metrics,
            info,
            gathered,
            job,
            telemetry,
            line,
            abandoned: of(|fates| &fates.abandoned),
            deleted: of(|fates| &fates.deleted),
        })
    }
}
