//! The checkpoints of a job, by what became of them.

use ckptdb::{Checkpoint, Filter, Store};

use crate::failure::Failure;

/// What is known of a job.
pub(super) struct Known {
    /// On its line, oldest first.
    pub(super) line: Vec<Checkpoint>,
    /// On lines that a rollback left behind.
    pub(super) abandoned: Vec<Checkpoint>,
    /// Deleted, and not reclaimed yet.
    pub(super) deleted: Vec<Checkpoint>,
}

impl Known {
    pub(super) fn read(store: &Store, job: &str) -> Result<Self, Failure> {
        let list = |deleted| {
            let filter = Filter {
                job: Some(job.to_owned()),
                abandoned: true,
                deleted,
                ..Filter::default()
            };
            // What is damaged has no place in a picture; verify names it.
            let listed = store.list(&filter)?.filter_map(Result::ok);
            let mut found: Vec<Checkpoint> = listed.collect();
            found.sort_by_key(|checkpoint| checkpoint.id);
            Ok::<_, Failure>(found)
        };
        let (abandoned, line) = list(false)?.into_iter().partition(|found| found.abandoned);
        Ok(Self {
            line,
            abandoned,
            deleted: list(true)?,
        })
    }
}
