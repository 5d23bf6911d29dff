//! `resume`: the newest checkpoint that can really be loaded.

use ckptdb::Store;
use clap_complete::engine::ArgValueCompleter;
use serde_json::json;

use crate::complete;
use crate::failure::{Exit, Failure};
use crate::lookup;
use crate::output::{Progress, Style, damage, json, summary};

/// Options of `resume`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The job [default: the only one].
    #[arg(add = ArgValueCompleter::new(complete::jobs))]
    job: Option<String>,
}

/// Prints the checkpoint to go on from; what was passed over goes to stderr.
pub(crate) fn run(args: &Args, store: &Store, style: &Style) -> Result<(), Failure> {
    let info = lookup::one_job(store, args.job.as_deref())?;
    let progress = Progress::start("reading");
    let resumed = store.job(&info.name)?.resume()?;
    drop(progress);
    let none = || Failure::new(Exit::NotFound, "no checkpoint yet");
    let resumed = resumed.ok_or_else(none)?;
    if style.json {
        let body = json!({
            "checkpoint": json::checkpoint(&resumed.checkpoint),
            "skipped": damage::json(&resumed.skipped),
        });
        return style.document("resume", &body);
    }
    for skipped in &resumed.skipped {
        let label = damage::label(skipped);
        style.note(format_args!("passed over {label}: {}", skipped.what));
    }
    style.line(format_args!(
        "{}",
        summary(&resumed.checkpoint, None, style)
    ))
}
