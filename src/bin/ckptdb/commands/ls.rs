//! `ls`: the checkpoints, newest first.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;

use ckptdb::name::printable;
use ckptdb::{Checkpoint, Filter, JobInfo, Store};
use serde_json::{Value, json};

use super::marks::{Marks, events, notes};
use clap_complete::engine::ArgValueCompleter;

use crate::complete;
use crate::failure::Failure;
use crate::lookup;
use crate::output::{Cell, Style, Table, human, json};

/// Rows that are shown unless asked otherwise.
const ROWS: usize = 20;

/// Options of `ls`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// A job, or a pattern with * and ? [default: all jobs].
    #[arg(add = ArgValueCompleter::new(complete::jobs))]
    job: Option<String>,
    /// Only checkpoints with this event; may be repeated.
    #[arg(long = "event", value_name = "EVENT")]
    events: Vec<String>,
    /// Show at most this many.
    #[arg(long, value_name = "N", conflicts_with = "all")]
    limit: Option<usize>,
    /// Show all instead of the newest 20. JSON has all unless limited.
    #[arg(long)]
    all: bool,
    /// Show instead what was deleted and can be undeleted.
    #[arg(long)]
    deleted: bool,
    /// Include lines that a rollback left behind.
    #[arg(long)]
    abandoned: bool,
}

/// Lists what the options select.
pub(crate) fn run(args: &Args, store: &Store, style: &Style) -> Result<(), Failure> {
    for event in &args.events {
        lookup::check_event(event)?;
    }
    let limit = if args.all || style.json {
        None
    } else {
        Some(ROWS)
    };
    let filter = Filter {
        job: args.job.clone(),
        events: args.events.clone(),
        deleted: args.deleted,
        abandoned: args.abandoned,
        limit: args.limit.or(limit),
        ..Filter::default()
    };
    print(store, &filter, style)
}

/// Prints the table of what the filter selects: as many rows as its limit says, and totals over
/// all of them.
pub(crate) fn print(store: &Store, filter: &Filter, style: &Style) -> Result<(), Failure> {
    let jobs = lookup::jobs(store, filter.job.as_deref())?;
    let listing = Listing::read(store, filter)?;
    if style.json {
        return match listing.failure {
            Some(failure) => Err(failure),
            None => style.document("ls", &listing.document()),
        };
    }
    if listing.total == 0 {
        style.note("no checkpoints");
    } else {
        print_table(&listing, &Marks::read(store, &jobs)?, &jobs, style)?;
    }
    listing.failure.map_or(Ok(()), Err)
}

fn print_table(
    listing: &Listing,
    marks: &Marks,
    jobs: &[JobInfo],
    style: &Style,
) -> Result<(), Failure> {
    let columns = metric_columns(&listing.rows, jobs);
    let mut out = style.out();
    listing
        .table(&columns, marks, style)
        .write(&mut out, style)?;
    let more = listing.total.saturating_sub(listing.rows.len() as u64);
    if more > 0 {
        writeln!(out, "    ...  {} more (--all)", human::thousands(more))?;
    }
    writeln!(out, "{}", style.faint(&listing.totals()))?;
    out.flush()?;
    Ok(())
}

/// The rows to show, and sums over all that were selected.
struct Listing {
    rows: Vec<Checkpoint>,
    total: u64,
    logical_bytes: u64,
    new_bytes: u64,
    jobs: BTreeSet<String>,
    /// What ended the list early. What came before it is shown all the same.
    failure: Option<Failure>,
}

impl Listing {
    fn read(store: &Store, filter: &Filter) -> Result<Self, Failure> {
        let (mut rows, mut jobs) = (Vec::new(), BTreeSet::new());
        let (mut total, mut logical_bytes, mut new_bytes) = (0, 0_u64, 0_u64);
        let mut failure = None;
        let unlimited = Filter {
            limit: None,
            ..filter.clone()
        };
        for checkpoint in store.list(&unlimited)? {
            let checkpoint = match checkpoint {
                Ok(checkpoint) => checkpoint,
                Err(error) => {
                    failure = Some(Failure::from(error));
                    break;
                }
            };
            total += 1;
            logical_bytes = logical_bytes.saturating_add(checkpoint.logical_bytes);
            new_bytes = new_bytes.saturating_add(checkpoint.new_bytes);
            if !jobs.contains(&checkpoint.job) {
                jobs.insert(checkpoint.job.clone());
            }
            if filter.limit.is_none_or(|limit| rows.len() < limit) {
                rows.push(checkpoint);
            }
        }
        Ok(Self {
            rows,
            total,
            logical_bytes,
            new_bytes,
            jobs,
            failure,
        })
    }

    fn document(&self) -> Value {
        json!({
            "checkpoints": self.rows.iter().map(|row| json::checkpoint(row)).collect::<Vec<_>>(),
            "total": self.total,
            "logical_bytes": self.logical_bytes,
            "new_bytes": self.new_bytes,
        })
    }

    fn totals(&self) -> String {
        let ratio = human::ratio(self.logical_bytes, self.new_bytes);
        format!(
            "{}, {} logical -> {} new{}",
            human::checkpoints(self.total),
            human::size(self.logical_bytes),
            human::size(self.new_bytes),
            ratio.map_or(String::new(), |ratio| format!(" ({ratio})")),
        )
    }

    fn table(&self, metrics: &[String], marks: &Marks, style: &Style) -> Table {
        let with_job = self.jobs.len() > 1;
        let mut table = Table::new(2).cut();
        if with_job {
            table = table.wrapped("JOB");
        }
        table = table
            .right("ITERATION")
            .wrapped("EVENTS")
            .right(style.when_heading());
        table = table.right("SIZE").optional("NEW");
        for metric in metrics {
            table = table.optional(&printable(metric));
        }
        table = table.wrapped("NOTES");
        let columns: Vec<_> = metrics
            .iter()
            .map(|metric| self.metric_cells(metric))
            .collect();
        for (index, row) in self.rows.iter().enumerate() {
            let mut cells: Vec<Cell> = Vec::new();
            if with_job {
                cells.push(printable(&row.job).into());
            }
            cells.push(row.iteration.to_string().into());
            cells.push(events(row).into());
            cells.push(style.when(row.saved_at).into());
            cells.push(human::size(row.logical_bytes).into());
            cells.push(human::size(row.new_bytes).into());
            for (metric, values) in metrics.iter().zip(&columns) {
                let value = values.get(index).map_or("", String::as_str);
                cells.push(marks.metric_cell(row.id, metric, value));
            }
            cells.push(notes(row, marks, style));
            table.row(cells);
        }
        table
    }

    fn metric_cells(&self, metric: &str) -> Vec<String> {
        let values: Vec<_> = self
            .rows
            .iter()
            .map(|row| row.metrics.get(metric).copied())
            .collect();
        human::metric_column(&values)
    }
}

/// The metrics that any row has: main ones first, then those with a direction, then by name. The
/// last ones are left out where the terminal is narrow.
fn metric_columns(rows: &[Checkpoint], jobs: &[JobInfo]) -> Vec<String> {
    let main: BTreeSet<_> = jobs
        .iter()
        .filter_map(|job| job.main_metric.as_ref())
        .collect();
    let mut present = BTreeMap::new();
    for name in rows.iter().flat_map(|row| row.metrics.keys()) {
        let declared = jobs.iter().any(|job| job.metrics.contains_key(name));
        present.insert((!main.contains(name), !declared, name), name.clone());
    }
    present.into_values().collect()
}
