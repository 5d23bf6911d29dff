//! `log`: where checkpoints came from.

use std::collections::BTreeSet;
use std::io::Write;

use ckptdb::name::printable;
use ckptdb::{Checkpoint, CheckpointId, Filter, JobInfo, Store};
use serde_json::{Value, json};

use super::marks::{Marks, events, notes};
use clap_complete::engine::ArgValueCompleter;

use crate::complete;
use crate::failure::Failure;
use crate::lookup;
use crate::output::{Graph, Style, human, json};

/// Checkpoints that are shown unless asked otherwise.
const SHOWN: usize = 40;

/// Options of `log`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// A job, or a pattern with * and ? [default: all jobs].
    #[arg(add = ArgValueCompleter::new(complete::jobs))]
    job: Option<String>,
    /// Draw the lines.
    #[arg(short, long)]
    graph: bool,
    /// Show at most this many.
    #[arg(long, value_name = "N", conflicts_with = "all")]
    limit: Option<usize>,
    /// Show all instead of the newest 40. JSON has all unless limited.
    #[arg(long)]
    all: bool,
}

/// A checkpoint, and the one of those that are shown which it continues.
struct Shown {
    checkpoint: Checkpoint,
    continues: Option<CheckpointId>,
    /// Whether its parent was deleted.
    is_orphan: bool,
}

/// Lists all lines, the abandoned too.
pub(crate) fn run(args: &Args, store: &Store, style: &Style) -> Result<(), Failure> {
    let jobs = lookup::jobs(store, args.job.as_deref())?;
    let limit = args.limit.or((!args.all && !style.json).then_some(SHOWN));
    let (shown, total) = newest(store, args.job.as_deref(), limit)?;
    if style.json {
        return style.document("log", &document(&shown));
    }
    if shown.is_empty() {
        style.note("no checkpoints");
        return Ok(());
    }
    let mut out = style.out();
    for line in lines(store, &jobs, &shown, args.graph, style)? {
        writeln!(out, "{line}")?;
    }
    if total > shown.len() {
        let more = human::thousands((total - shown.len()) as u64);
        writeln!(out, "...  {more} more (--all)")?;
    }
    Ok(out.flush()?)
}

/// The newest checkpoints, and how many there are in all.
fn newest(
    store: &Store,
    job: Option<&str>,
    limit: Option<usize>,
) -> Result<(Vec<Shown>, usize), Failure> {
    let filter = Filter {
        job: job.map(str::to_owned),
        abandoned: true,
        ..Filter::default()
    };
    let mut checkpoints = store.list(&filter)?.collect::<Result<Vec<_>, _>>()?;
    checkpoints.sort_by_key(|checkpoint| std::cmp::Reverse(checkpoint.id));
    let total = checkpoints.len();
    checkpoints.truncate(limit.unwrap_or(total));
    Ok((with_parents(store, checkpoints), total))
}

/// A line for each, with those of the graph between them.
fn lines(
    store: &Store,
    jobs: &[JobInfo],
    shown: &[Shown],
    is_graph: bool,
    style: &Style,
) -> Result<Vec<String>, Failure> {
    let marks = Marks::read(store, jobs)?;
    let mut graph = Graph::default();
    let mut lines = Vec::new();
    let is_head = |id: CheckpointId| jobs.iter().any(|job| job.head == Some(id));
    for line in shown {
        let text = text_of(line, &marks, style);
        if !is_graph {
            lines.push(text);
            continue;
        }
        let mark = match &line.checkpoint {
            checkpoint if is_head(checkpoint.id) => '@',
            checkpoint if checkpoint.abandoned => 'o',
            _ => '*',
        };
        let continues = line.continues.map(CheckpointId::get);
        let (before, lanes) = graph.node(line.checkpoint.id.get(), continues, mark);
        lines.extend(before);
        lines.push(format!("{lanes}  {text}"));
    }
    Ok(lines)
}

/// The checkpoints, each with the nearest one that it continues among those that are there.
fn with_parents(store: &Store, checkpoints: Vec<Checkpoint>) -> Vec<Shown> {
    let listed: BTreeSet<CheckpointId> = checkpoints.iter().map(|found| found.id).collect();
    let mut shown = Vec::new();
    for checkpoint in checkpoints {
        let parent = checkpoint.parent.or(checkpoint.forked_from);
        let continues = match parent {
            Some(parent) if listed.contains(&parent) => Some(parent),
            // It was deleted since: those before it may be there.
            Some(_) => {
                let before = store.resolve(&format!("{}~1", checkpoint.id)).ok();
                before
                    .map(|before| before.id)
                    .filter(|before| listed.contains(before))
            }
            None => None,
        };
        shown.push(Shown {
            is_orphan: checkpoint.parent.is_some_and(|parent| {
                !listed.contains(&parent) && store.resolve(&parent.to_string()).is_err()
            }),
            continues,
            checkpoint,
        });
    }
    shown
}

/// `vit@9000  2m  periodic, best  loss=0.3  latest`.
fn text_of(shown: &Shown, marks: &Marks, style: &Style) -> String {
    let checkpoint = &shown.checkpoint;
    let name = format!("{}@{}", printable(&checkpoint.job), checkpoint.iteration);
    let name = if checkpoint.abandoned {
        style.faint(&name)
    } else {
        style.strong(&name)
    };
    let mut parts = vec![name, style.when(checkpoint.saved_at), events(checkpoint)];
    parts.push(human::metrics(checkpoint.metrics.iter()));
    parts.push(notes(checkpoint, marks, style).text().to_owned());
    if let Some(from) = checkpoint.forked_from {
        parts.push(format!("forked from {from}"));
    } else if let (Some(parent), true) = (checkpoint.parent, shown.is_orphan) {
        parts.push(format!("{parent} before it is gone"));
    }
    parts.retain(|part| !part.is_empty());
    parts.join("  ")
}

fn document(shown: &[Shown]) -> Value {
    let checkpoint = |shown: &Shown| {
        let mut value = json::checkpoint(&shown.checkpoint);
        value["continues"] = json!(shown.continues.map(CheckpointId::get));
        value
    };
    json!({ "checkpoints": shown.iter().map(checkpoint).collect::<Vec<_>>() })
}
