//! Where bytes are cut and entries are grouped: pure arithmetic on lengths and names.

mod boundary;
mod grid;

pub(crate) use boundary::is_boundary;
pub(crate) use grid::Grid;
