//! What went wrong without stopping the training.

use std::fmt;

/// Something that went wrong, or was left out, without stopping the training.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Problem {
    /// The iteration that it concerns.
    pub iteration: u64,
    /// What kind it is.
    pub kind: ProblemKind,
    /// What happened, and what can be done.
    pub message: String,
}

/// What went wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum ProblemKind {
    /// A save failed; the next step tries again.
    SaveFailed,
    /// A save was left out because another one ran.
    Skipped,
    /// There was too little room on the disk for a save.
    LowDisk,
    /// A hook failed, panicked, or took too long.
    Hook,
    /// Retention could not be applied.
    PruneFailed,
    /// Telemetry could not be appended; it stays in memory, and is tried again with the next save
    /// or when there is twice as much. Or so much waited that it was thinned.
    Telemetry,
    /// A metric showed that training broke.
    Spike,
    /// What the session did could not be recorded.
    Record,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "iteration {}: {}", self.iteration, self.message)
    }
}

impl Problem {
    pub(super) fn new(iteration: u64, kind: ProblemKind, message: impl fmt::Display) -> Self {
        let problem = Self {
            iteration,
            kind,
            message: message.to_string(),
        };
        tracing::warn!(iteration, ?kind, message = problem.message);
        problem
    }
}
