//! The operating system, as little of it as is needed: the clock, files, free space.

mod blocks;
mod buffer;
mod clock;
mod files;
mod locks;
mod network;

pub(crate) use blocks::{
    allocated_bytes, begin_read, begin_write_back, free_bytes, release_blocks, reserve_blocks,
};
pub(crate) use buffer::Buffer;
pub(crate) use clock::micros_since_start;
pub use clock::{Clock, ManualClock, SystemClock};
pub(crate) use files::{
    AtomicFile, FileSection, InputFile, Temporary, create_directory, error_again, io_error,
    is_folder, is_link, is_linked_folder, is_same_file, is_taken, length, listing, members_of,
    modified_at, no_file, process_id, random_bytes, read_to_limit, real_path, remove_quietly,
    sync_parent,
};
pub(crate) use locks::{has_range_locks, locked_by_others, program_of, try_lock_at, unlock_at};
pub(crate) use network::network_file_system;
