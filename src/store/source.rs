//! A checkpoint that is read: what is said of what goes wrong.

use crate::error::{Error, Result};
use crate::format::CheckpointRecord;
use crate::id::CheckpointId;
use crate::storage::{Records, Rows};
use crate::store::Store;

/// A checkpoint to read from.
#[derive(Clone, Copy)]
pub(super) struct Source<'a> {
    pub(super) store: &'a Store,
    pub(super) id: CheckpointId,
    pub(super) record: &'a CheckpointRecord,
    pub(super) job: &'a str,
}

impl Source<'_> {
    /// What messages call it.
    pub(super) fn label(self) -> String {
        format!("{}@{}", self.job, self.record.saved.iteration)
    }
}

/// Runs reads of a checkpoint, anew if others have changed the store for too long meanwhile.
/// What fails because it was reclaimed says so.
pub(super) fn reading<T>(
    checkpoint: Source<'_>,
    mut run: impl FnMut(&dyn Rows) -> Result<T>,
) -> Result<T> {
    checkpoint.store.read(|rows| {
        run(rows).map_err(|error| match error {
            Error::Corrupt { .. } if Records(rows).is_reclaimed(checkpoint.id.get()) => {
                Error::Deleted { id: checkpoint.id }
            }
            Error::Corrupt { what, why } => {
                let of = format!("{what} (of {})", checkpoint.label());
                Error::corrupt(of, why)
            }
            other => other,
        })
    })
}
