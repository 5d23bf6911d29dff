//! What a worker does to a store, one line of text each.

use std::fmt;
use std::str::FromStr;

use ckptdb::policy::{Keep, Retention};
use ckptdb::telemetry::Batch;
use ckptdb::{CheckpointId, Compression, Result, Store};

use crate::content::{State, job_name};

/// The job that forks are made to; nothing is saved to it.
pub(crate) const FORK: u8 = 2;
/// The job that has telemetry only.
pub(crate) const LOGGED: u8 = 3;
/// What is logged.
pub(crate) const METRIC: &str = "loss";
/// Checkpoints that a prune keeps of a line.
pub(crate) const LATEST: u64 = 6;

/// One operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Operation {
    /// Opening, and whatever is repaired then.
    Open,
    /// A new checkpoint.
    Save(State),
    /// The head's state once more, with another event: no new checkpoint.
    Merge(u64, State),
    /// The head's iteration once more, with another state in place of it.
    Overwrite(u64, State),
    Delete(u64),
    Undelete(u64),
    /// Its job's head is this one again.
    Rollback(u64),
    /// The job of forks begins with it.
    Fork(u64),
    /// The job of forks goes, with all that it has.
    DeleteFork,
    /// Of this job the newest stay.
    Prune(u8),
    /// The points of these iterations are appended.
    Log(u64, u64),
    Reclaim,
    Compact,
    /// Everything is encoded anew, with the most effort.
    Recompress,
    /// Closing and opening again.
    Reopen,
}

impl Operation {
    /// The word for its kind.
    pub(crate) fn kind(&self) -> String {
        let text = self.to_string();
        let word = text.split(' ').next().unwrap();
        match self {
            Self::Save(state) => {
                let size = state.to_string();
                format!("{word} {}", size.rsplit(':').next().unwrap())
            }
            _ => word.to_owned(),
        }
    }

    /// The checkpoint that is not listed any more afterwards.
    pub(crate) const fn removes(&self) -> Option<u64> {
        match self {
            Self::Delete(id) | Self::Overwrite(id, _) => Some(*id),
            _ => None,
        }
    }

    /// Does it; a save returns its checkpoint's id.
    pub(crate) fn run(&self, store: &Store) -> Result<u64> {
        let save = |state: &State, last, over| {
            let job = store.job(&job_name(state.job))?;
            Ok(state.save(&job, last, over)?.checkpoint.id.get())
        };
        match self {
            Self::Save(state) => return save(state, false, false),
            Self::Merge(_, state) => return save(state, true, false),
            Self::Overwrite(_, state) => return save(state, false, true),
            Self::Delete(id) => store.delete(CheckpointId::new(*id), true)?,
            Self::Undelete(id) => drop(store.undelete(CheckpointId::new(*id))?),
            Self::Rollback(id) => {
                let found = store.resolve(&CheckpointId::new(*id).to_string())?;
                store.job(&found.job)?.rollback(found.id, "a test")?;
            }
            Self::Fork(id) => {
                let found = store.resolve(&CheckpointId::new(*id).to_string())?;
                return Ok(found.fork(&job_name(FORK))?.id.get());
            }
            Self::DeleteFork => drop(store.delete_job(&job_name(FORK))?),
            Self::Prune(job) => {
                let retention = Retention::new([Keep::Latest(LATEST)])?;
                store.job(&job_name(*job))?.prune(&retention)?;
            }
            Self::Log(first, last) => {
                let mut batch = Batch::default();
                for iteration in *first..=*last {
                    batch.log(iteration, [(METRIC, value(iteration))])?;
                }
                store.job(&job_name(LOGGED))?.append(&batch)?;
            }
            Self::Reclaim => drop(store.reclaim(true)?),
            Self::Compact => drop(store.compact()?),
            Self::Recompress => drop(store.recompress(Compression::Max, &mut |_, _| {})?),
            Self::Open => {}
            Self::Reopen => store.reopen()?,
        }
        Ok(0)
    }
}

/// What is logged at an iteration.
#[expect(clippy::cast_precision_loss, reason = "a synthetic metric")]
pub(crate) fn value(iteration: u64) -> f64 {
    1.0 / (iteration as f64)
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Open => write!(f, "open"),
            Self::Save(state) => write!(f, "save {state}"),
            Self::Merge(head, state) => write!(f, "merge {head} {state}"),
            Self::Overwrite(head, state) => write!(f, "overwrite {head} {state}"),
            Self::Delete(id) => write!(f, "delete {id}"),
            Self::Undelete(id) => write!(f, "undelete {id}"),
            Self::Rollback(id) => write!(f, "rollback {id}"),
            Self::Fork(id) => write!(f, "fork {id}"),
            Self::DeleteFork => write!(f, "delete-fork"),
            Self::Prune(job) => write!(f, "prune {job}"),
            Self::Log(first, last) => write!(f, "log {first} {last}"),
            Self::Reclaim => write!(f, "reclaim"),
            Self::Compact => write!(f, "compact"),
            Self::Recompress => write!(f, "recompress"),
            Self::Reopen => write!(f, "reopen"),
        }
    }
}

impl FromStr for Operation {
    type Err = std::num::ParseIntError;

    fn from_str(text: &str) -> std::result::Result<Self, Self::Err> {
        let parts: Vec<&str> = text.split(' ').collect();
        Ok(match parts.as_slice() {
            ["open"] => Self::Open,
            ["save", state] => Self::Save(state.parse()?),
            ["merge", head, state] => Self::Merge(head.parse()?, state.parse()?),
            ["overwrite", head, state] => Self::Overwrite(head.parse()?, state.parse()?),
            ["delete", id] => Self::Delete(id.parse()?),
            ["undelete", id] => Self::Undelete(id.parse()?),
            ["rollback", id] => Self::Rollback(id.parse()?),
            ["fork", id] => Self::Fork(id.parse()?),
            ["delete-fork"] => Self::DeleteFork,
            ["prune", job] => Self::Prune(job.parse()?),
            ["log", first, last] => Self::Log(first.parse()?, last.parse()?),
            ["reclaim"] => Self::Reclaim,
            ["compact"] => Self::Compact,
            ["recompress"] => Self::Recompress,
            ["reopen"] => Self::Reopen,
            _ => panic!("no operation: {text}"),
        })
    }
}
