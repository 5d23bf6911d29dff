//! How results are shown: text for people, JSON for programs.

pub(crate) mod damage;
mod graph;
pub(crate) mod human;
pub(crate) mod json;
#[cfg(target_os = "linux")]
mod pager;
mod progress;
mod spark;
mod style;
mod summary;
mod table;

pub(crate) use graph::Graph;
#[cfg(target_os = "linux")]
pub(crate) use pager::Pager;
pub(crate) use progress::Progress;
pub(crate) use spark::{sparkline, spread};
pub(crate) use style::Style;
pub(crate) use summary::{extend, summary};
pub(crate) use table::{Cell, Table, Tone};
