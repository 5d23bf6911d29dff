//! `verify`: what is stored, against its hashes.

use std::collections::BTreeSet;
use std::io::Write;

use ckptdb::name::printable;
use ckptdb::{Damage, Store, VerifyDepth, VerifyReport};
use serde_json::{Value, json};

use crate::failure::{Exit, Failure};
use crate::output::{Cell, Progress, Style, Table, Tone, human};

/// Digits of a hash that a table shows.
const HASH_DIGITS: usize = 12;

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
        damage_table(&report.damage).write(&mut out, style)?;
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

/// A row for each damage; those of one checkpoint stand together.
fn damage_table(damage: &[Damage]) -> Table {
    let mut sorted: Vec<_> = damage.iter().collect();
    sorted.sort_by_key(|damage| (damage.checkpoint, damage.entry.clone()));
    let mut table = Table::new(0)
        .left("CHECKPOINT")
        .wrapped("ENTRY")
        .wrapped("DAMAGE");
    for damage in sorted {
        let entry = damage.entry.as_deref().map_or("-".to_owned(), printable);
        table.row(vec![
            checkpoint_label(damage).into(),
            entry.into(),
            Cell::new(short_hashes(&damage.what), Tone::Bad),
        ]);
    }
    table
}

/// The text with its hashes cut to what tells them apart; JSON has them whole.
fn short_hashes(text: &str) -> String {
    let is_hash = |word: &str| word.len() == 64 && word.bytes().all(|b| b.is_ascii_hexdigit());
    let mut out = String::new();
    for word in text.split_inclusive(|c: char| !c.is_ascii_alphanumeric()) {
        let bare = word.trim_end_matches(|c: char| !c.is_ascii_alphanumeric());
        match (bare.get(..HASH_DIGITS), word.strip_prefix(bare)) {
            (Some(digits), Some(end)) if is_hash(bare) => out.extend([digits, "..", end]),
            _ => out.push_str(word),
        }
    }
    out
}

fn checkpoint_label(damage: &Damage) -> String {
    let id = damage.checkpoint.map(|id| id.to_string());
    match (&damage.job, damage.iteration, id) {
        (Some(job), Some(iteration), Some(id)) => format!("{}@{iteration} ({id})", printable(job)),
        (_, _, Some(id)) => id,
        (Some(job), _, None) => printable(job),
        (None, _, None) => "(store)".to_owned(),
    }
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
    let damage = report.damage.iter().map(|damage| {
        json!({
            "checkpoint": damage.checkpoint.map(ckptdb::CheckpointId::get),
            "job": damage.job,
            "iteration": damage.iteration,
            "entry": damage.entry,
            "what": damage.what,
        })
    });
    json!({
        "depth": name,
        "percent": percent,
        "seed": seed,
        "ok": report.damage.is_empty(),
        "checkpoints": report.checkpoints,
        "chunks": report.chunks,
        "bytes": report.bytes,
        "orphans": report.orphans,
        "damage": damage.collect::<Vec<_>>(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_whole_hashes_are_cut() {
        let text = format!("chunk {}: of {} bytes", "c1".repeat(32), "9".repeat(63));
        let expected = format!("chunk c1c1c1c1c1c1..: of {} bytes", "9".repeat(63));
        assert_eq!(short_hashes(&text), expected);
    }
}
