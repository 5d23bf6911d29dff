//! `ckptdb demo`: trains a small network for real, kills it in the middle of a save, resumes, and
//! ends bit for bit where an uninterrupted run does.

mod acts;
mod child;
mod data;
mod matrix;
mod message;
mod mlp;
mod plan;
mod story;
mod target;
mod trainer;
mod worker;

use std::path::Path;

use self::acts::{compare, inspect, reference, resume, train_and_kill};
use self::plan::Plan;
use self::story::Story;
use crate::failure::Failure;
use crate::global::Global;
use crate::output::{Progress, Style};

/// Where the demo's store is unless `--store` says otherwise. `CKPTDB_STORE` names a store with
/// somebody's work in it, so the demo leaves that alone.
const DEFAULT_STORE: &str = "demo.ckptdb";

/// What `demo` accepts.
#[derive(Debug, clap::Args)]
#[command(after_help = "The store is ./demo.ckptdb unless --store names another file.")]
pub(crate) struct Args {
    /// Iterations to train.
    #[arg(long, value_name = "N", default_value_t = 600)]
    iterations: u64,
    /// Save every N iterations.
    #[arg(long, value_name = "N", default_value_t = 20)]
    every: u64,
    /// Decides the data, the weights at the beginning, and when the kill comes.
    #[arg(long, value_name = "N", default_value_t = 7)]
    seed: u64,
    /// Replace the store of an earlier demo; never a store with anything else in it.
    #[arg(short, long)]
    force: bool,
    /// Be the training process that the demo kills.
    #[arg(long, hide = true)]
    worker: bool,
}

/// Runs the demo, or the training process within it.
///
/// The store is what `--store` names, if it is given.
pub(crate) fn run(args: &Args, global: &Global, style: &Style) -> Result<(), Failure> {
    let store = global.store.as_deref();
    let plan = Plan {
        store: store.unwrap_or(Path::new(DEFAULT_STORE)).to_owned(),
        options: global.options(),
        replaces: args.force,
        iterations: args.iterations,
        every: args.every,
        seed: args.seed,
    };
    plan.check()?;
    if args.worker {
        return worker::run(&plan, style);
    }
    target::prepare(&plan)?;
    perform(&plan, style)
}

/// The five acts, each told as soon as it is over, and then what the store says for itself.
fn perform(plan: &Plan, style: &Style) -> Result<(), Failure> {
    let mut tell = Story::new(plan, style);
    tell.opening()?;
    let reference = busy("training without a break", || Ok(reference(plan)))?;
    tell.reference(&reference)?;
    let killed = busy("training and saving", || train_and_kill(plan))?;
    tell.killed(&killed)?;
    let found = busy("loading every checkpoint", || {
        inspect(plan, &reference, &killed)
    })?;
    tell.found(&killed, &found)?;
    let resumed = busy("training on", || resume(plan, &found))?;
    tell.resumed(&resumed)?;
    let store = plan.open()?;
    let ended = busy("loading every checkpoint", || {
        compare(plan, &reference, &store)
    })?;
    tell.ended(&reference, &ended)?;
    tell.close(&store)?;
    store.close();
    Ok(())
}

/// Shows a spinner on a terminal while something takes its time.
fn busy<T>(message: &'static str, work: impl FnOnce() -> Result<T, Failure>) -> Result<T, Failure> {
    let _progress = Progress::start(message);
    work()
}
