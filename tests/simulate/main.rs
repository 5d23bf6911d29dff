//! The store on a simulated disk: power failures at any moment, faults of any call, damage of any
//! kind. What it answers afterwards is what a model in memory answers.

#![expect(clippy::panic, reason = "a test stops at the first surprise")]
#![expect(clippy::expect_used, reason = "a test stops at the first surprise")]
#![expect(clippy::print_stdout, reason = "counts are part of what a test shows")]

mod controls;
mod crash;
mod damage;
mod disk;
mod endings;
mod fault;
mod growth;
mod image;
mod iofaults;
mod lies;
mod model;
mod op;
mod oracle;
mod quiet;
mod random;
mod repair;
mod run;
mod shared;
mod states;
mod suite;
#[path = "../support/table.rs"]
mod table;
mod tally;
mod work;
