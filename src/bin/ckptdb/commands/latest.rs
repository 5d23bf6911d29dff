//! `latest`: where a job continues.

use std::io::Write;

use ckptdb::Store;
use clap_complete::engine::ArgValueCompleter;
use serde_json::json;

use crate::complete;
use crate::failure::{Exit, Failure};
use crate::lookup;
use crate::output::{Style, json, summary};

/// Options of `latest`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// A job, or a pattern with * and ? [default: every job].
    #[arg(add = ArgValueCompleter::new(complete::jobs))]
    job: Option<String>,
}

/// Prints a line for each job that has a checkpoint.
pub(crate) fn run(args: &Args, store: &Store, style: &Style) -> Result<(), Failure> {
    let mut found = Vec::new();
    for info in lookup::jobs(store, args.job.as_deref())? {
        found.extend(store.job(&info.name)?.latest()?);
    }
    if found.is_empty() {
        return Err(Failure::new(Exit::NotFound, "no checkpoint yet"));
    }
    if style.json {
        let checkpoints: Vec<_> = found.iter().map(|c| json::checkpoint(c)).collect();
        return style.document("latest", &json!({ "checkpoints": checkpoints }));
    }
    let mut out = style.out();
    for checkpoint in &found {
        writeln!(out, "{}", summary(checkpoint, None, style))?;
    }
    Ok(out.flush()?)
}
