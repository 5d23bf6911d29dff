//! `show`: everything on one checkpoint.

use std::io::Write;

use ckptdb::name::printable;
use ckptdb::{Checkpoint, CheckpointId, EntryInfo, EntryKind, EntryStorage, Event, JobInfo, Store};
use clap_complete::engine::ArgValueCompleter;
use serde_json::{Value, json};

use crate::complete;
use crate::failure::Failure;
use crate::lookup;
use crate::output::{Style, Table, extend, human, json};

/// Entries that are shown unless asked otherwise.
const ENTRIES: usize = 20;

/// Options of `show`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The checkpoint, for instance vit@latest, vit@25000 or id:12.
    #[arg(value_name = "REF")]
    #[arg(add = ArgValueCompleter::new(complete::references))]
    pub(crate) reference: String,
    /// Show all entries instead of the first 20. JSON has all of them.
    #[arg(long)]
    entries: bool,
}

/// Shows the checkpoint.
pub(crate) fn run(args: &Args, store: &Store, style: &Style) -> Result<(), Failure> {
    let checkpoint = find(store, &args.reference)?;
    let entries = checkpoint.entries()?;
    let storage = checkpoint.storage()?;
    if style.json {
        let entries = entries.iter().zip(&storage);
        let entries: Vec<_> = entries.map(|(entry, of)| stored(entry, of)).collect();
        let body = json!({ "checkpoint": json::checkpoint(&checkpoint), "entries": entries });
        return style.document("show", &body);
    }
    let mut out = style.out();
    let title = style.strong(&human::labelled(&checkpoint));
    writeln!(out, "{title}")?;
    for (label, value) in facts(store, &checkpoint, style)? {
        writeln!(out, "  {label:<12}{value}")?;
    }
    if !entries.is_empty() {
        writeln!(out)?;
        let shown = if args.entries { entries.len() } else { ENTRIES };
        entry_table(entries.iter().zip(&storage).take(shown)).write(&mut out, style)?;
        let more = entries.len().saturating_sub(shown) as u64;
        if more > 0 {
            writeln!(out, "  ...  {} more (--entries)", human::thousands(more))?;
        }
    }
    Ok(out.flush()?)
}

/// A deleted checkpoint is shown too when it is named by its id.
fn find(store: &Store, reference: &str) -> Result<Checkpoint, Failure> {
    let deleted = || store.resolve_deleted(reference).ok();
    let by_id = reference.starts_with("id:");
    match by_id.then(deleted).flatten() {
        Some(checkpoint) => Ok(checkpoint),
        None => lookup::checkpoint(store, reference),
    }
}

/// Label and value, a line each. A label stands only once before several values.
fn facts(
    store: &Store,
    checkpoint: &Checkpoint,
    style: &Style,
) -> Result<Vec<(&'static str, String)>, Failure> {
    let mut facts = vec![("saved", style.when_in_full(checkpoint.saved_at))];
    if let Some(time) = checkpoint.deleted_at {
        let undo = format!("ckptdb undelete {}", checkpoint.id);
        facts.push((
            "deleted",
            format!("{}; undo: {undo}", style.when_in_full(time)),
        ));
    }
    if checkpoint.abandoned {
        facts.push(("abandoned", "a rollback left its line behind".to_owned()));
    }
    if checkpoint.pinned {
        facts.push(("pinned", "yes".to_owned()));
    }
    facts.push(("size", sizes(checkpoint)));
    let events: Vec<_> = checkpoint.events.iter().map(Event::to_string).collect();
    facts.push(("events", printable(&events.join(", "))));
    if let Some(parent) = checkpoint.parent {
        facts.push(("parent", parent_label(store, parent)));
    }
    if let Some(source) = checkpoint.forked_from {
        facts.push(("forked from", parent_label(store, source)));
    }
    if !checkpoint.tags.is_empty() {
        let tags: Vec<_> = checkpoint.tags.iter().map(|tag| printable(tag)).collect();
        facts.push(("tags", tags.join(", ")));
    }
    extend(&mut facts, "metrics", metric_lines(store, checkpoint)?);
    let attribute =
        |(name, value): (&String, &String)| format!("{} = {}", printable(name), printable(value));
    extend(
        &mut facts,
        "attributes",
        checkpoint.attributes.iter().map(attribute).collect(),
    );
    facts.push(("content", checkpoint.content.to_string()));
    Ok(facts)
}

fn sizes(checkpoint: &Checkpoint) -> String {
    let entries = human::count(checkpoint.entries, "entry", "entries");
    let logical = human::size(checkpoint.logical_bytes);
    format!(
        "{logical} in {entries}, {} new",
        human::size(checkpoint.new_bytes)
    )
}

/// Another checkpoint by name while it is there.
fn parent_label(store: &Store, parent: CheckpointId) -> String {
    match store.resolve(&parent.to_string()) {
        Ok(found) => human::labelled(&found),
        Err(_) => format!("{parent} (deleted)"),
    }
}

/// `val_loss = 0.3 (min, best)`, a line each.
fn metric_lines(store: &Store, checkpoint: &Checkpoint) -> Result<Vec<String>, Failure> {
    let job = store.job(&checkpoint.job)?;
    let info = job.info()?;
    let mut lines = Vec::new();
    for (name, &value) in &checkpoint.metrics {
        let mut line = format!("{} = {}", printable(name), human::metric(value));
        if let Some(direction) = info
            .as_ref()
            .and_then(|info: &JobInfo| info.metrics.get(name))
        {
            let is_best = job.best(name)?.is_some_and(|best| best.id == checkpoint.id);
            let best = if is_best { ", best" } else { "" };
            line = format!("{line}  ({direction}{best})");
        }
        lines.push(line);
    }
    Ok(lines)
}

/// An entry, and how it is stored.
fn stored(entry: &EntryInfo, storage: &EntryStorage) -> Value {
    let mut value = json::entry(entry);
    value["stored_bytes"] = json!(storage.stored_bytes);
    value["encodings"] = json!(storage.encodings);
    value["packed"] = json!(storage.packed);
    value["depth"] = json!(storage.depth);
    value
}

/// `steps, 2 deep`, or `planes in a pack`.
fn how(storage: &EntryStorage) -> String {
    let names: Vec<&str> = storage.encodings.iter().map(String::as_str).collect();
    let place = if storage.packed { " in a pack" } else { "" };
    let depth = match storage.depth {
        0 => String::new(),
        depth => format!(", {depth} deep"),
    };
    format!("{}{place}{depth}", names.join(" and "))
}

fn entry_table<'a>(entries: impl Iterator<Item = (&'a EntryInfo, &'a EntryStorage)>) -> Table {
    let mut table = Table::new(2)
        .wrapped("ENTRY")
        .spare("KIND")
        .left("DTYPE")
        .left("SHAPE");
    table = table.right("SIZE").right("STORED").wrapped("AS");
    for (entry, storage) in entries {
        let (dtype, shape) = match &entry.kind {
            EntryKind::Tensor { dtype, shape } => (dtype.name().to_owned(), format!("{shape:?}")),
            EntryKind::Document | EntryKind::File => (String::new(), String::new()),
        };
        table.row(vec![
            printable(&entry.name).into(),
            entry.kind.name().into(),
            dtype.into(),
            shape.into(),
            human::size(entry.bytes).into(),
            human::size(storage.stored_bytes).into(),
            how(storage).into(),
        ]);
    }
    table
}
