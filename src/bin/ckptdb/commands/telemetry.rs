//! `telemetry`: a job's time series.

use std::io::Write;

use ckptdb::Store;
use ckptdb::name::{instead, printable};
use ckptdb::telemetry::{Bucket, Summary};
use clap_complete::engine::ArgValueCompleter;
use serde_json::{Value, json};

use crate::complete;
use crate::failure::{Exit, Failure};
use crate::lookup;
use crate::output::{Style, Table, human, sparkline, spread};

/// Blocks that show how a series goes.
const BLOCKS: usize = 16;

/// Options of `telemetry`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The job, or a checkpoint: its line up to there [default: the only job].
    #[arg(value_name = "JOB|REF")]
    #[arg(add = ArgValueCompleter::new(complete::jobs_and_references))]
    of: Option<String>,
    /// Show the series of this metric.
    #[arg(long, value_name = "METRIC")]
    #[arg(add = ArgValueCompleter::new(complete::metrics))]
    metric: Option<String>,
    /// From this iteration.
    #[arg(long, value_name = "N", requires = "metric", default_value_t = 0)]
    from: u64,
    /// Up to this iteration [default: the last].
    #[arg(long, value_name = "N", requires = "metric")]
    to: Option<u64>,
    /// In so many rows, each of equally many iterations.
    #[arg(long, value_name = "N", requires = "metric", default_value_t = 20)]
    rows: usize,
}

/// Prints what each series holds, or one of them in fewer points.
pub(crate) fn run(args: &Args, store: &Store, style: &Style) -> Result<(), Failure> {
    let telemetry = match args
        .of
        .as_deref()
        .filter(|of| of.contains('@') || of.starts_with("id:"))
    {
        Some(reference) => lookup::checkpoint(store, reference)?.telemetry(),
        None => {
            let info = lookup::one_job(store, args.of.as_deref())?;
            store.job(&info.name)?.telemetry()?
        }
    };
    let summaries = telemetry.summaries()?;
    if let Some(metric) = &args.metric {
        let Some(summary) = summaries.get(metric) else {
            let message = format!("no metric `{}` was logged", printable(metric));
            let names: Vec<String> = summaries.into_keys().collect();
            let hint = instead(metric, &names, "logged metric");
            return Err(Failure::new(Exit::NotFound, message).hint(hint));
        };
        let last = summary.last.0;
        let range = args.from..=args.to.unwrap_or(last).max(args.from);
        let buckets = telemetry.downsample(metric, range, args.rows.max(1))?;
        return series(metric, &buckets, style);
    }
    if style.json {
        let rows: Vec<Value> = summaries
            .iter()
            .map(|(name, s)| document(name, s))
            .collect();
        return style.document("telemetry", &json!({ "metrics": rows }));
    }
    if summaries.is_empty() {
        style.note("nothing was logged yet");
        return Ok(());
    }
    let mut table = Table::new(0)
        .wrapped("METRIC")
        .left("TREND")
        .right("POINTS");
    table = table.right("ITERATIONS").right("LAST").optional("MIN");
    table = table.optional("MAX").optional("MEAN").optional("MEDIAN");
    table = table.optional("FIRST").right("ODD");
    let shown = |value: Option<f64>| value.map_or("-".to_owned(), human::metric_short);
    for (name, summary) in &summaries {
        let (first, last) = (
            human::thousands(summary.first.0),
            human::thousands(summary.last.0),
        );
        table.row(vec![
            printable(name).into(),
            sparkline(&lookup::trend(&telemetry, name, summary.last.0, BLOCKS)?).into(),
            human::thousands(summary.count).into(),
            format!("{first}..{last}").into(),
            human::metric_short(summary.last.1).into(),
            shown(summary.min).into(),
            shown(summary.max).into(),
            shown(summary.mean).into(),
            shown(summary.quantile(0.5)).into(),
            human::metric_short(summary.first.1).into(),
            human::thousands(summary.odd).into(),
        ]);
    }
    let mut out = style.out();
    table.write(&mut out, style)?;
    Ok(out.flush()?)
}

fn series(metric: &str, buckets: &[Bucket], style: &Style) -> Result<(), Failure> {
    if style.json {
        let row = |bucket: &Bucket| {
            json!({
                "first": bucket.first,
                "last": bucket.last,
                "count": bucket.count,
                "odd": bucket.odd,
                "min": finite(bucket.min),
                "mean": finite(bucket.mean),
                "max": finite(bucket.max),
            })
        };
        let rows: Vec<Value> = buckets.iter().map(row).collect();
        return style.document("telemetry", &json!({ "metric": metric, "buckets": rows }));
    }
    let mut table = Table::new(0).right("ITERATIONS").right("POINTS");
    table = table.optional("MIN").right("MEAN").optional("MAX");
    table = table.right("ODD").left("MIN TO MAX, AND MEAN");
    let finite = || buckets.iter().filter(|bucket| bucket.count > 0);
    let least = finite()
        .map(|bucket| bucket.min)
        .fold(f64::INFINITY, f64::min);
    let most = finite()
        .map(|bucket| bucket.max)
        .fold(f64::NEG_INFINITY, f64::max);
    for bucket in buckets {
        let (first, last) = (
            human::thousands(bucket.first),
            human::thousands(bucket.last),
        );
        table.row(vec![
            format!("{first}..{last}").into(),
            human::thousands(bucket.count).into(),
            human::metric_short(bucket.min).into(),
            human::metric_short(bucket.mean).into(),
            human::metric_short(bucket.max).into(),
            human::thousands(bucket.odd).into(),
            spread((bucket.min, bucket.mean, bucket.max), (least, most)).into(),
        ]);
    }
    let mut out = style.out();
    table.write(&mut out, style)?;
    Ok(out.flush()?)
}

fn document(name: &str, summary: &Summary) -> Value {
    json!({
        "name": name,
        "count": summary.count,
        "odd": summary.odd,
        "first": { "iteration": summary.first.0, "value": finite(summary.first.1) },
        "last": { "iteration": summary.last.0, "value": finite(summary.last.1) },
        "min": summary.min,
        "max": summary.max,
        "mean": summary.mean,
        "p05": summary.quantile(0.05),
        "p50": summary.quantile(0.5),
        "p95": summary.quantile(0.95),
    })
}

/// JSON has no NaN.
fn finite(value: f64) -> Option<f64> {
    value.is_finite().then_some(value)
}
