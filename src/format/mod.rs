//! Records to bytes and back: total, bounded, deterministic. `docs/format.md` is the norm.
//!
//! Nothing here reads a file, a clock or global state, and nothing panics on any bytes. This is the
//! only module that names `bincode`.

mod bundle;
mod checkpoint;
mod chunk_row;
mod envelope;
mod extent;
#[cfg(test)]
mod golden;
mod index;
mod limits;
mod log;
mod malformed;
mod node;
#[cfg(test)]
mod rules;
mod settings;
mod stamp;
mod telemetry;
mod wire;

pub(crate) use bundle::{frame_of, frames, is_bundle_len, is_whole_bundle, with_frame, without};
pub(crate) use checkpoint::{
    AttributeRow, CheckpointRecord, DeletedMark, Later, MetricRow, Progress, SavedPart,
};
pub(crate) use chunk_row::ChunkRow;
pub(crate) use envelope::{LooseRecord, StoreTag, TableCode};
pub(crate) use extent::{Extent, ExtentHeader, cut_parts, extent_key};
#[cfg(test)]
pub(crate) use golden::as_always;
pub(crate) use index::{IndexKey, IndexKind, ordered_bits, value_of};
pub(crate) use limits::*;
pub(crate) use log::{Action, LogRecord, NO_PREVIOUS};
pub(crate) use malformed::Malformed;
pub(crate) use node::{
    ChunkRef, Content, EntryRecord, Group, KindRecord, Manifest, NameChild, Node, SpanChild,
    StoredNode, encoded_len,
};
pub(crate) use settings::{
    Head, HeadMark, Identity, JobRecord, MetricRecord, NameRecord, SessionsRecord,
};
pub(crate) use stamp::Stamp;
pub(crate) use telemetry::{
    BlockRecord, ColumnRecord, Packed, SegmentRecord, SummaryRecord, TelemetryRecord,
};
pub(crate) use wire::Record;
