//! The store: jobs and their checkpoints, in and out.

mod body;
mod change;
mod checkpoint;
mod commit;
mod declare;
mod delete;
mod document;
mod freed;
mod handle;
mod index_rows;
mod ingest;
mod job;
mod line;
mod list;
mod manifest;
mod merge;
mod query;
mod read;
mod reclaim;
mod request;
mod resolve;
mod save;
mod stats;
mod sweep;
mod tags;
mod verify;
mod walk;

pub use checkpoint::Checkpoint;
pub(crate) use document::canonical as canonical_json;
pub use handle::{Options, Store};
pub use job::{Job, JobInfo};
pub use list::{Checkpoints, Filter};
pub use reclaim::{Compacted, Reclaimed};
pub use save::{Save, Saved};
pub use stats::Stats;
pub use verify::{Damage, VerifyDepth, VerifyReport};
