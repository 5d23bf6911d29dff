//! Folders of checkpoints that other programs have left, into a store.
//!
//! A [`Plan`] says what a folder is understood to hold; nothing is read for it but names, small
//! JSON files, and what has to be compared. What no template fits is listed and left alone.

mod archive;
mod fields;
mod folder;
mod known;
mod metadata;
mod plan;
mod run;
mod same;

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde_json::Value;

use super::NameTemplate;
use crate::codec::Compression;
use crate::event::Event;
use crate::metric::Direction;
use crate::store::Monitor;

/// The names of the checkpoints of a usual folder of trading agents.
pub const DEFAULT_TEMPLATE: &str = "{market}_ts-{iteration:07d}_evt-{event}_val-{val_reward:+.3f}_\
                                    sharpe-{sharpe_ratio:+.2f}_seed-{seed}.zip";
/// The attribute that says which file a checkpoint came from, below the folder.
pub const IMPORTED_FROM: &str = "imported_from";
/// The attribute that says when that file was changed last, in milliseconds since 1970.
pub const MODIFIED_AT: &str = "modified_at_ms";

/// How a folder is understood.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct ImportOptions {
    /// Templates of the caller's, which go before those that are known.
    pub templates: Vec<NameTemplate>,
    /// The job, which may have fields of the template in braces [default: the field `job` or
    /// `market`, else the folder's name].
    pub job: Option<NameTemplate>,
    /// Which way metrics are better. `val_reward` and `sharpe_ratio` of the default template are
    /// better when they are larger.
    pub directions: BTreeMap<String, Direction>,
    /// How much encoding may cost.
    pub compression: Option<Compression>,
    /// Ends the look at a folder.
    pub monitor: Monitor,
}

/// A checkpoint that a folder holds.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Planned {
    /// Its main file or folder, below the folder that is imported.
    pub path: PathBuf,
    /// The job that it will be of.
    pub job: String,
    /// Its iteration.
    pub iteration: u64,
    /// Why it was saved.
    pub events: Vec<Event>,
    /// Its metrics.
    pub metrics: BTreeMap<String, f64>,
    /// Its attributes.
    pub attributes: BTreeMap<String, Value>,
    /// Names that it will have.
    pub tags: Vec<String>,
    /// Its entries, by name, and the files that they are.
    pub files: BTreeMap<String, PathBuf>,
    /// Bytes of these.
    pub bytes: u64,
    /// What is odd about it.
    pub notes: Vec<String>,
}

/// What is in the folder and stays there.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct LeftAlone {
    /// Where, below the folder.
    pub path: PathBuf,
    /// Why.
    pub why: String,
}

/// What a folder is understood to hold.
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct Plan {
    /// The checkpoints, by job and iteration.
    pub checkpoints: Vec<Planned>,
    /// What is left alone, by path.
    pub left: Vec<LeftAlone>,
}

/// What an import did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Imported {
    /// Checkpoints that were saved.
    pub saved: u64,
    /// Checkpoints that an import before had saved.
    pub already: u64,
    /// Bytes of those that were saved.
    pub bytes: u64,
    /// Bytes of them that the store had not.
    pub new_bytes: u64,
    /// What could not be saved.
    pub left: Vec<LeftAlone>,
    /// Whether it was ended before all were looked at; the same again goes on from there.
    pub stopped: bool,
}
