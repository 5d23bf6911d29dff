//! `metric declare`: which way a metric is better.

use ckptdb::name::printable;
use ckptdb::{Direction, Store};
use clap::builder::{PossibleValuesParser, TypedValueParser};
use clap_complete::engine::ArgValueCompleter;
use serde_json::json;

use crate::complete;
use crate::failure::Failure;
use crate::output::{Style, json};

/// Options of `metric declare`.
#[derive(Debug, clap::Args)]
pub(crate) struct DeclareArgs {
    /// The job; it need not have a checkpoint yet.
    #[arg(add = ArgValueCompleter::new(complete::jobs))]
    job: String,
    /// The metric.
    #[arg(add = ArgValueCompleter::new(complete::metrics))]
    metric: String,
    /// Whether smaller or larger is better.
    #[arg(value_name = "min|max", value_parser = direction())]
    direction: Direction,
    /// Make it the metric that `best` alone means.
    #[arg(long)]
    main: bool,
    /// Allow another direction than the declared one.
    #[arg(long)]
    change: bool,
    /// Only say what would be done.
    #[arg(short = 'n', long)]
    pub(crate) dry_run: bool,
}

fn direction() -> impl TypedValueParser<Value = Direction> {
    PossibleValuesParser::new(["min", "max"]).try_map(|text| text.parse::<Direction>())
}

/// Declares the metric.
pub(crate) fn declare(args: &DeclareArgs, store: &Store, style: &Style) -> Result<(), Failure> {
    let job = store.job(&args.job)?;
    if args.change {
        job.redirect_metric(&args.metric, args.direction)?;
    } else {
        job.declare_metric(&args.metric, args.direction)?;
    }
    if args.main {
        job.set_main_metric(&args.metric)?;
    }
    if style.json {
        let job = job.info()?.as_ref().map(json::job);
        return style.document("metric.declare", &json!({ "job": job }));
    }
    let main = if args.main { ", main metric" } else { "" };
    let (job, metric) = (printable(&args.job), printable(&args.metric));
    style.line(format_args!(
        "declared {metric} of {job}: {} is better{main}",
        match args.direction {
            Direction::Min => "smaller",
            Direction::Max => "larger",
        }
    ))
}
