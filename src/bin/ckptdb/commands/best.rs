//! `best`: the best checkpoints of a job by a metric.

use std::io::Write;

use ckptdb::name::printable;
use ckptdb::{Job, JobInfo, Store};
use clap_complete::engine::ArgValueCompleter;
use serde_json::json;

use crate::complete;
use crate::failure::{Exit, Failure};
use crate::lookup;
use crate::output::{Style, json, summary};

/// Options of `best`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The job [default: the only one].
    #[arg(add = ArgValueCompleter::new(complete::jobs))]
    job: Option<String>,
    /// The metric [default: the job's main metric, or its only declared one].
    #[arg(add = ArgValueCompleter::new(complete::metrics))]
    metric: Option<String>,
    /// How many, best first.
    #[arg(long, value_name = "K", default_value_t = 1)]
    count: usize,
}

/// Prints the best by the metric that was named or that goes without saying.
pub(crate) fn run(args: &Args, store: &Store, style: &Style) -> Result<(), Failure> {
    let info = lookup::one_job(store, args.job.as_deref())?;
    let metric = match &args.metric {
        Some(metric) => metric.clone(),
        None => usual_metric(&info)?,
    };
    print_for(&store.job(&info.name)?, &metric, args.count, style)
}

/// Prints the best checkpoints of the job by this metric, a line each, best first.
pub(crate) fn print_for(
    job: &Job,
    metric: &str,
    count: usize,
    style: &Style,
) -> Result<(), Failure> {
    let found = job.ranking(metric, count)?;
    if found.is_empty() {
        let (job, metric) = (printable(job.name()), printable(metric));
        let message = format!("no checkpoint of `{job}` has a finite `{metric}`");
        return Err(Failure::new(Exit::NotFound, message));
    }
    if style.json {
        let info = job.info()?;
        let direction = info.and_then(|info| info.metrics.get(metric).map(ToString::to_string));
        let checkpoints: Vec<_> = found.iter().map(|c| json::checkpoint(c)).collect();
        let body = json!({
            "job": job.name(),
            "metric": metric,
            "direction": direction,
            "checkpoints": checkpoints,
        });
        return style.document("best", &body);
    }
    let mut out = style.out();
    for checkpoint in &found {
        writeln!(out, "{}", summary(checkpoint, Some(metric), style))?;
    }
    Ok(out.flush()?)
}

/// The main metric, or the only one with a direction. Anything else would be a guess.
fn usual_metric(info: &JobInfo) -> Result<String, Failure> {
    if let Some(main) = &info.main_metric {
        return Ok(main.clone());
    }
    let job = printable(&info.name);
    let names: Vec<_> = info.metrics.keys().collect();
    match names.as_slice() {
        [only] => Ok((*only).clone()),
        [] => Err(
            Failure::usage(format!("job `{job}` has no declared metric")).hint(format!(
                "declare one: ckptdb metric declare {job} NAME min|max"
            )),
        ),
        several => {
            let several: Vec<_> = several.iter().map(|name| printable(name)).collect();
            Err(
                Failure::usage(format!("job `{job}` has several metrics and no main one"))
                    .hint(format!("name one of: {}", several.join(", "))),
            )
        }
    }
}
