//! `reclaim`: free what deleted checkpoints still take.

use ckptdb::Store;
use serde_json::json;

use crate::confirm;
use crate::failure::Failure;
use crate::output::{Progress, Style, human};

/// Options of `reclaim`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// End the undo window: what was deleted can't be undeleted any more.
    #[arg(long)]
    now: bool,
    /// Only say what could be reclaimed.
    #[arg(short = 'n', long)]
    dry_run: bool,
    /// Don't ask before the undo window ends.
    #[arg(long)]
    yes: bool,
}

/// Frees the space and says how much.
pub(crate) fn run(args: &Args, store: &Store, style: &Style) -> Result<(), Failure> {
    if args.dry_run {
        return dry_run(store, style);
    }
    if args.now {
        confirm::ask(
            "give up everything that could still be undeleted?",
            args.yes,
        )?;
    }
    let progress = Progress::start("reclaiming");
    let done = store.reclaim(args.now)?;
    drop(progress);
    if style.json {
        let body = json!({
            "checkpoints": done.checkpoints,
            "chunks": done.chunks,
            "bytes": done.bytes,
            "waiting": done.waiting,
            "damaged": done.damaged,
            "dry_run": false,
        });
        return style.document("reclaim", &body);
    }
    style.line(format_args!(
        "reclaimed {}: {}, {} freed within the file",
        human::checkpoints(done.checkpoints),
        human::count(done.chunks, "chunk", "chunks"),
        human::size(done.bytes),
    ))?;
    if done.waiting > 0 {
        let verb = if done.waiting == 1 { "waits" } else { "wait" };
        let waiting = human::checkpoints(done.waiting);
        style.note(format_args!(
            "{waiting} {verb} for the end of the undo window (--now)"
        ));
    }
    if done.damaged > 0 {
        let damaged = human::checkpoints(done.damaged);
        style.note(format_args!(
            "{damaged} could not be dropped because of damage: ckptdb verify"
        ));
    }
    Ok(())
}

/// What dropping all deleted checkpoints would free; what they share with others does not count.
fn dry_run(store: &Store, style: &Style) -> Result<(), Failure> {
    let stats = store.stats()?;
    if style.json {
        let body = json!({
            "checkpoints": stats.deleted,
            "bytes": stats.reclaimable_bytes,
            "dry_run": true,
        });
        return style.document("reclaim", &body);
    }
    style.line(format_args!(
        "would drop {} once the undo window is over, and free {}\nnothing was changed (dry run)",
        human::count(stats.deleted, "deleted checkpoint", "deleted checkpoints"),
        human::size(stats.reclaimable_bytes),
    ))
}
