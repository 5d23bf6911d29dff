//! `stats`: what the store holds and what it takes.

use std::collections::BTreeMap;
use std::io::Write;

use ckptdb::name::printable;
use ckptdb::{Breakdown, Stats, Store, Usage};
use serde_json::{Value, json};

use super::jobs;
use crate::failure::Failure;
use crate::output::{Cell, Style, Table, Tone, human, json};

/// Prints the store's statistics.
pub(crate) fn run(store: &Store, style: &Style) -> Result<(), Failure> {
    print(store, style)
}

/// Prints the store's statistics, for whoever has a store open.
pub(crate) fn print(store: &Store, style: &Style) -> Result<(), Failure> {
    let stats = store.stats()?;
    let breakdown = store.breakdown()?;
    if style.json {
        return style.document("stats", &document(store, &stats, &breakdown));
    }
    let mut out = style.out();
    writeln!(out, "{}", style.strong(&store.path().display().to_string()))?;
    for (label, value) in facts(&stats) {
        writeln!(out, "  {label:<14}{value}")?;
    }
    if !stats.per_job.is_empty() {
        writeln!(out)?;
        jobs::table(&stats.per_job, 2, style).write(&mut out, style)?;
    }
    let tables = [
        ("STORED AS", &breakdown.encodings),
        ("KIND", &breakdown.kinds),
        ("OF JOB", &breakdown.jobs),
    ];
    for (title, usages) in tables.into_iter().filter(|(_, usages)| !usages.is_empty()) {
        writeln!(out)?;
        usage_table(title, usages).write(&mut out, style)?;
    }
    Ok(out.flush()?)
}

fn usage_table(title: &'static str, usages: &BTreeMap<String, Usage>) -> Table {
    let mut table = Table::new(2)
        .wrapped(title)
        .right("CHUNKS")
        .right("LOGICAL")
        .right("SHARED")
        .right("UNIQUE")
        .right("DELTAS")
        .right("STORED");
    for (name, usage) in usages {
        table.row(vec![
            printable(name).into(),
            human::thousands(usage.chunks).into(),
            human::size(usage.logical_bytes).into(),
            some_size(usage.shared_bytes),
            human::size(usage.raw_bytes).into(),
            some_size(usage.delta_bytes),
            human::size(usage.stored_bytes).into(),
        ]);
    }
    table
}

/// A size, or nothing.
fn some_size(bytes: u64) -> Cell {
    match bytes {
        0 => Cell::new("-", Tone::Faint),
        bytes => human::size(bytes).into(),
    }
}

fn facts(stats: &Stats) -> Vec<(&'static str, String)> {
    // Less than a twentieth is not worth a ratio.
    let is_less = |small: u64| small < stats.logical_bytes - stats.logical_bytes / 20;
    let times = |small| human::ratio(stats.logical_bytes, small).filter(|_| is_less(small));
    let with_ratio = |bytes| match times(bytes) {
        Some(ratio) => format!("{}  ({ratio} smaller)", human::size(bytes)),
        None => human::size(bytes),
    };
    let deleted = match stats.deleted {
        0 => String::new(),
        deleted => format!(", {} deleted", human::thousands(deleted)),
    };
    let mut facts = vec![
        (
            "checkpoints",
            format!("{}{deleted}", human::thousands(stats.checkpoints)),
        ),
        ("jobs", human::thousands(stats.jobs)),
        ("logical", human::size(stats.logical_bytes)),
        ("unique", with_ratio(stats.unique_bytes)),
        ("stored", with_ratio(stats.stored_bytes)),
        (
            "overhead",
            human::size(stats.allocated_bytes.saturating_sub(stats.stored_bytes)),
        ),
        ("on disk", human::size(stats.allocated_bytes)),
    ];
    if stats.file_bytes != stats.allocated_bytes {
        facts.push(("file length", human::size(stats.file_bytes)));
    }
    if stats.base_bytes > 0 {
        facts.push(("bases", human::size(stats.base_bytes)));
    }
    if stats.reclaimable_bytes > 0 {
        facts.push(("reclaimable", human::size(stats.reclaimable_bytes)));
    }
    facts.push(("chunks", human::thousands(stats.chunks)));
    facts.push(("nodes", human::thousands(stats.nodes)));
    facts.push(("log entries", human::thousands(stats.log_entries)));
    facts.push(("format", stats.format.to_string()));
    facts.push(("store id", stats.store.to_string()));
    facts
}

fn usages(usages: &BTreeMap<String, Usage>) -> Value {
    let value = |usage: &Usage| {
        json!({
            "chunks": usage.chunks,
            "logical_bytes": usage.logical_bytes,
            "shared_bytes": usage.shared_bytes,
            "raw_bytes": usage.raw_bytes,
            "delta_bytes": usage.delta_bytes,
            "delta_stored_bytes": usage.delta_stored_bytes,
            "stored_bytes": usage.stored_bytes,
        })
    };
    usages
        .iter()
        .map(|(name, usage)| (name.clone(), value(usage)))
        .collect()
}

fn document(store: &Store, stats: &Stats, breakdown: &Breakdown) -> Value {
    json!({
        "path": store.path().display().to_string(),
        "store": stats.store.to_string(),
        "format": stats.format,
        "jobs": stats.jobs,
        "checkpoints": stats.checkpoints,
        "deleted": stats.deleted,
        "log_entries": stats.log_entries,
        "chunks": stats.chunks,
        "nodes": stats.nodes,
        "logical_bytes": stats.logical_bytes,
        "unique_bytes": stats.unique_bytes,
        "stored_bytes": stats.stored_bytes,
        "base_bytes": stats.base_bytes,
        "file_bytes": stats.file_bytes,
        "allocated_bytes": stats.allocated_bytes,
        "reclaimable_bytes": stats.reclaimable_bytes,
        "encodings": usages(&breakdown.encodings),
        "kinds": usages(&breakdown.kinds),
        "stored_by_job": usages(&breakdown.jobs),
        "per_job": stats.per_job.iter().map(json::job).collect::<Vec<_>>(),
    })
}
