//! `delete`: checkpoints, with a way back for a while.

use std::io::Write;

use ckptdb::{Checkpoint, Store};
use clap_complete::engine::ArgValueCompleter;
use serde_json::json;

use crate::complete;
use crate::failure::Failure;
use crate::output::{Style, human, json};
use crate::{confirm, lookup};

/// Options of `delete`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The checkpoints.
    #[arg(value_name = "REF", required = true)]
    #[arg(add = ArgValueCompleter::new(complete::references))]
    pub(crate) references: Vec<String>,
    /// Delete even a job's latest or its last known good one. A pinned one stays.
    #[arg(long)]
    force: bool,
    /// Only say what would be deleted.
    #[arg(short = 'n', long)]
    pub(crate) dry_run: bool,
    /// Don't ask.
    #[arg(long)]
    yes: bool,
}

/// Deletes, or says what would be deleted.
pub(crate) fn run(args: &Args, store: &Store, style: &Style) -> Result<(), Failure> {
    // All are looked up before the first is deleted: `vit@latest` must not mean another one
    // halfway, and a mistyped reference deletes nothing.
    let mut checkpoints = Vec::new();
    for reference in &args.references {
        let checkpoint = lookup::checkpoint(store, reference)?;
        if checkpoints
            .iter()
            .all(|known: &Checkpoint| known.id != checkpoint.id)
        {
            checkpoints.push(checkpoint);
        }
    }
    if args.dry_run {
        return dry_run(args, &checkpoints, store, style);
    }
    confirm::ask(&question(&checkpoints), args.yes)?;
    let mut deleted = Vec::new();
    let mut failed = None;
    for checkpoint in &checkpoints {
        match checkpoint.delete(args.force) {
            Ok(()) => deleted.push(checkpoint),
            Err(error) => {
                failed = Some(error);
                break;
            }
        }
    }
    report(&deleted, style)?;
    failed.map_or(Ok(()), |error| Err(error.into()))
}

fn question(checkpoints: &[Checkpoint]) -> String {
    match checkpoints {
        [one] => format!("delete {}?", human::labelled(one)),
        several => format!("delete {}?", human::checkpoints(several.len() as u64)),
    }
}

/// What was deleted before a failure is reported as well as what comes without one.
fn report(deleted: &[&Checkpoint], style: &Style) -> Result<(), Failure> {
    if style.json {
        let rows: Vec<_> = deleted
            .iter()
            .map(|checkpoint| json::checkpoint(checkpoint))
            .collect();
        return style.document("delete", &json!({ "deleted": rows, "dry_run": false }));
    }
    let mut out = style.out();
    for checkpoint in deleted {
        let (label, id) = (human::labelled(checkpoint), checkpoint.id);
        writeln!(out, "deleted {label}; undo: ckptdb undelete {id}")?;
    }
    Ok(out.flush()?)
}

fn dry_run(
    args: &Args,
    checkpoints: &[Checkpoint],
    store: &Store,
    style: &Style,
) -> Result<(), Failure> {
    let jobs = store.jobs()?;
    let refusal = |checkpoint: &Checkpoint| {
        let is_head = jobs.iter().any(|job| job.head == Some(checkpoint.id));
        if checkpoint.pinned {
            Some("pinned")
        } else if is_head && !args.force {
            Some("the latest of its job, which needs --force")
        } else {
            None
        }
    };
    if style.json {
        let row = |checkpoint: &Checkpoint| {
            let mut row = json::checkpoint(checkpoint);
            row["refused"] = refusal(checkpoint).into();
            row
        };
        let rows: Vec<_> = checkpoints.iter().map(row).collect();
        return style.document("delete", &json!({ "would_delete": rows, "dry_run": true }));
    }
    let mut out = style.out();
    for checkpoint in checkpoints {
        let label = human::labelled(checkpoint);
        match refusal(checkpoint) {
            Some(why) => writeln!(out, "would refuse {label}: {why}")?,
            None => writeln!(out, "would delete {label}")?,
        }
    }
    writeln!(out, "nothing was changed (dry run)")?;
    Ok(out.flush()?)
}
