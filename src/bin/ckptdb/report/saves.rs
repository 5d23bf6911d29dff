//! How long saves took, and how long the training waited for them.

use ckptdb::telemetry::{BLOCKED_SECONDS, Bucket, SAVE_SECONDS};

use super::axis::{Unit, short};
use super::chart::{Chart, Curve};
use super::known::Known;
use super::mark::Look;
use super::page::{Table, figure};
use super::thin::{Detail, as_f64, thinned};
use crate::failure::Failure;
use crate::output::human;

/// Points of a curve, and rows of a table, at most.
const POINTS: usize = 300;
const ROWS: usize = 30;

/// What sessions noted, as a figure; nothing of a job that none has trained.
pub(super) fn figure_of(
    known: &Known<'_>,
    number: usize,
    detail: Detail,
) -> Result<String, Failure> {
    let means = |series: &str| means(known, series, detail.most(POINTS));
    let (blocked, took) = (means(BLOCKED_SECONDS)?, means(SAVE_SECONDS)?);
    if took.is_empty() {
        return Ok(String::new());
    }
    let median = |series: &str| {
        let summary = known.series.get(series);
        let median = summary.and_then(|summary| summary.quantile(0.5));
        median.map_or_else(|| "unknown".to_owned(), seconds)
    };
    let curve = |name: &str, look, buckets: &[Bucket]| Curve {
        name: name.to_owned(),
        look,
        points: buckets
            .iter()
            .map(|bucket| (as_f64(bucket.first), bucket.mean))
            .collect(),
        band: Vec::new(),
    };
    let title = "How long saves took";
    let chart = Chart {
        id: format!("j{number}save"),
        title: title.to_owned(),
        description: format!(
            "In the median, a save was durable after {}, and the training waited {} for it.",
            median(SAVE_SECONDS),
            median(BLOCKED_SECONDS)
        ),
        across: "iteration",
        curves: vec![
            curve("until it was durable", Look::First, &took),
            curve("the training waited", Look::Second, &blocked),
        ],
        marks: Vec::new(),
        label: seconds,
        unit: Unit::Number,
    };
    let table = table(&took, &blocked, detail.most(ROWS));
    Ok(figure(title, &chart.svg(), &table))
}

/// A series in so many parts; nothing where there is none.
fn means(known: &Known<'_>, series: &str, most: usize) -> Result<Vec<Bucket>, Failure> {
    let Some(summary) = known.series.get(series) else {
        return Ok(Vec::new());
    };
    let last = summary.last.0;
    let mut buckets = known.telemetry.downsample(series, 0..=last, most)?;
    buckets.retain(|bucket| bucket.count > 0);
    Ok(buckets)
}

fn table(took: &[Bucket], blocked: &[Bucket], most: usize) -> Table {
    let both: Vec<(&Bucket, &Bucket)> = took.iter().zip(blocked).collect();
    let rows = thinned(&both, most).into_iter().map(|(took, blocked)| {
        vec![
            human::thousands(took.first),
            seconds(took.mean),
            seconds(blocked.mean),
        ]
    });
    Table::new(
        format!("{} of {} points", rows.len(), both.len()),
        &[
            ("iteration", true),
            ("until it was durable", true),
            ("the training waited", true),
        ],
        rows,
    )
}

fn seconds(value: f64) -> String {
    format!("{} s", short(value))
}
