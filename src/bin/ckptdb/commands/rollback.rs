//! `rollback`: an earlier checkpoint becomes the one to go on from.

use ckptdb::Store;
use clap_complete::engine::ArgValueCompleter;
use serde_json::json;

use crate::complete;
use crate::failure::Failure;
use crate::output::{Style, human, json};
use crate::{confirm, lookup};

/// Options of `rollback`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The checkpoint to go back to.
    #[arg(value_name = "REF")]
    #[arg(add = ArgValueCompleter::new(complete::references))]
    pub(crate) reference: String,
    /// Why; the log keeps it.
    #[arg(
        long,
        value_name = "TEXT",
        default_value = "asked for on the command line"
    )]
    reason: String,
    /// Only say what would be left behind.
    #[arg(short = 'n', long)]
    dry_run: bool,
    /// Don't ask.
    #[arg(long)]
    yes: bool,
}

/// Moves the head back.
pub(crate) fn run(args: &Args, store: &Store, style: &Style) -> Result<(), Failure> {
    let checkpoint = lookup::checkpoint(store, &args.reference)?;
    let job = store.job(&checkpoint.job)?;
    let mut behind = 0_u64;
    for other in job.list()? {
        // A damaged one is left behind too.
        behind += u64::from(other.map_or(true, |other| other.id > checkpoint.id));
    }
    let left = format!(
        "{} behind, as an abandoned line",
        human::checkpoints(behind)
    );
    if !args.dry_run {
        if behind > 0 {
            let question = format!("leave {left}?");
            confirm::ask(&question, args.yes)?;
        }
        job.rollback(checkpoint.id, &args.reason)?;
    }
    if style.json {
        let checkpoint = checkpoint.refresh()?;
        let body = json!({
            "checkpoint": json::checkpoint(&checkpoint),
            "left_behind": behind,
            "dry_run": args.dry_run,
        });
        return style.document("rollback", &body);
    }
    let to = human::labelled(&checkpoint);
    if args.dry_run {
        return style.line(format_args!(
            "would go back to {to} and leave {left}\nnothing was changed (dry run)"
        ));
    }
    style.line(format_args!("back to {to}; left {left}"))
}
