//! `salvage`: a new store out of the bytes of a broken one.

use std::io::Write;
use std::path::PathBuf;

use ckptdb::{Salvaged, Store};
use serde_json::json;

use crate::failure::{Exit, Failure};
use crate::output::{Progress, Style, damage, human};

/// Options of `salvage`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The broken store, or any file or disk image that holds bytes of one; it is only read.
    old: PathBuf,
    /// Where the rebuilt store goes; nothing may be there.
    new: PathBuf,
    /// Only say what would be done.
    #[arg(short = 'n', long)]
    pub(crate) dry_run: bool,
}

/// Salvages and says what came over.
pub(crate) fn run(args: &Args, style: &Style) -> Result<(), Failure> {
    let progress = Progress::start("searching");
    let show = &mut |at, total| progress.set(at, total);
    let done = if args.dry_run {
        Store::rehearse_salvage(&args.old, &args.new, show)?
    } else {
        Store::salvage(&args.old, &args.new, show)?
    };
    drop(progress);
    let style = &if args.dry_run {
        style.note("nothing was written (dry run)");
        style.rehearsing()
    } else {
        *style
    };
    if style.json {
        let body = json!({
            "ok": done.lost.is_empty(),
            "new": args.new.display().to_string(),
            "searched": done.searched,
            "records": done.records,
            "nodes": done.nodes,
            "chunks": done.chunks,
            "checkpoints": done.checkpoints,
            "deleted": done.deleted,
            "bytes": done.bytes,
            "lost": damage::json(&done.lost),
            "uncertain": damage::json(&done.uncertain),
        });
        style.document("salvage", &body)?;
    } else {
        print(args, &done, style)?;
    }
    match done.lost.len() as u64 {
        0 => Ok(()),
        lost => {
            let lost = human::count(lost, "checkpoint is", "checkpoints are");
            Err(Failure::new(Exit::Damage, format!("{lost} lost"))
                .hint("keep the old file: whatever can be read of it is in the new one"))
        }
    }
}

fn print(args: &Args, done: &Salvaged, style: &Style) -> Result<(), Failure> {
    let mut out = style.out();
    for (title, what) in [("lost", &done.lost), ("uncertain", &done.uncertain)] {
        if !what.is_empty() {
            writeln!(out, "{title}:")?;
            damage::table(what).write(&mut out, style)?;
        }
    }
    out.flush()?;
    drop(out);
    style.line(format_args!(
        "salvaged {} ({} of them deleted) to {}: {} out of {} searched",
        human::checkpoints(done.checkpoints),
        done.deleted,
        args.new.display(),
        human::size(done.bytes),
        human::size(done.searched),
    ))
}
