//! How a checkpoint is named: the grammar of references, for Rust, the command line and Python.

mod parse;

pub(crate) use parse::nearest_word;
pub use parse::{Reference, Selector, Target};
