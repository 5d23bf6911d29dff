//! `ls`: the checkpoints, newest first.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;

use ckptdb::name::printable;
use ckptdb::{Checkpoint, CheckpointId, CheckpointInfo, Event, Filter, JobInfo, Store};
use serde_json::{Value, json};

use crate::failure::Failure;
use crate::lookup;
use crate::output::{Cell, Style, Table, Tone, human, json};

/// Rows that are shown unless asked otherwise.
const ROWS: usize = 20;

/// Options of `ls`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// A job, or a pattern with * and ? [default: all jobs].
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
    let hidden = listing
        .table(&columns, marks, style)
        .write(&mut out, style)?;
    let more = listing.total.saturating_sub(listing.rows.len() as u64);
    if more > 0 {
        writeln!(out, "    ...  {} more (--all)", human::thousands(more))?;
    }
    writeln!(out, "{}", style.faint(&listing.totals()))?;
    out.flush()?;
    if hidden > 0 {
        let columns = human::count(hidden as u64, "metric column", "metric columns");
        style.note(format_args!(
            "{columns} left out: the terminal is too narrow"
        ));
    }
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
        let mut table = Table::new(2);
        if with_job {
            table = table.left("JOB");
        }
        table = table
            .right("ITERATION")
            .left("EVENTS")
            .right(style.when_heading());
        table = table.right("SIZE").right("NEW");
        for metric in metrics {
            table = table.optional(&printable(metric));
        }
        table = table.left("NOTES");
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

/// Which checkpoints are a job's head, and which are best by what.
struct Marks {
    heads: BTreeSet<CheckpointId>,
    best: BTreeSet<(CheckpointId, String)>,
}

impl Marks {
    fn read(store: &Store, jobs: &[JobInfo]) -> Result<Self, Failure> {
        let mut best = BTreeSet::new();
        for info in jobs {
            let job = store.job(&info.name)?;
            for metric in info.metrics.keys() {
                if let Some(checkpoint) = job.best(metric)? {
                    best.insert((checkpoint.id, metric.clone()));
                }
            }
        }
        Ok(Self {
            heads: jobs.iter().filter_map(|job| job.head).collect(),
            best,
        })
    }

    fn metric_cell(&self, id: CheckpointId, metric: &str, value: &str) -> Cell {
        if self.best.contains(&(id, metric.to_owned())) {
            Cell::new(format!("* {value}"), Tone::Good)
        } else {
            value.into()
        }
    }
}

/// The metrics that any row has: main ones first, then by name.
fn metric_columns(rows: &[Checkpoint], jobs: &[JobInfo]) -> Vec<String> {
    let main: BTreeSet<_> = jobs
        .iter()
        .filter_map(|job| job.main_metric.as_ref())
        .collect();
    let mut present = BTreeMap::new();
    for name in rows.iter().flat_map(|row| row.metrics.keys()) {
        present.insert((!main.contains(name), name), name.clone());
    }
    present.into_values().collect()
}

/// The events in short: a star beside a metric says what `best` was about.
fn events(info: &CheckpointInfo) -> String {
    let short = |event: &Event| match event {
        Event::Best(_) => event.family().to_owned(),
        _ => printable(&event.to_string()),
    };
    let mut words: Vec<_> = info.events.iter().map(short).collect();
    words.dedup();
    words.join(", ")
}

fn notes(info: &CheckpointInfo, marks: &Marks, style: &Style) -> Cell {
    let mut notes = Vec::new();
    if marks.heads.contains(&info.id) {
        notes.push("latest".to_owned());
    }
    if info.pinned {
        notes.push("pinned".to_owned());
    }
    notes.extend(
        info.tags
            .iter()
            .map(|tag| format!("tag:{}", printable(tag))),
    );
    let gone = info.abandoned || info.deleted_at.is_some();
    if gone {
        // Only its id names it.
        notes.insert(0, info.id.to_string());
    }
    if info.abandoned {
        notes.push("abandoned".to_owned());
    }
    if let Some(deleted_at) = info.deleted_at {
        notes.push(format!("deleted {}", style.ago(deleted_at)));
    }
    Cell::new(
        notes.join(", "),
        if gone { Tone::Faint } else { Tone::Plain },
    )
}
