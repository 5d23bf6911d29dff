#![doc = include_str!("../README.md")]

mod chunking;
mod codec;
mod format;
mod platform;
mod storage;
mod store;
mod sync;

pub mod checkpoint;
#[cfg(feature = "config")]
pub mod config;
pub mod error;
pub mod event;
#[cfg(feature = "fuzzing")]
pub mod fuzzing;
pub mod id;
pub mod interop;
pub mod metric;
pub mod name;
pub mod policy;
pub mod reference;
pub mod session;
pub mod telemetry;
pub mod tensor;
pub mod time;

pub use checkpoint::{CheckpointInfo, EntryInfo, EntryKind};
pub use codec::Compression;
pub use error::{Error, Holder, Result};
pub use event::Event;
pub use id::{CheckpointId, ChunkId, ContentHash, StoreId};
pub use metric::Direction;
pub use platform::{Clock, ManualClock, SystemClock};
pub use storage::{Backend, FileMedium, Lock, Locks, Medium, MemoryMedium};
pub use store::{
    Breakdown, Change, Checkpoint, Checkpoints, Compacted, Damage, Diff, DocumentChange, EntryDiff,
    EntryStorage, Filter, Job, JobInfo, Monitor, Options, Outcome, OwnedSave, Pruned, Reclaimed,
    Recompressed, Repaired, Resumed, Salvaged, Save, SaveTimes, Saved, SessionStats, Sharing,
    Stats, Store, Telemetry, Usage, ValueDiff, VerifyDepth, VerifyReport,
};
pub use tensor::{DType, Tensor, TensorSlice};
pub use time::Timestamp;
