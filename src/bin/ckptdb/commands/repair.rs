//! `repair`: mend the store in place.

use std::io::Write;

use ckptdb::{Repaired, Store};
use serde_json::json;

use crate::failure::{Exit, Failure};
use crate::output::{Progress, Style, damage, human};

/// Options of `repair`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Only say what would be done.
    #[arg(short = 'n', long)]
    pub(crate) dry_run: bool,
}

/// Repairs and says what is left to complain about.
pub(crate) fn run(store: &Store, style: &Style) -> Result<(), Failure> {
    let progress = Progress::start("verifying");
    let done = store.repair(&mut |at, total| progress.set(at, total))?;
    drop(progress);
    if style.json {
        let body = json!({
            "ok": done.left.is_empty() && done.lost.is_empty(),
            "was_clean": done.was_clean(),
            "found": damage::json(&done.before.damage),
            "left": damage::json(&done.left),
            "lost": damage::json(&done.lost),
            "uncertain": damage::json(&done.uncertain),
            "lost_chunks": done.lost_chunks,
        });
        style.document("repair", &body)?;
    } else {
        print(&done, style)?;
    }
    if done.left.is_empty() && done.lost.is_empty() {
        return Ok(());
    }
    let lost = human::checkpoints(done.lost.len() as u64);
    let places = human::count(done.left.len() as u64, "place stays", "places stay");
    Err(
        Failure::new(Exit::Damage, format!("{places} damaged, {lost} lost")).hint(
            "saving the same bytes again heals them; \
             `ckptdb delete` drops the checkpoints that stay damaged",
        ),
    )
}

fn print(done: &Repaired, style: &Style) -> Result<(), Failure> {
    if done.was_clean() {
        let intact = style.good("no damage");
        return style.line(format_args!("{intact}: nothing had to be mended"));
    }
    let mut out = style.out();
    for (title, what) in [
        ("lost", &done.lost),
        ("uncertain", &done.uncertain),
        ("still damaged", &done.left),
    ] {
        if !what.is_empty() {
            writeln!(out, "{title}:")?;
            damage::table(what).write(&mut out, style)?;
        }
    }
    let found = done.before.damage.len() as u64;
    let found = human::count(found, "place was damaged", "places were damaged");
    out.flush()?;
    drop(out);
    style.line(format_args!(
        "repaired: {found}, {} are now",
        done.left.len()
    ))
}
