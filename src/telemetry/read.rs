//! Reading a line's series: in full, in a range, in fewer points, summed up.

use std::ops::{ControlFlow, RangeInclusive};

use super::batch::Batch;
use super::block::{batch_of, iterations, values};
use super::line::{Line, segment_at, tail_of};
use super::summary::Summaries;
use crate::error::Result;
use crate::storage::Rows;

/// A point of a series.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Point {
    /// When.
    pub iteration: u64,
    /// What; NaN and infinities included.
    pub value: f64,
}

/// Neighbouring points as one. NaN and infinite values count for nothing but `odd`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Bucket {
    /// The first iteration that has a point in it.
    pub first: u64,
    /// The last.
    pub last: u64,
    /// Finite points.
    pub count: u64,
    /// NaN and infinite ones.
    pub odd: u64,
    /// The least value; NaN where there is no finite one, so for those below.
    pub min: f64,
    /// The greatest.
    pub max: f64,
    /// The mean.
    pub mean: f64,
}

/// Shows every point of a metric in a range of iterations.
pub(crate) fn each_point(
    rows: &dyn Rows,
    line: &Line,
    metric: &str,
    range: &RangeInclusive<u64>,
    visit: &mut dyn FnMut(Point),
) -> Result<()> {
    line.each_block(rows, *range.start(), &mut |block, limit| {
        let limit = limit.min(*range.end());
        if block.first > *range.end() {
            return Ok(ControlFlow::Break(()));
        }
        if block.last < *range.start() || block.first > limit {
            return Ok(ControlFlow::Continue(()));
        }
        let Some(column) = block.columns.iter().find(|column| column.name == metric) else {
            return Ok(ControlFlow::Continue(()));
        };
        let at = iterations(block)?;
        for (row, value) in values(block, column)? {
            let iteration = at.get(row as usize).copied().unwrap_or(u64::MAX);
            if iteration >= *range.start() && iteration <= limit {
                visit(Point { iteration, value });
            }
        }
        Ok(ControlFlow::Continue(()))
    })
}

/// A metric's points in a range, as at most `count` buckets of equally many iterations. Empty ones
/// are left out.
pub(crate) fn buckets(
    rows: &dyn Rows,
    line: &Line,
    metric: &str,
    range: &RangeInclusive<u64>,
    count: usize,
) -> Result<Vec<Bucket>> {
    let width = (range.end() - range.start()) / (count.max(1) as u64) + 1;
    let mut found: Vec<(u64, Bucket)> = Vec::new();
    each_point(rows, line, metric, range, &mut |point| {
        let place = (point.iteration - range.start()) / width;
        match found.last_mut() {
            Some((last, bucket)) if *last == place => bucket.add(point),
            _ => {
                let mut bucket = Bucket::at(point.iteration);
                bucket.add(point);
                found.push((place, bucket));
            }
        }
    })?;
    Ok(found.into_iter().map(|(_, bucket)| bucket.done()).collect())
}

impl Bucket {
    const fn at(iteration: u64) -> Self {
        Self {
            first: iteration,
            last: iteration,
            count: 0,
            odd: 0,
            min: f64::INFINITY,
            max: f64::NEG_INFINITY,
            mean: 0.0,
        }
    }

    /// While points are added, `mean` is their sum.
    fn add(&mut self, point: Point) {
        self.last = point.iteration;
        if point.value.is_finite() {
            self.count += 1;
            self.min = self.min.min(point.value);
            self.max = self.max.max(point.value);
            self.mean += point.value;
        } else {
            self.odd += 1;
        }
    }

    #[expect(clippy::cast_precision_loss, reason = "a mean of so many is not exact")]
    fn done(self) -> Self {
        if self.count == 0 {
            let none = f64::NAN;
            return Self {
                min: none,
                max: none,
                mean: none,
                ..self
            };
        }
        let mean = self.mean / self.count as f64;
        Self { mean, ..self }
    }
}

/// What a line's series hold. Where it ends in the end of its segment, that is known without
/// reading them, the last small blocks excepted.
pub(super) fn summaries(rows: &dyn Rows, line: &Line) -> Result<Summaries> {
    let Some((segment, limit)) = line.segments().last().copied() else {
        return Ok(Summaries::default());
    };
    let record = segment_at(rows, segment)?;
    let known = record.summaries.iter().map(|summary| summary.last.0).max();
    if known.is_some_and(|last| last > limit) {
        return counted(rows, line);
    }
    let tail = tail_of(rows, segment, &record)?;
    let mut sums = Summaries::of(record.summaries);
    for (_, block) in tail.iter().filter(|(_, block)| block.first <= limit) {
        sums.take(&batch_of(block)?, limit);
    }
    Ok(sums)
}

/// [`summaries`] from the points themselves.
fn counted(rows: &dyn Rows, line: &Line) -> Result<Summaries> {
    let mut sums = Summaries::default();
    line.each_block(rows, 0, &mut |block, limit| {
        let batch: Batch = batch_of(block)?;
        sums.take(&batch, limit);
        Ok(ControlFlow::Continue(()))
    })?;
    Ok(sums)
}

/// [`summaries`], as they are shown.
pub(crate) fn summaries_of(
    rows: &dyn Rows,
    line: &Line,
) -> Result<std::collections::BTreeMap<String, super::Summary>> {
    let sums = summaries(rows, line)?;
    let records = sums.into_records().into_iter();
    Ok(records
        .map(|record| (record.name.clone(), super::Summary::of(record)))
        .collect())
}
