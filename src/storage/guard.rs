//! Every call into redb passes here: its panics are caught, its errors become ours.

use std::any::Any;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use redb::{
    CommitError, CompactionError, DatabaseError, StorageError, TableError, TransactionError,
};

use super::adapter::Condition;
use super::room::Room;
use super::suspects::Suspects;
use super::trees::{Fault, Which};
use crate::error::{Error, Result};
use crate::platform;

/// What an error needs to say which store it is about, and why a handle fell ill.
#[derive(Clone, Debug)]
pub(super) struct Context {
    pub(super) path: PathBuf,
    pub(super) condition: Arc<Condition>,
    pub(super) suspects: Arc<Suspects>,
}

/// Runs what calls redb. On damaged bytes redb may panic; that becomes an error, and the handle is
/// not used again. This is the one place in the crate that catches a panic. Whatever goes wrong on
/// pages that others have used since they were a state's is no fault of theirs or of the disk's.
pub(super) fn guarded<T>(context: &Context, run: impl FnOnce() -> Result<T>) -> Result<T> {
    let result = catch_unwind(AssertUnwindSafe(run)).unwrap_or_else(|panic| {
        context.condition.set_broken();
        let why = format!("the engine stopped on it: {}", text_of(panic.as_ref()));
        Err(Error::corrupt(named(&context.path), why))
    });
    if result.is_err() && context.condition.standing().is_overtaken() {
        let path = context.path.clone();
        return Err(Error::Overtaken { path });
    }
    result
}

fn text_of(panic: &(dyn Any + Send)) -> &str {
    panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("no reason given")
}

fn named(path: &Path) -> String {
    format!("store `{}`", path.display())
}

impl Context {
    /// Lets the engine's writes reach the medium from now on: the store is about to change.
    pub(super) fn accept(&self, room: Room) -> Result<()> {
        if self.condition.holds_back() {
            self.check_trees(Which::System)?;
        }
        let begun = self.condition.begin(room);
        begun
            .and_then(|()| self.condition.accept())
            .map_err(|error| {
                if self.condition.sync_failed() {
                    self.condition.set_broken();
                    let path = self.path.clone();
                    return Error::SyncFailed { path };
                }
                self.io("opening", error)
            })
    }

    /// Checks trees of the engine.
    pub(super) fn check_trees(&self, which: Which) -> Result<()> {
        guarded(self, || {
            let checked = self.condition.check_trees(which);
            checked.map_err(|fault| match fault {
                Fault::Io(error) => self.io("checking", error),
                Fault::Damaged(why) => Error::corrupt(named(&self.path), why),
            })
        })
    }

    /// A failure of the engine's storage.
    pub(super) fn storage(&self, operation: &str, error: StorageError) -> Error {
        if self.condition.sync_failed() {
            return Error::SyncFailed {
                path: self.path.clone(),
            };
        }
        match error {
            StorageError::Io(source) => self.io(operation, source),
            StorageError::PreviousIo | StorageError::DatabaseClosed => {
                self.condition.set_broken();
                match self.condition.take_error() {
                    Some(source) => self.io(operation, source),
                    None => Self::engine(operation, error),
                }
            }
            StorageError::Corrupted(why) => Error::corrupt(named(&self.path), why),
            StorageError::LockPoisoned(_) => {
                self.condition.set_broken();
                Self::engine(operation, error)
            }
            other => Self::engine(operation, other),
        }
    }

    pub(super) fn io(&self, operation: &str, source: io::Error) -> Error {
        self.condition.set_broken();
        platform::io_error(operation, &self.path, source)
    }

    pub(super) fn table(&self, error: TableError) -> Error {
        match error {
            TableError::Storage(error) => self.storage("opening a table", error),
            other => Error::corrupt(named(&self.path), other.to_string()),
        }
    }

    /// A failure to begin.
    pub(super) fn transaction(&self, operation: &str, error: TransactionError) -> Error {
        match error {
            TransactionError::Storage(error) => self.storage(operation, error),
            other => Self::engine(operation, other),
        }
    }

    pub(super) fn commit(&self, error: CommitError) -> Error {
        self.condition.set_broken();
        match error {
            CommitError::Storage(error) => self.storage("committing", error),
            other => Self::engine("committing", other),
        }
    }

    pub(super) fn compaction(&self, error: CompactionError) -> Error {
        match error {
            CompactionError::Storage(error) => self.storage("compacting", error),
            other => Self::engine("compacting", other),
        }
    }

    /// A failure to open the database.
    pub(super) fn database(&self, error: DatabaseError) -> Error {
        let not_a_store = |why: String| Error::NotAStore {
            path: self.path.clone(),
            why,
        };
        match error {
            DatabaseError::DatabaseAlreadyOpen => Error::Busy {
                path: self.path.clone(),
                holder: None,
            },
            DatabaseError::Storage(StorageError::Corrupted(why)) => Error::corrupt(
                named(&self.path),
                format!("{why}; it may have been cut short"),
            ),
            DatabaseError::Storage(StorageError::Io(error))
                if matches!(
                    error.kind(),
                    io::ErrorKind::UnexpectedEof | io::ErrorKind::InvalidData
                ) =>
            {
                not_a_store(format!(
                    "it is cut short or written by another program ({error})"
                ))
            }
            DatabaseError::Storage(error) => self.storage("opening", error),
            DatabaseError::UpgradeRequired(version) => {
                not_a_store(format!("it is a redb file of the old version {version}"))
            }
            other => Self::engine("opening", other),
        }
    }

    pub(super) fn engine(
        operation: &str,
        source: impl std::error::Error + Send + Sync + 'static,
    ) -> Error {
        Error::Engine {
            operation: operation.to_owned(),
            source: Box::new(source),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reason_of_a_panic_is_told_however_it_was_given() {
        let literal: Box<dyn Any + Send> = Box::new("a page is cut short");
        assert_eq!(text_of(literal.as_ref()), "a page is cut short");
        let made: Box<dyn Any + Send> = Box::new("page 7".to_owned());
        assert_eq!(text_of(made.as_ref()), "page 7");
        assert_eq!(text_of(&7), "no reason given");
    }
}
