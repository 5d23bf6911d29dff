//! `fork`: a job that begins with a checkpoint of another.

use ckptdb::Store;
use clap_complete::engine::ArgValueCompleter;
use serde_json::json;

use crate::complete;
use crate::failure::Failure;
use crate::lookup;
use crate::output::{Style, human, json};

/// Options of `fork`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The checkpoint to begin with.
    #[arg(value_name = "REF")]
    #[arg(add = ArgValueCompleter::new(complete::references))]
    pub(crate) reference: String,
    /// The new job.
    job: String,
    /// Only say what would be done.
    #[arg(short = 'n', long)]
    pub(crate) dry_run: bool,
}

/// Begins the job; the bytes are shared.
pub(crate) fn run(args: &Args, store: &Store, style: &Style) -> Result<(), Failure> {
    let source = lookup::checkpoint(store, &args.reference)?;
    let fork = source.fork(&args.job)?;
    if style.json {
        let body = json!({ "checkpoint": json::checkpoint(&fork) });
        return style.document("fork", &body);
    }
    style.line(format_args!(
        "{} begins with {}",
        human::labelled(&fork),
        human::labelled(&source)
    ))
}
