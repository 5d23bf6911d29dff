//! Every property of the store, by what it is about.

#![expect(clippy::panic, reason = "a test stops at the first surprise")]
#![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]
#![expect(
    clippy::disallowed_methods,
    reason = "tests look at the files themselves"
)]
#![expect(clippy::print_stdout, reason = "counts are part of what a test shows")]

mod commands;
mod concurrency;
mod crash;
mod damage;
mod deletion;
mod deltas;
mod demo;
mod diff;
mod faults;
mod import;
mod lifecycle;
mod model;
mod orbax;
mod queries;
mod rescue;
mod save_load;
mod session;
mod support;
mod telemetry;
