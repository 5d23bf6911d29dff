//! The operating system, as little of it as is needed: the clock, files, free space.

mod blocks;
mod clock;
mod files;

pub(crate) use blocks::{
    allocated_bytes, begin_write_back, free_bytes, release_blocks, reserve_blocks,
};
pub use clock::{Clock, ManualClock, SystemClock};
pub(crate) use files::{
    AtomicFile, InputFile, create_directory, create_empty, io_error, is_folder, is_taken,
    link_exclusive, members_of, random_bytes, read_to_limit, remove_quietly, sync_parent,
    temporary_beside,
};
