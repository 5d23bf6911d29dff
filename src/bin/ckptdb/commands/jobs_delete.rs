//! `jobs delete`: a job with all its checkpoints.

use ckptdb::name::printable;
use ckptdb::{CheckpointId, Store};
use clap_complete::engine::ArgValueCompleter;
use serde_json::json;

use crate::complete;
use crate::failure::Failure;
use crate::output::{Style, human};
use crate::{confirm, lookup};

/// Options of `jobs delete`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The job.
    #[arg(add = ArgValueCompleter::new(complete::jobs))]
    job: String,
    /// Only say what would be deleted.
    #[arg(short = 'n', long)]
    dry_run: bool,
    /// Don't ask.
    #[arg(long)]
    yes: bool,
}

/// Deletes the job.
pub(crate) fn run(args: &Args, store: &Store, style: &Style) -> Result<(), Failure> {
    let info = lookup::job(store, &args.job)?;
    let name = printable(&info.name);
    let held = info.checkpoints.saturating_add(info.abandoned);
    // Undeleting one brings the job back; until then no listing shows what it had.
    let newest = store
        .job(&info.name)?
        .latest()?
        .map(|checkpoint| checkpoint.id);
    let deleted = if args.dry_run {
        held
    } else {
        let what = human::checkpoints(held);
        confirm::ask(&format!("delete job {name} with {what}?"), args.yes)?;
        store.delete_job(&info.name)?
    };
    if style.json {
        let body = json!({
            "job": info.name,
            "checkpoints": deleted,
            "newest": newest.map(CheckpointId::get),
            "dry_run": args.dry_run,
        });
        return style.document("jobs.delete", &body);
    }
    let what = human::checkpoints(deleted);
    if args.dry_run {
        return style.line(format_args!(
            "would delete job {name} with {what}\nnothing was changed (dry run)"
        ));
    }
    style.line(format_args!("deleted job {name} with {what}"))?;
    if let Some(id) = newest {
        let then = format!("ckptdb ls {name} --deleted");
        style.note(format_args!(
            "undo: ckptdb undelete {id}; then `{then}` shows the others"
        ));
    }
    Ok(())
}
