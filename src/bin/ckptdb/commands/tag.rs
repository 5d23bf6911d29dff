//! `tag`: names for checkpoints.

use ckptdb::Store;
use ckptdb::name::printable;
use clap_complete::engine::ArgValueCompleter;
use serde_json::json;

use crate::complete;
use crate::failure::Failure;
use crate::lookup;
use crate::output::{Style, human, json};

/// Options of `tag`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The checkpoint.
    #[arg(value_name = "REF")]
    #[arg(add = ArgValueCompleter::new(complete::references))]
    pub(crate) reference: String,
    /// The tag; unique within the job.
    tag: String,
    /// Take the tag from the checkpoint that has it now.
    #[arg(long = "move", conflicts_with = "remove")]
    move_it: bool,
    /// Remove the tag instead.
    #[arg(long)]
    remove: bool,
    /// Only say what would be done.
    #[arg(short = 'n', long)]
    pub(crate) dry_run: bool,
}

/// Sets or removes the tag.
pub(crate) fn run(args: &Args, store: &Store, style: &Style) -> Result<(), Failure> {
    let checkpoint = lookup::checkpoint(store, &args.reference)?;
    if args.remove {
        checkpoint.remove_tag(&args.tag)?;
    } else {
        checkpoint.set_tag(&args.tag, args.move_it)?;
    }
    if style.json {
        let checkpoint = checkpoint.refresh()?;
        let body = json!({
            "tag": args.tag,
            "removed": args.remove,
            "checkpoint": json::checkpoint(&checkpoint),
        });
        return style.document("tag", &body);
    }
    let (label, tag) = (human::labelled(&checkpoint), printable(&args.tag));
    if args.remove {
        style.line(format_args!("removed tag:{tag} from {label}"))
    } else {
        style.line(format_args!("tagged {label} as tag:{tag}"))
    }
}
