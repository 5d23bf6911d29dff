//! When to save and what to keep, as pure functions: no clock, no store, no chance. The same
//! question has the same answer on every machine, and each answer says why.
//!
//! [`Triggers`] decide whether a moment of training is worth a checkpoint; [`Retention`] decides
//! which of a job's checkpoints stay.

mod adaptive;
mod candidate;
mod improvement;
mod keep;
mod plan;
mod rank;
mod trigger;

pub use adaptive::Adaptive;
pub use candidate::{Candidate, Situation};
pub use improvement::{Baseline, Improvement, Threshold};
pub use keep::{Keep, Reason};
pub use plan::{Plan, Retention, Verdict};
pub use trigger::{Call, Cause, Decision, Moment, Past, Trigger, Triggers};
