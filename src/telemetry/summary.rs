//! What is known of a series without reading it.

use std::collections::BTreeMap;

use super::batch::Batch;
use super::sketch;
use crate::format::SummaryRecord;

/// What is known of a series without reading it. NaN and infinite values are counted apart, and
/// count for nothing else.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Summary {
    /// Points.
    pub count: u64,
    /// Points that are NaN or infinite.
    pub odd: u64,
    /// The least finite value; none if there is no finite one, so for those below.
    pub min: Option<f64>,
    /// The greatest.
    pub max: Option<f64>,
    /// Their mean.
    pub mean: Option<f64>,
    /// The first point: iteration and value, NaN and infinities included.
    pub first: (u64, f64),
    /// The last point.
    pub last: (u64, f64),
    sketch: SummaryRecord,
}

impl Summary {
    /// The value below which this part of the finite values lies (0.5 is the median): within 2 %
    /// of it, by a sketch. Where magnitudes differ by more than a factor of about 10^8, the
    /// smallest are less exact.
    pub fn quantile(&self, part: f64) -> Option<f64> {
        sketch::quantile(&self.sketch, part)
    }

    pub(super) fn of(record: SummaryRecord) -> Self {
        let finite = record.count - record.odd.min(record.count);
        let some = |bits| (finite > 0).then(|| f64::from_bits(bits));
        #[expect(clippy::cast_precision_loss, reason = "a mean of so many is not exact")]
        let mean = some(record.sum).map(|sum| sum / finite as f64);
        Self {
            count: record.count,
            odd: record.odd,
            min: some(record.min),
            max: some(record.max),
            mean,
            first: (record.first.0, f64::from_bits(record.first.1)),
            last: (record.last.0, f64::from_bits(record.last.1)),
            sketch: record,
        }
    }
}

/// Summaries in the making, by metric.
#[derive(Clone, Debug, Default)]
pub(super) struct Summaries(pub(super) BTreeMap<String, SummaryRecord>);

impl Summaries {
    pub(super) fn of(records: Vec<SummaryRecord>) -> Self {
        let records = records.into_iter();
        Self(
            records
                .map(|record| (record.name.clone(), record))
                .collect(),
        )
    }

    pub(super) fn into_records(self) -> Vec<SummaryRecord> {
        self.0.into_values().collect()
    }

    /// Takes in points that come after those that are in it, as far as their iteration is at most
    /// `limit`.
    pub(super) fn take(&mut self, batch: &Batch, limit: u64) {
        for (name, values) in &batch.columns {
            for (row, value) in values {
                let iteration = batch.rows.get(*row as usize).copied().unwrap_or(0);
                if iteration <= limit {
                    self.point(name, iteration, *value);
                }
            }
        }
    }

    fn point(&mut self, name: &str, iteration: u64, value: f64) {
        let at = (iteration, value.to_bits());
        if !self.0.contains_key(name) {
            self.0.insert(name.to_owned(), empty(name, at));
        }
        let Some(summary) = self.0.get_mut(name) else {
            return;
        };
        summary.count += 1;
        summary.last = at;
        if !value.is_finite() {
            summary.odd += 1;
            return;
        }
        let (min, max) = (f64::from_bits(summary.min), f64::from_bits(summary.max));
        summary.min = min.min(value).to_bits();
        summary.max = max.max(value).to_bits();
        summary.sum = (f64::from_bits(summary.sum) + value).to_bits();
        sketch::count(summary, value);
    }
}

fn empty(name: &str, at: (u64, u64)) -> SummaryRecord {
    SummaryRecord {
        name: name.to_owned(),
        count: 0,
        odd: 0,
        min: f64::INFINITY.to_bits(),
        max: f64::NEG_INFINITY.to_bits(),
        sum: 0,
        first: at,
        last: at,
        zeros: 0,
        negative: Vec::new(),
        positive: Vec::new(),
    }
}
