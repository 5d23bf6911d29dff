//! Storage: the only module that names redb, and where the store's file is read and written.
//!
//! [`Engine`] owns the database handle and can close and reopen it beneath whoever uses it; nothing
//! above holds one of redb's guards across calls. Above it, [`Rows`] and [`Writes`] are the tables
//! in plain bytes, and `records`, `chunks`, `bundles`, `load` and `nodes` what the format makes of
//! them.

mod adapter;
mod backend;
mod bundles;
mod chunks;
mod engine;
mod file;
mod guard;
mod handle;
mod header;
mod joined;
mod ledger;
mod load;
mod locks;
mod loose;
mod memory;
mod nodes;
mod overlay;
mod pack;
mod raw;
mod records;
mod recount;
mod rehearsal;
mod room;
mod rows;
mod share;
mod standing;
mod suspects;
mod tables;
#[cfg(test)]
mod testing;
mod trees;
mod waiting;
#[cfg(target_os = "linux")]
#[cfg(test)]
mod watched;

pub(crate) use adapter::failed_here;
pub use backend::{Backend, Medium};
pub(crate) use bundles::{each_frame, is_bundle, remove_frame};
pub(crate) use chunks::{
    NewChunk, chunk_row, count_chunk, lose_chunk, put_chunk, replace_chunk, sweep_chunk,
};
pub(crate) use engine::{Engine, Withheld};
pub use file::FileMedium;
pub(crate) use handle::{Durability, EngineOptions};
pub(crate) use load::{load_chunk, load_chunk_into, load_chunk_to, load_encoded, peek_raw};
pub use locks::{Lock, Locks};
pub(crate) use loose::LooseChunks;
pub use memory::MemoryMedium;
pub(crate) use nodes::{
    NodeSet, heal_nodes, load_node, release_manifest, restore_nodes, retain_manifest,
};
pub(crate) use raw::{Frame, RawMedium};
pub(crate) use records::{Change, Records};
pub(crate) use recount::References;
pub(crate) use rehearsal::Rehearsal;
pub(crate) use room::Room;
pub(crate) use rows::{Clear, Rows, Writes};
pub(crate) use suspects::{Harm, unless_of_another};
#[cfg(test)]
pub(crate) use testing::{Faulty, deep_nodes};
