//! Periodic saves that become rarer as training goes on.

use crate::error::{Error, Result};

/// An interval that grows with progress: `base * (1 + (max_multiplier - 1) * progress)`, where
/// progress is `iteration / target`, at most 1. Early states change fast and are cheap to lose
/// again; late ones change slowly.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Adaptive {
    /// Iterations between two saves at the start.
    pub base: u64,
    /// How many times as long the interval is at the target, and beyond.
    pub max_multiplier: f64,
    /// The iteration at which training is expected to end.
    pub target: u64,
}

impl Default for Adaptive {
    /// Every 25,000 iterations at first, every 125,000 at 2,000,000: 32 saves on the way.
    fn default() -> Self {
        Self {
            base: 25_000,
            max_multiplier: 5.0,
            target: 2_000_000,
        }
    }
}

impl Adaptive {
    /// The interval at this iteration, in iterations; at least 1.
    ///
    /// ```
    /// let adaptive = ckptdb::policy::Adaptive::default();
    /// assert_eq!(adaptive.interval(0), 25_000);
    /// assert_eq!(adaptive.interval(1_000_000), 75_000);
    /// assert_eq!(adaptive.interval(3_000_000), 125_000);
    /// ```
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "iterations below 2^53 are exact, longer intervals saturate"
    )]
    pub fn interval(&self, iteration: u64) -> u64 {
        let progress = (iteration as f64 / self.target.max(1) as f64).min(1.0);
        let interval = self.base as f64 * (1.0 + (self.max_multiplier - 1.0) * progress);
        (interval.round() as u64).max(1)
    }

    pub(super) fn check(&self) -> Result<()> {
        let fault = |why: &str| Err(Error::invalid("the adaptive trigger", why));
        if self.base == 0 {
            return fault("its base is 0 iterations; it is at least 1");
        }
        if self.target == 0 {
            return fault("its target is 0 iterations; it is at least 1");
        }
        if !(self.max_multiplier.is_finite() && self.max_multiplier >= 1.0) {
            return fault("its max_multiplier is below 1, or no number");
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_interval_grows_from_the_base_to_the_multiple_and_no_further() {
        let adaptive = Adaptive::default();
        let table = [
            (0, 25_000),
            (500_000, 50_000),
            (1_000_000, 75_000),
            (1_500_000, 100_000),
            (2_000_000, 125_000),
            (5_000_000, 125_000),
            (u64::MAX, 125_000),
        ];
        for (iteration, interval) in table {
            assert_eq!(adaptive.interval(iteration), interval, "at {iteration}");
        }
    }

    #[test]
    fn about_32_saves_lead_to_the_target() {
        let adaptive = Adaptive::default();
        let (mut anchor, mut saves) = (0, 0);
        for iteration in 1..=adaptive.target {
            if iteration - anchor >= adaptive.interval(iteration) {
                anchor = iteration;
                saves += 1;
            }
        }
        assert_eq!(saves, 31);
    }

    #[test]
    fn an_interval_is_never_0() {
        let tiny = Adaptive {
            base: 1,
            max_multiplier: 1.0,
            target: 1,
        };
        assert_eq!(tiny.interval(0), 1);
        tiny.check().unwrap();
        for bad in [
            Adaptive { base: 0, ..tiny },
            Adaptive { target: 0, ..tiny },
            Adaptive {
                max_multiplier: 0.5,
                ..tiny
            },
            Adaptive {
                max_multiplier: f64::NAN,
                ..tiny
            },
        ] {
            bad.check().unwrap_err();
        }
    }
}
