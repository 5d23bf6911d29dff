//! Telemetry: a job's time series, at every iteration rather than at checkpoints alone.
//!
//! A job's points lie in blocks, by columns; blocks belong to a segment, which is what was logged
//! between two turns back (a rollback, a resumed session). A segment names the one that it
//! continues and up to which iteration, so that every checkpoint shows the line that it is on, and
//! what was left behind stays readable by the checkpoints of its own line.

mod append;
mod batch;
mod block;
mod column;
mod line;
mod own;
mod read;
mod restore;
mod sketch;
mod summary;

pub(crate) use append::{append, end_before_fork, forget, has_forks, last_row, turn_back};
pub use batch::Batch;
pub(crate) use line::Line;
pub use own::{BLOCKED_SECONDS, SAVE_SECONDS, is_own};
pub use read::{Bucket, Point};
pub(crate) use read::{buckets, each_point, summaries_of};
pub(crate) use restore::{choose, fill, last_segment, restore, sound};
pub use summary::Summary;
