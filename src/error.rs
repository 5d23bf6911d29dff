//! The one error type of the library.

use std::error::Error as StdError;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

use crate::id::CheckpointId;

/// `Result` with this crate's [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Who may write to a store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Holder {
    /// Its process.
    pub process: u32,
    /// For how long, to the second.
    pub held_for: Duration,
    /// The name of its program, if the system tells.
    pub program: Option<String>,
}

impl std::fmt::Display for Holder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "process {}", self.process)?;
        if let Some(program) = &self.program {
            write!(f, " (`{program}`)")?;
        }
        write!(f, ", for {} s", self.held_for.as_secs())
    }
}

fn named(holder: Option<&Holder>) -> String {
    let unknown = || "another process or handle".to_owned();
    holder.map_or_else(unknown, Holder::to_string)
}

/// Everything that can go wrong. A message names the object and the operation, never the source:
/// that is in [`StdError::source`]; what to do about it is in [`Error::hint`].
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// There is no file at this path. Opening never creates.
    #[error("no store at `{}`", path.display())]
    NoStore {
        /// Where it was looked for.
        path: PathBuf,
    },
    /// Something is at this path already. Creating never overwrites.
    #[error("`{}` exists already", path.display())]
    Exists {
        /// The path that is taken.
        path: PathBuf,
    },
    /// The file is not a store: empty, cut short, or written by another program. It was not
    /// touched.
    #[error("`{}` is not a checkpoint store: {why}", path.display())]
    NotAStore {
        /// The file.
        path: PathBuf,
        /// What was found instead.
        why: String,
    },
    /// The store was written by a later release, in a format that this one can't read.
    #[error(
        "`{}` has format version {found}; this release reads up to {supported}",
        path.display()
    )]
    Newer {
        /// The file.
        path: PathBuf,
        /// The version in the file.
        found: u32,
        /// The newest version that this release reads.
        supported: u32,
    },
    /// The store is open elsewhere; or, where it is shared, written to by another process or handle
    /// for longer than this one was willing to wait.
    #[error("`{}` is in use by {}", path.display(), named(holder.as_ref()))]
    Busy {
        /// The file.
        path: PathBuf,
        /// Who has it, if that is known.
        holder: Option<Holder>,
    },
    /// Other processes changed the store while it was read, for longer than they wait for readers.
    #[error("`{}` was changed by another process while it was read", path.display())]
    Overtaken {
        /// The file.
        path: PathBuf,
    },
    /// The file is on a network file system, where locks may not hold. It was not opened.
    #[error("`{}` is on a network file system ({kind})", path.display())]
    NetworkFileSystem {
        /// The file.
        path: PathBuf,
        /// Which one.
        kind: &'static str,
    },
    /// The file was moved, deleted or replaced by another while the store was open. Nothing was
    /// written to it, since what it holds would not be found under its name.
    #[error("`{}` was moved or replaced while it was open", path.display())]
    Replaced {
        /// Where the store was.
        path: PathBuf,
    },
    /// The store was opened by the process that this one was forked from, and is that one's: its
    /// lock and its threads were not handed on. Nothing was read or written.
    #[error("`{}` was opened before this process was forked", path.display())]
    Forked {
        /// The file.
        path: PathBuf,
    },
    /// The disk has no room. The store stays readable and nothing acknowledged is lost.
    #[error("no room on the disk for `{}` while {operation}", path.display())]
    Full {
        /// What was being done.
        operation: String,
        /// The file that could not grow.
        path: PathBuf,
    },
    /// The operating system refused an operation on a file.
    #[error("{operation} `{}` failed", path.display())]
    Io {
        /// What was being done.
        operation: String,
        /// The file.
        path: PathBuf,
        /// The system's answer.
        #[source]
        source: io::Error,
    },
    /// A sync to the disk failed earlier. What the disk holds is unknown from then on, so this
    /// handle reports no success any more.
    #[error("an earlier sync of `{}` failed; this handle is closed for writing", path.display())]
    SyncFailed {
        /// The file.
        path: PathBuf,
    },
    /// The store had to be opened anew while a save was under way, because another operation had
    /// failed. Nothing was saved.
    #[error("`{}` was opened anew while a checkpoint was being saved", path.display())]
    Interrupted {
        /// The file.
        path: PathBuf,
    },
    /// It was ended by [`Monitor::cancel`](crate::Monitor::cancel). Nothing of it is stored.
    #[error("{doing} was cancelled")]
    Cancelled {
        /// What was under way.
        doing: &'static str,
    },
    /// Stored bytes are not what was written.
    #[error("{what} is damaged: {why}")]
    Corrupt {
        /// The damaged object.
        what: String,
        /// How it was noticed.
        why: String,
    },
    /// The tables themselves can't be read, so that the store can't be mended in place.
    #[error("{what} can't be repaired in place: {why}")]
    Beyond {
        /// The damaged object.
        what: String,
        /// How it was noticed.
        why: String,
    },
    /// The store can only be read: its file or the disk does not allow writing.
    #[error("`{}` can only be read", path.display())]
    ReadOnly {
        /// The file.
        path: PathBuf,
    },
    /// Nothing by that name.
    #[error("no {what}")]
    NotFound {
        /// What was asked for.
        what: String,
        /// What there is instead, for a person to read.
        hint: String,
    },
    /// The checkpoint was deleted, perhaps while it was being read.
    #[error("checkpoint {id} was deleted")]
    Deleted {
        /// The checkpoint.
        id: CheckpointId,
    },
    /// The request contradicts what is stored.
    #[error("{what}")]
    Conflict {
        /// The contradiction.
        what: String,
        /// The ways out of it.
        hint: String,
    },
    /// The metric has no direction, so that nothing can be best by it.
    #[error("metric `{metric}` of job `{job}` has no declared direction")]
    Undeclared {
        /// The job.
        job: String,
        /// The metric.
        metric: String,
    },
    /// An argument can't be accepted.
    #[error("{what}: {why}")]
    Invalid {
        /// The argument.
        what: String,
        /// The rule that it breaks.
        why: String,
    },
    /// The storage engine failed in a way that has no kind of its own.
    #[error("the storage engine failed while {operation}")]
    Engine {
        /// What was being done.
        operation: String,
        /// The engine's own error.
        #[source]
        source: Box<dyn StdError + Send + Sync>,
    },
}

impl Error {
    /// An [`Error::Invalid`].
    pub(crate) fn invalid(what: impl Into<String>, why: impl Into<String>) -> Self {
        Self::Invalid {
            what: what.into(),
            why: why.into(),
        }
    }

    /// An [`Error::Corrupt`].
    pub(crate) fn corrupt(what: impl Into<String>, why: impl Into<String>) -> Self {
        Self::Corrupt {
            what: what.into(),
            why: why.into(),
        }
    }

    /// An [`Error::NotFound`].
    pub(crate) fn not_found(what: impl Into<String>, hint: impl Into<String>) -> Self {
        Self::NotFound {
            what: what.into(),
            hint: hint.into(),
        }
    }

    /// An [`Error::Conflict`].
    pub(crate) fn conflict(what: impl Into<String>, hint: impl Into<String>) -> Self {
        Self::Conflict {
            what: what.into(),
            hint: hint.into(),
        }
    }

    /// What a person can do about it, if anything is known.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::NoStore { path } => Some(format!("create one: ckptdb init {}", path.display())),
            Self::Exists { .. } => Some("open it, or choose another path".to_owned()),
            Self::NotAStore { .. } => Some(
                "the file was left as it is; if it was a store once, `ckptdb salvage OLD NEW` \
                 rebuilds it from its bytes"
                    .to_owned(),
            ),
            Self::Newer { .. } => Some("update ckptdb; the file was left as it is".to_owned()),
            Self::Busy { holder: None, .. } => Some(
                "it has only just begun, or has the file for itself alone (Sharing::Alone, or a \
                 tool of the engine's): repeat it, or close that program"
                    .to_owned(),
            ),
            Self::Busy { .. } => Some(
                "it goes on when that process is done; wait longer with --wait (Options::wait)"
                    .to_owned(),
            ),
            Self::Overtaken { .. } => Some("repeat it; nothing was changed by it".to_owned()),
            Self::NetworkFileSystem { .. } => Some(
                "keep the store on a disk of this machine; or, if no other machine has it open, \
                 use --force-network (Sharing::Anywhere)"
                    .to_owned(),
            ),
            Self::Replaced { .. } => Some("open it anew, from where it is now".to_owned()),
            Self::Forked { .. } => Some(
                "use it in the process that opened it; start others with spawn, or open stores \
                 after the fork"
                    .to_owned(),
            ),
            Self::Full { .. } => {
                Some("make room, then repeat; everything saved so far is safe".to_owned())
            }
            Self::Cancelled {
                doing: "verifying" | "looking",
            } => None,
            Self::Cancelled { .. } => {
                Some("what was complete by then stays; nothing is there by half".to_owned())
            }
            Self::Interrupted { .. } => {
                Some("save it again; everything saved so far is safe".to_owned())
            }
            Self::SyncFailed { .. } => Some("check the disk, then open the store again".to_owned()),
            Self::Corrupt { what, .. } if what.starts_with("store `") => {
                Some("`ckptdb salvage OLD NEW` rebuilds it from the bytes that verify".to_owned())
            }
            Self::Corrupt { .. } => Some(
                "`ckptdb verify` lists what is damaged and `ckptdb repair` mends what can be; \
                     other checkpoints load"
                    .to_owned(),
            ),
            Self::Beyond { .. } => {
                Some("`ckptdb salvage OLD NEW` rebuilds it from the bytes that verify".to_owned())
            }
            Self::ReadOnly { .. } => {
                Some("check the permissions of the file and how the disk is mounted".to_owned())
            }
            Self::NotFound { hint, .. } | Self::Conflict { hint, .. } if !hint.is_empty() => {
                Some(hint.clone())
            }
            Self::Undeclared { job, metric } => Some(format!(
                "declare it once: ckptdb metric declare {job} {metric} min|max"
            )),
            _ => None,
        }
    }
}
