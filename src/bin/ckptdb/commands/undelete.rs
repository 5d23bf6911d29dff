//! `undelete`: bring deleted checkpoints back.

use ckptdb::{CheckpointId, Store};
use clap_complete::engine::ArgValueCompleter;
use serde_json::json;

use crate::complete;
use crate::failure::Failure;
use crate::lookup;
use crate::output::{Style, human, json};

/// Options of `undelete`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The ids of the checkpoints; `ckptdb ls --deleted` shows them.
    #[arg(value_name = "id:N", required = true, value_parser = lookup::checkpoint_id)]
    #[arg(add = ArgValueCompleter::new(complete::deleted))]
    ids: Vec<CheckpointId>,
    /// Only say what would be done.
    #[arg(short = 'n', long)]
    pub(crate) dry_run: bool,
}

/// Brings them back.
pub(crate) fn run(args: &Args, store: &Store, style: &Style) -> Result<(), Failure> {
    let mut back = Vec::new();
    let mut failed = None;
    for &id in &args.ids {
        match store.undelete(id) {
            Ok(checkpoint) => back.push(checkpoint),
            Err(error) => {
                failed = Some(error);
                break;
            }
        }
    }
    if style.json {
        let rows: Vec<_> = back
            .iter()
            .map(|checkpoint| json::checkpoint(checkpoint))
            .collect();
        style.document("undelete", &json!({ "undeleted": rows }))?;
    } else {
        for checkpoint in &back {
            style.line(format_args!("undeleted {}", human::labelled(checkpoint)))?;
        }
    }
    failed.map_or(Ok(()), |error| Err(error.into()))
}
