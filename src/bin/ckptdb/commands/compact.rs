//! `compact`: shrink the file to what it holds.

use ckptdb::{Compression, Recompressed, Store};
use serde_json::json;

use crate::failure::Failure;
use crate::output::{Progress, Style, human};

/// Options of `compact`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Encode everything anew first, and keep what is shorter.
    #[arg(long)]
    recompress: bool,
    /// With the most effort; what is a long chain afterwards takes longer to load.
    #[arg(long, requires = "recompress")]
    max: bool,
    /// Only say what would be done.
    #[arg(short = 'n', long)]
    pub(crate) dry_run: bool,
}

/// Compacts and says what the disk got back.
pub(crate) fn run(args: &Args, store: &Store, style: &Style) -> Result<(), Failure> {
    // What is written anew makes the file longer first.
    let before = if args.recompress {
        Some(store.stats()?.allocated_bytes)
    } else {
        None
    };
    let recompressed = args
        .recompress
        .then(|| recompress(store, args.max))
        .transpose()?;
    let progress = Progress::start("compacting");
    let done = store.compact()?;
    drop(progress);
    let before = before.unwrap_or(done.before);
    if style.json {
        let body = json!({
            "before": before,
            "after": done.after,
            "recompressed": recompressed.map(|done| json!({
                "chunks": done.chunks,
                "rewritten": done.rewritten,
                "before": done.before,
                "after": done.after,
            })),
        });
        return style.document("compact", &body);
    }
    if let Some(done) = recompressed {
        style.line(format_args!(
            "recompressed {} of {}: {} to {}",
            human::thousands(done.rewritten),
            human::count(done.chunks, "chunk", "chunks"),
            human::size(done.before),
            human::size(done.after),
        ))?;
    }
    style.line(format_args!(
        "compacted {} to {} on the disk, {} given back",
        human::size(before),
        human::size(done.after),
        human::size(before.saturating_sub(done.after)),
    ))
}

fn recompress(store: &Store, max: bool) -> Result<Recompressed, Failure> {
    let effort = if max {
        Compression::Max
    } else {
        Compression::Default
    };
    let progress = Progress::start("recompressing");
    Ok(store.recompress(effort, &mut |done, total| progress.set(done, total))?)
}
