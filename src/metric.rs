//! Metrics: their direction and their order.

use std::fmt;
use std::str::FromStr;

use crate::error::{Error, Result};

/// Which way a metric is better. Declared once per job, never guessed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Direction {
    /// Smaller is better, as for a loss.
    Min,
    /// Larger is better, as for a reward.
    Max,
}

impl Direction {
    /// Whether `new` is strictly better than `old`. NaN and infinities never are, and a tie is
    /// no improvement.
    pub fn is_better(self, new: f64, old: f64) -> bool {
        new.is_finite()
            && match self {
                Self::Min => new < old,
                Self::Max => new > old,
            }
    }
}

impl fmt::Display for Direction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Min => "min",
            Self::Max => "max",
        })
    }
}

impl FromStr for Direction {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        match text {
            "min" => Ok(Self::Min),
            "max" => Ok(Self::Max),
            _ => Err(Error::invalid(
                format!("direction `{text}`"),
                "it is `min` or `max`",
            )),
        }
    }
}

/// The value as it is stored: -0 is 0, and every NaN is the one quiet NaN, so that equal values
/// have equal bytes.
pub(crate) fn canonical(value: f64) -> f64 {
    if value.is_nan() {
        f64::from_bits(0x7ff8_0000_0000_0000)
    } else {
        value + 0.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tie_a_nan_and_an_infinity_are_no_improvement() {
        assert!(Direction::Max.is_better(2.0, 1.0));
        assert!(Direction::Min.is_better(1.0, 2.0));
        assert!(!Direction::Max.is_better(1.0, 1.0));
        assert!(!Direction::Max.is_better(f64::NAN, 1.0));
        assert!(!Direction::Max.is_better(f64::INFINITY, 1.0));
        assert!(!Direction::Min.is_better(f64::NEG_INFINITY, 1.0));
    }

    #[test]
    fn equal_values_have_equal_bits() {
        assert_eq!(canonical(-0.0).to_bits(), 0.0_f64.to_bits());
        let odd_nan = f64::from_bits(0xfff8_0000_0000_1234);
        assert_eq!(canonical(odd_nan).to_bits(), canonical(f64::NAN).to_bits());
    }
}
