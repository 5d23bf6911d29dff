//! Real processes on real files: killed, short of room, given wrong answers by the system.
//!
//! A child is this same program, run again for one test: see `child`. What a child tells its
//! parent are lines on its standard output. Linux only: the faults are preloaded into the child,
//! and the full disks are mounted in a name space of its own.

#![cfg(target_os = "linux")]
#![expect(clippy::panic, reason = "a test stops at the first surprise")]
#![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]
#![expect(
    clippy::disallowed_methods,
    reason = "tests look at the files themselves"
)]
#![expect(clippy::print_stdout, reason = "counts are part of what a test shows")]

mod child;
mod content;
mod durable;
mod exits;
mod forbidden;
mod forked;
mod model;
mod mounted;
mod newfiles;
mod operation;
mod quota;
mod sharing;
mod shim;
mod signals;
mod stories;
mod storm;
mod sweep;
mod worker;
