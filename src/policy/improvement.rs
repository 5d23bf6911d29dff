//! Saves when a metric becomes better by enough.

use crate::error::{Error, Result};
use crate::metric::Direction;
use crate::name::check_word;

/// How much better a value has to be.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Threshold {
    /// By this part of the best value's magnitude: 0.02 is 2 %. From a best of 0, by anything.
    Relative(f64),
    /// By this much.
    Absolute(f64),
}

impl Default for Threshold {
    fn default() -> Self {
        Self::Relative(0.02)
    }
}

/// What a metric has to improve on.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Baseline {
    /// Which way it is better.
    pub direction: Direction,
    /// The value of the last save that it caused on this line, pruned or not: a high-water mark.
    /// None before the first.
    pub best: Option<f64>,
}

/// Watches one metric.
#[derive(Clone, Debug, PartialEq)]
pub struct Improvement {
    /// The metric.
    pub metric: String,
    /// How much better it has to be than at the last save that it caused.
    pub threshold: Threshold,
}

impl Improvement {
    /// Whether `value` is enough better than the baseline. NaN and infinities never are; the first
    /// finite value always is.
    pub fn is_reached(&self, value: f64, baseline: &Baseline) -> bool {
        let Some(best) = baseline.best else {
            return value.is_finite();
        };
        if !baseline.direction.is_better(value, best) {
            return false;
        }
        let by = (value - best).abs();
        match self.threshold {
            Threshold::Relative(part) => by >= part * best.abs(),
            Threshold::Absolute(amount) => by >= amount,
        }
    }

    pub(super) fn check(&self) -> Result<()> {
        check_word("metric", &self.metric)?;
        let (Threshold::Relative(amount) | Threshold::Absolute(amount)) = self.threshold;
        if amount.is_finite() && amount >= 0.0 {
            return Ok(());
        }
        let what = format!("the threshold of metric `{}`", self.metric);
        Err(Error::invalid(what, "it is negative, or no number"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reached(threshold: Threshold, direction: Direction, best: Option<f64>, value: f64) -> bool {
        let improvement = Improvement {
            metric: "sharpe".to_owned(),
            threshold,
        };
        improvement.check().unwrap();
        improvement.is_reached(value, &Baseline { direction, best })
    }

    #[test]
    fn two_percent_of_the_magnitude_is_an_improvement_either_way_and_below_zero() {
        let rule = Threshold::default();
        let (max, min) = (Direction::Max, Direction::Min);
        let table = [
            (max, Some(100.0), 102.0, true),
            (max, Some(100.0), 101.9, false),
            (max, Some(100.0), 100.0, false),
            (max, Some(100.0), 50.0, false),
            (min, Some(100.0), 98.0, true),
            (min, Some(100.0), 98.1, false),
            (max, Some(-100.0), -98.0, true),
            (max, Some(-100.0), -98.1, false),
            (max, Some(-100.0), 1.0, true),
            (min, Some(-100.0), -102.0, true),
            // From exactly 0 anything that is better.
            (max, Some(0.0), f64::MIN_POSITIVE, true),
            (max, Some(0.0), 0.0, false),
            (max, Some(0.0), -0.0, false),
            (min, Some(0.0), -1e-9, true),
            (max, None, -5.0, true),
        ];
        for (direction, best, value, expected) in table {
            let found = reached(rule, direction, best, value);
            assert_eq!(found, expected, "{direction}: {best:?} to {value}");
        }
    }

    #[test]
    fn an_absolute_amount_is_an_amount() {
        let rule = Threshold::Absolute(0.5);
        assert!(reached(rule, Direction::Max, Some(1000.0), 1000.5));
        assert!(!reached(rule, Direction::Max, Some(0.0), 0.4));
        assert!(reached(rule, Direction::Min, Some(0.25), -0.25));
    }

    #[test]
    fn nan_and_infinities_improve_on_nothing_and_spoil_nothing() {
        for best in [None, Some(1.0)] {
            for value in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
                for direction in [Direction::Max, Direction::Min] {
                    assert!(!reached(Threshold::default(), direction, best, value));
                }
            }
        }
    }
}
