//! `diff`: what differs between two checkpoints.

mod facts;
mod rows;

use std::io::Write;

use ckptdb::name::printable;
use ckptdb::reference::Reference;
use ckptdb::{Change, Checkpoint, Diff, EntryDiff, Store};
use serde_json::Value;

use self::facts::{cut, document, facts};
use self::rows::{Row, grouped};
use clap_complete::engine::ArgValueCompleter;

use crate::complete;
use crate::failure::Failure;
use crate::global::Global;
use crate::lookup;
use crate::output::{Progress, Style, Table, human};
use crate::store_path;

/// Options of `diff`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The earlier checkpoint; alone, the later one, beside its parent.
    #[arg(value_name = "REF")]
    #[arg(add = ArgValueCompleter::new(complete::references))]
    pub(crate) before: String,
    /// The later checkpoint; it may be of another job or another store.
    #[arg(value_name = "REF")]
    #[arg(add = ArgValueCompleter::new(complete::references))]
    after: Option<String>,
    /// Show so many entries, those that differ most first. JSON has all of them.
    #[arg(long, value_name = "N", default_value_t = 20)]
    top: usize,
    /// Sum up by layer: names up to their first number, or else without their last part.
    #[arg(long)]
    group: bool,
    /// Only entries whose name matches this pattern with * and ?; may be repeated.
    #[arg(long, value_name = "GLOB")]
    #[arg(add = ArgValueCompleter::new(complete::entries))]
    only: Vec<String>,
}

/// Compares, and shows it.
pub(crate) fn run(
    args: &Args,
    global: &Global,
    store: &Store,
    style: &Style,
) -> Result<(), Failure> {
    let (before, after) = both(args, global, store)?;
    let progress = Progress::start("comparing");
    let wanted = |name: &str| lookup::selects(&args.only, name);
    let diff = before.diff_with(&after, &wanted, &mut |done, total| {
        progress.set(done, total);
    })?;
    drop(progress);
    if diff.entries.is_empty() && !args.only.is_empty() {
        return Err(lookup::no_entry(&after, &args.only));
    }
    let rows = if args.group {
        grouped(&diff)
    } else {
        diff.entries.iter().map(Row::of).collect()
    };
    if style.json {
        return style.document(
            "diff",
            &document((&before, &after), &diff, &rows, args.group),
        );
    }
    print(
        (&before, &after),
        &diff,
        rows,
        (args.top, args.group),
        style,
    )
}

/// Shows how two checkpoints differ, layer by layer.
pub(crate) fn print_layers(
    before: &Checkpoint,
    after: &Checkpoint,
    top: usize,
    style: &Style,
) -> Result<(), Failure> {
    let diff = before.diff(after)?;
    print((before, after), &diff, grouped(&diff), (top, true), style)
}

/// The two checkpoints, the earlier one first.
fn both(args: &Args, global: &Global, store: &Store) -> Result<(Checkpoint, Checkpoint), Failure> {
    let first = lookup::checkpoint(store, &args.before)?;
    let Some(after) = &args.after else {
        let Some(parent) = first.parent.or(first.forked_from) else {
            let message = format!("{} has no parent", human::labelled(&first));
            return Err(Failure::usage(message).hint("name the two that are to be compared"));
        };
        return Ok((store.resolve(&parent.to_string())?, first));
    };
    let names_store = after.parse::<Reference>()?.store.is_some() && global.store.is_none();
    let after = if names_store {
        let other = store_path::open_for(global, Some(after))?;
        lookup::checkpoint(&other, after)?
    } else {
        lookup::checkpoint(store, after)?
    };
    Ok((first, after))
}

fn print(
    both: (&Checkpoint, &Checkpoint),
    diff: &Diff,
    mut rows: Vec<Row>,
    (top, is_grouped): (usize, bool),
    style: &Style,
) -> Result<(), Failure> {
    let mut out = style.out();
    let title = format!("{} -> {}", human::labelled(both.0), human::labelled(both.1));
    writeln!(out, "{}", style.strong(&title))?;
    for (label, line) in facts(both, diff) {
        writeln!(out, "  {label:<12}{line}")?;
    }
    rows.retain(|row| row.change != Change::Identical);
    rows.sort_by(|a, b| {
        let (a, b) = (a.weight(), b.weight());
        b.0.total_cmp(&a.0).then(b.1.cmp(&a.1))
    });
    let more = rows.len().saturating_sub(top);
    if !rows.is_empty() {
        writeln!(out)?;
        let (name, shape) = if is_grouped {
            ("LAYER", "ENTRIES")
        } else {
            ("ENTRY", "SHAPE")
        };
        let mut table = Table::new(2).wrapped(name).left("DTYPE").spare(shape);
        table = table
            .right("CHANGED")
            .right("REL L2")
            .optional("MAX|d|")
            .right("COS")
            .left("NOTES");
        for row in rows.into_iter().take(top) {
            table.row(row.cells());
        }
        table.write(&mut out, style)?;
    }
    if more > 0 {
        writeln!(out, "  ...  {} more (--top)", human::thousands(more as u64))?;
    }
    write_documents(&mut out, diff, top)?;
    Ok(out.flush()?)
}

/// What has changed within documents, a line each.
fn write_documents(out: &mut impl Write, diff: &Diff, top: usize) -> Result<(), Failure> {
    let with_changes = |entry: &&EntryDiff| !entry.document.is_empty();
    for entry in diff.entries.iter().filter(with_changes) {
        writeln!(out, "\n  {}", printable(&entry.name))?;
        for change in entry.document.iter().take(top) {
            let shown =
                |value: Option<&Value>| value.map_or("-".to_owned(), |v| cut(&v.to_string()));
            let (before, after) = (shown(change.before.as_ref()), shown(change.after.as_ref()));
            writeln!(
                out,
                "    {}  {before} -> {after}",
                printable(&change.pointer)
            )?;
        }
        let more = entry.document.len().saturating_sub(top);
        if more > 0 {
            writeln!(
                out,
                "    ...  {} more (--top)",
                human::thousands(more as u64)
            )?;
        }
    }
    Ok(())
}
