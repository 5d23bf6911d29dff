//! Training sessions: one object in the loop that decides when to save, what to keep and how to go
//! on, and that never stops the training.
//!
//! [`Session::run`] drives a loop; [`Session::step`] is called from a loop of one's own.
//! `docs/session.md` says what happens when something goes wrong.

mod back;
mod background;
mod caught;
#[cfg(feature = "config")]
mod configured;
mod disk;
mod draft;
mod hook;
mod options;
mod outcome;
mod problem;
mod pruner;
mod run;
mod series;
#[cfg(feature = "signals")]
mod signals;
mod spike;
mod start;
mod step;
mod worker;

#[cfg(feature = "config")]
pub use configured::retention;
pub use draft::Draft;
pub use hook::{Done, Hook, HookResult, LowDisk, When, after_save, before_save, on_failure};
pub use options::{MinFree, OnLowDisk, Overlap, SessionOptions, SpikeGuard};
pub use outcome::{SaveState, Step, Stop};
pub use problem::{Problem, ProblemKind};
pub use run::{Finished, RunError, State};
pub use start::Session;
