//! `jobs rename`: a job under another name.

use ckptdb::Store;
use ckptdb::name::printable;
use clap_complete::engine::ArgValueCompleter;
use serde_json::json;

use crate::complete;
use crate::failure::Failure;
use crate::lookup;
use crate::output::Style;

/// Options of `jobs rename`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The job.
    #[arg(add = ArgValueCompleter::new(complete::jobs))]
    job: String,
    /// Its new name.
    to: String,
    /// Only say what would be done.
    #[arg(short = 'n', long)]
    dry_run: bool,
    /// Even if a session has not ended: one that still runs would begin a new job by the old name,
    /// or fail to save.
    #[arg(short, long)]
    force: bool,
}

/// Renames the job.
pub(crate) fn run(args: &Args, store: &Store, style: &Style) -> Result<(), Failure> {
    let job = lookup::job(store, &args.job)?.name;
    if args.dry_run {
        store.check_rename(&job, &args.to, args.force)?;
    } else {
        store.rename_job(&job, &args.to, args.force)?;
    }
    if style.json {
        let body = json!({ "job": job, "to": args.to, "dry_run": args.dry_run });
        return style.document("jobs.rename", &body);
    }
    let (from, to) = (printable(&job), printable(&args.to));
    if args.dry_run {
        return style.line(format_args!(
            "would rename job {from} to {to}\nnothing was changed (dry run)"
        ));
    }
    style.line(format_args!("renamed job {from} to {to}"))
}
