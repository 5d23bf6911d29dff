//! `metric declare`: which way a metric is better.

use ckptdb::name::{nearest, printable};
use ckptdb::{Direction, JobInfo, Store};
use clap::builder::{PossibleValuesParser, TypedValueParser};
use clap_complete::engine::ArgValueCompleter;
use serde_json::json;

use crate::complete;
use crate::failure::Failure;
use crate::lookup;
use crate::output::{Style, json};

/// Options of `metric declare`.
#[derive(Debug, clap::Args)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is an option, and any can be with any"
)]
pub(crate) struct DeclareArgs {
    /// The job.
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
    /// Begin the job if there is none of this name; it need not have a checkpoint yet.
    #[arg(long)]
    create: bool,
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
    match job.info()? {
        None if args.create => {}
        // A slip of the finger must not begin a job.
        None => {
            let hint = |found: String| {
                let mark = if found.ends_with('?') { "" } else { ";" };
                format!("{found}{mark} --create begins a new job")
            };
            return lookup::job(store, &args.job)
                .map(drop)
                .map_err(|failure| failure.and(hint));
        }
        Some(info) => note_unknown(&info, &args.metric, style),
    }
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

/// A metric may be declared before a checkpoint has it. It may also be another one's name,
/// mistyped.
fn note_unknown(info: &JobInfo, metric: &str, style: &Style) {
    if info.metric_names().any(|known| known == metric) {
        return;
    }
    if let Some(near) = nearest(metric, info.metric_names()) {
        let (metric, near) = (printable(metric), printable(near));
        style.note(format_args!(
            "note: no checkpoint has a metric `{metric}` yet; did you mean `{near}`?"
        ));
    }
}
