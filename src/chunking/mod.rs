//! Where bytes are cut and entries are grouped: pure arithmetic on bytes, lengths and names.

mod boundary;
mod files;

pub(crate) use boundary::is_boundary;
pub(crate) use files::FileCutter;
