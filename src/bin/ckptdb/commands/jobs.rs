//! `jobs`: the jobs of the store.

use std::io::Write;

use ckptdb::name::printable;
use ckptdb::{JobInfo, Store};
use serde_json::json;

use crate::failure::Failure;
use crate::output::{Cell, Style, Table, human, json};

/// Lists the jobs.
pub(crate) fn run(store: &Store, style: &Style) -> Result<(), Failure> {
    let jobs = store.jobs()?;
    if style.json {
        let jobs: Vec<_> = jobs.iter().map(json::job).collect();
        return style.document("jobs", &json!({ "jobs": jobs }));
    }
    if jobs.is_empty() {
        style.note("no jobs");
        return Ok(());
    }
    let mut out = style.out();
    table(&jobs, 0, style).write(&mut out, style)?;
    Ok(out.flush()?)
}

/// The jobs as a table; `stats` shows it too.
pub(crate) fn table(jobs: &[JobInfo], indent: u16, style: &Style) -> Table {
    let with_abandoned = jobs.iter().any(|job| job.abandoned > 0);
    let with_deleted = jobs.iter().any(|job| job.deleted > 0);
    let mut table = Table::new(indent).wrapped("JOB").right("CHECKPOINTS");
    if with_abandoned {
        table = table.right("ABANDONED");
    }
    if with_deleted {
        table = table.right("DELETED");
    }
    table = table.right("LATEST").right(style.when_heading());
    table = table.right("SIZE").right("NEW").wrapped("METRICS");
    for job in jobs {
        let mut cells: Vec<Cell> = vec![printable(&job.name).into()];
        cells.push(human::thousands(job.checkpoints).into());
        if with_abandoned {
            cells.push(human::thousands(job.abandoned).into());
        }
        if with_deleted {
            cells.push(human::thousands(job.deleted).into());
        }
        cells.push(
            job.head_iteration
                .map_or("-".to_owned(), |n| n.to_string())
                .into(),
        );
        cells.push(
            job.last_saved_at
                .map_or("-".to_owned(), |time| style.when(time))
                .into(),
        );
        cells.push(human::size(job.logical_bytes).into());
        cells.push(human::size(job.new_bytes).into());
        cells.push(metrics(job).into());
        table.row(cells);
    }
    table
}

/// The declared metrics: `sharpe:max (main), val_loss:min`.
fn metrics(job: &JobInfo) -> String {
    let described = job.metrics.iter().map(|(name, direction)| {
        let main = if job.main_metric.as_ref() == Some(name) {
            " (main)"
        } else {
            ""
        };
        format!("{}:{direction}{main}", printable(name))
    });
    described.collect::<Vec<_>>().join(", ")
}
