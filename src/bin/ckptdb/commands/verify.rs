//! `verify`: what is stored, against its hashes.

use std::collections::BTreeSet;
use std::io::Write;

use ckptdb::{Damage, Store, VerifyDepth, VerifyReport};
use serde_json::{Value, json};

use crate::failure::{Exit, Failure};
use crate::output::{Progress, Style, damage, human};

/// Options of `verify`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Check records and structure only; read no chunk.
    #[arg(long, conflicts_with_all = ["full", "sample"])]
    quick: bool,
    /// Read and hash everything [the default].
    #[arg(long, conflicts_with = "sample")]
    full: bool,
    /// Read and hash this share of the chunks, chosen at random.
    #[arg(long, value_name = "PERCENT", value_parser = clap::value_parser!(u8).range(1..=100))]
    sample: Option<u8>,
    /// Choose the same chunks as an earlier run with this seed.
    #[arg(long, value_name = "N", requires = "sample")]
    seed: Option<u64>,
}

impl Args {
    fn depth(&self) -> VerifyDepth {
        match self.sample {
            Some(percent) => VerifyDepth::Sampled {
                percent,
                seed: self.seed.unwrap_or_else(seed),
            },
            None if self.quick => VerifyDepth::Quick,
            None => VerifyDepth::Full,
        }
    }
}

/// Another sample each time, so that repeated runs cover the store.
fn seed() -> u64 {
    jiff::Timestamp::now().as_millisecond().unsigned_abs()
}

/// Verifies and lists the damage.
pub(crate) fn run(args: &Args, store: &Store, style: &Style) -> Result<(), Failure> {
    let depth = args.depth();
    let progress = Progress::start("verifying");
    let report = store.verify_with(depth, &mut |done, total| progress.set(done, total))?;
    drop(progress);
    if style.json {
        style.document("verify", &document(depth, &report))?;
    } else {
        print(depth, &report, style)?;
    }
    match report.damage.len() {
        0 => Ok(()),
        places => Err(damaged(&report.damage, places)),
    }
}

fn damaged(damage: &[Damage], places: usize) -> Failure {
    let hit: BTreeSet<_> = damage
        .iter()
        .filter_map(|damage| damage.checkpoint)
        .collect();
    let places = human::count(places as u64, "place is damaged", "places are damaged");
    let hit = human::checkpoints(hit.len() as u64);
    Failure::new(Exit::Damage, format!("{places}, in {hit}"))
        .hint("checkpoints that are not listed load; nothing was changed")
}

fn print(depth: VerifyDepth, report: &VerifyReport, style: &Style) -> Result<(), Failure> {
    let mut out = style.out();
    if !report.damage.is_empty() {
        damage::table(&report.damage).write(&mut out, style)?;
    }
    let verdict = if report.damage.is_empty() {
        style.good("no damage")
    } else {
        "DAMAGED".into()
    };
    writeln!(
        out,
        "{verdict}: {}, {}, {} read and hashed ({})",
        human::checkpoints(report.checkpoints),
        human::count(report.chunks, "chunk", "chunks"),
        human::size(report.bytes),
        describe(depth),
    )?;
    out.flush()?;
    if report.orphans > 0 {
        let orphans = human::count(report.orphans, "chunk", "chunks");
        style.note(format_args!(
            "{orphans} that no checkpoint needs: ckptdb reclaim frees them"
        ));
    }
    Ok(())
}

fn describe(depth: VerifyDepth) -> String {
    match depth {
        VerifyDepth::Quick => "quick: records and structure".to_owned(),
        VerifyDepth::Sampled { percent, seed } => format!("sample of {percent} %, seed {seed}"),
        // No other depth comes out of the options.
        _ => "full".to_owned(),
    }
}

fn document(depth: VerifyDepth, report: &VerifyReport) -> Value {
    let (name, percent, seed) = match depth {
        VerifyDepth::Quick => ("quick", None, None),
        VerifyDepth::Sampled { percent, seed } => ("sample", Some(percent), Some(seed)),
        _ => ("full", None, None),
    };
    json!({
        "depth": name,
        "percent": percent,
        "seed": seed,
        "ok": report.damage.is_empty(),
        "checkpoints": report.checkpoints,
        "chunks": report.chunks,
        "bytes": report.bytes,
        "orphans": report.orphans,
        "damage": damage::json(&report.damage),
    })
}
