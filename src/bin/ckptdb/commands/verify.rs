//! `verify`: what is stored, against its hashes.

use std::collections::BTreeSet;
use std::io::Write;

use ckptdb::{Damage, Error, Store, VerifyDepth, VerifyReport};
use clap_complete::engine::ArgValueCompleter;
use serde_json::{Value, json};

use crate::complete;
use crate::failure::{Exit, Failure};
use crate::global::Global;
use crate::lookup;
use crate::output::{Progress, Style, damage, human, json};

/// Options of `verify`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// One checkpoint, all of it [default: the whole store].
    #[arg(conflicts_with_all = ["quick", "full", "sample"])]
    #[arg(add = ArgValueCompleter::new(complete::references))]
    pub(crate) reference: Option<String>,
    /// Take note that this checkpoint is good: of the last one known good of a job, only force
    /// deletes.
    #[arg(long, requires = "reference")]
    record: bool,
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
pub(crate) fn run(
    args: &Args,
    global: &Global,
    store: &Store,
    style: &Style,
) -> Result<(), Failure> {
    if let Some(reference) = &args.reference {
        return run_on_one((reference, args.record), global, store, style);
    }
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

/// A store that is too damaged to be opened has been verified too.
pub(crate) fn unopened(failure: Failure, style: &Style) -> Failure {
    let Some(what) = failure.damage() else {
        return failure;
    };
    if style.json {
        let body = json!({ "ok": false, "damage": [damage::of_store(what)] });
        if let Err(failure) = style.document("verify", &body) {
            return failure;
        }
    }
    failure.exit_with(Exit::Damage)
}

fn run_on_one(
    (reference, record): (&str, bool),
    global: &Global,
    store: &Store,
    style: &Style,
) -> Result<(), Failure> {
    let checkpoint = lookup::checkpoint(store, reference)?;
    let progress = Progress::follow("verifying", &global.monitor, checkpoint.logical_bytes);
    let verified = if record {
        checkpoint.verify_and_record()
    } else {
        checkpoint.verify()
    };
    drop(progress);
    let (bytes, why) = match verified {
        Ok(bytes) => (bytes, None),
        Err(Error::Corrupt { what, why }) => (0, Some(format!("{what}: {why}"))),
        // A sector that can't be read is damage too; to take note of something may fail otherwise.
        Err(Error::Io { source, .. }) if !record => {
            (0, Some(format!("{reference} can't be read: {source}")))
        }
        Err(other) => return Err(other.into()),
    };
    if style.json {
        let body = json!({
            "checkpoint": json::checkpoint(&checkpoint),
            "ok": why.is_none(),
            "bytes": bytes,
            "recorded": record && why.is_none(),
            "what": why,
        });
        style.document("verify", &body)?;
    }
    if let Some(why) = why {
        let hint = "`ckptdb resume` finds the newest checkpoint that loads";
        return Err(Failure::new(Exit::Damage, why).hint(hint));
    }
    if style.json {
        return Ok(());
    }
    let verdict = style.good("no damage");
    let recorded = if record { ", recorded" } else { "" };
    let read = human::size(bytes);
    style.line(format_args!("{verdict}: {read} read and hashed{recorded}"))
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
            "{orphans} that no checkpoint needs: ckptdb repair frees them"
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
