//! `pin` and `unpin`: what no removal touches.

use ckptdb::{Checkpoint, Store};
use clap_complete::engine::ArgValueCompleter;
use serde_json::json;

use crate::complete;
use crate::failure::Failure;
use crate::lookup;
use crate::output::{Style, human, json};

/// Options of `pin`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The checkpoints.
    #[arg(value_name = "REF", required = true)]
    #[arg(add = ArgValueCompleter::new(complete::references))]
    pub(crate) references: Vec<String>,
    /// Unpin instead.
    #[arg(long)]
    pub(crate) remove: bool,
    /// Only say what would be done.
    #[arg(short = 'n', long)]
    pub(crate) dry_run: bool,
}

/// Options of `unpin`.
#[derive(Debug, clap::Args)]
pub(crate) struct UnpinArgs {
    /// The checkpoints.
    #[arg(value_name = "REF", required = true)]
    #[arg(add = ArgValueCompleter::new(complete::references))]
    pub(crate) references: Vec<String>,
    /// Only say what would be done.
    #[arg(short = 'n', long)]
    pub(crate) dry_run: bool,
}

/// Pins, or unpins with `--remove`.
pub(crate) fn run(args: &Args, pinned: bool, store: &Store, style: &Style) -> Result<(), Failure> {
    set(&args.references, pinned, store, style)
}

/// Unpins.
pub(crate) fn run_unpin(args: &UnpinArgs, store: &Store, style: &Style) -> Result<(), Failure> {
    set(&args.references, false, store, style)
}

/// All references are looked up before the first is changed, so that a mistyped one changes
/// nothing.
fn set(references: &[String], pinned: bool, store: &Store, style: &Style) -> Result<(), Failure> {
    let found = references
        .iter()
        .map(|reference| lookup::checkpoint(store, reference));
    let checkpoints: Vec<Checkpoint> = found.collect::<Result<_, _>>()?;
    for checkpoint in &checkpoints {
        checkpoint.set_pinned(pinned)?;
    }
    if style.json {
        let mut changed = Vec::new();
        for checkpoint in &checkpoints {
            changed.push(json::checkpoint(&*checkpoint.refresh()?));
        }
        let body = json!({ "pinned": pinned, "checkpoints": changed });
        return style.document(if pinned { "pin" } else { "unpin" }, &body);
    }
    let verb = if pinned { "pinned" } else { "unpinned" };
    let mut each = checkpoints.iter();
    each.try_for_each(|one| style.line(format_args!("{verb} {}", human::labelled(one))))
}
