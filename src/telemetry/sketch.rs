//! Quantiles of a series that nobody keeps: a sketch with bins of equal ratio.
//!
//! `DDSketch` (Masson, Rim and Lee, VLDB 2019): a value x lies in bin ceil(log(|x|) / log(gamma)),
//! and any value of a bin is within [`ACCURACY`] of its middle. Bins of the smallest magnitudes
//! are joined when there are too many, so that small ones lose their accuracy first.

use crate::format::{MAX_SKETCH_BINS, SummaryRecord};

/// The relative error of a quantile.
pub(super) const ACCURACY: f64 = 0.02;
const GAMMA: f64 = (1.0 + ACCURACY) / (1.0 - ACCURACY);

/// The bin of a magnitude above 0.
#[expect(clippy::cast_possible_truncation, reason = "at most 18,000 either way")]
fn bin_of(magnitude: f64) -> i32 {
    (magnitude.ln() / GAMMA.ln()).ceil() as i32
}

/// The middle of a bin: no value in it is further off than the accuracy.
fn middle_of(bin: i32) -> f64 {
    2.0 * GAMMA.powi(bin) / (GAMMA + 1.0)
}

/// Counts a finite value.
pub(super) fn count(summary: &mut SummaryRecord, value: f64) {
    if value == 0.0 {
        summary.zeros += 1;
        return;
    }
    let bins = if value < 0.0 {
        &mut summary.negative
    } else {
        &mut summary.positive
    };
    add(bins, bin_of(value.abs()), 1);
    shrink(summary);
}

fn add(bins: &mut Vec<(i32, u64)>, bin: i32, many: u64) {
    match bins.binary_search_by_key(&bin, |(bin, _)| *bin) {
        Ok(at) => bins[at].1 += many,
        Err(at) => bins.insert(at, (bin, many)),
    }
}

/// Joins the bins of the smallest magnitudes, of the sign that has more of them.
fn shrink(summary: &mut SummaryRecord) {
    while summary.negative.len() + summary.positive.len() > MAX_SKETCH_BINS {
        let bins = if summary.negative.len() > summary.positive.len() {
            &mut summary.negative
        } else {
            &mut summary.positive
        };
        let (_, many) = bins.remove(0);
        if let Some(first) = bins.first_mut() {
            first.1 += many;
        }
    }
}

/// The value below which this part of the finite values lies, from 0 to 1.
pub(super) fn quantile(summary: &SummaryRecord, part: f64) -> Option<f64> {
    let counts = |bins: &[(i32, u64)]| bins.iter().map(|(_, many)| many).sum::<u64>();
    let total = counts(&summary.negative) + summary.zeros + counts(&summary.positive);
    if total == 0 {
        return None;
    }
    let (min, max) = (f64::from_bits(summary.min), f64::from_bits(summary.max));
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a rank of that many values need not be exact"
    )]
    let mut rank = (part.clamp(0.0, 1.0) * (total - 1) as f64).round() as u64;
    let below = summary.negative.iter().rev();
    let below = below.map(|(bin, many)| (-middle_of(*bin), *many));
    let above = summary.positive.iter();
    let above = above.map(|(bin, many)| (middle_of(*bin), *many));
    for (middle, many) in below.chain([(0.0, summary.zeros)]).chain(above) {
        if rank < many {
            return Some(middle.clamp(min, max));
        }
        rank -= many;
    }
    Some(max)
}
