//! The spike guard: whether a metric shows that training broke.

use std::collections::{BTreeMap, VecDeque};

use super::options::SpikeGuard;

/// Fewer recent values than this say nothing of what is usual.
const FEWEST: usize = 20;

/// The recent values of the metric that is watched.
#[derive(Debug)]
pub(super) struct Watch {
    pub(super) guard: SpikeGuard,
    recent: VecDeque<f64>,
    pub(super) rollbacks: u32,
}

impl Watch {
    pub(super) const fn new(guard: SpikeGuard) -> Self {
        Self {
            guard,
            recent: VecDeque::new(),
            rollbacks: 0,
        }
    }

    /// Why these metrics are a spike, if they are; what is usual is remembered.
    pub(super) fn look(&mut self, metrics: &BTreeMap<String, f64>) -> Option<String> {
        let value = *metrics.get(&self.guard.metric)?;
        let name = &self.guard.metric;
        if !value.is_finite() {
            return Some(format!("{name} is {value}"));
        }
        if let Some((mean, deviation)) = self.usual() {
            let off = (value - mean).abs();
            // A series that stands still has no deviation; rounding is none.
            let least = mean.abs().max(f64::MIN_POSITIVE) * 1e-9;
            if off > self.guard.sigma * deviation.max(least) {
                let sigma = off / deviation.max(least);
                return Some(format!(
                    "{name} is {value}: {sigma:.1} standard deviations off its recent mean {mean}"
                ));
            }
        }
        self.recent.push_back(value);
        while self.recent.len() > self.guard.window {
            self.recent.pop_front();
        }
        None
    }

    /// Forgets what came after the checkpoint that training goes back to.
    pub(super) fn went_back(&mut self) {
        self.rollbacks += 1;
        self.recent.clear();
    }

    #[expect(clippy::cast_precision_loss, reason = "a window is small")]
    fn usual(&self) -> Option<(f64, f64)> {
        if self.recent.len() < FEWEST.min(self.guard.window) {
            return None;
        }
        let count = self.recent.len() as f64;
        let mean = self.recent.iter().sum::<f64>() / count;
        let squares = self.recent.iter().map(|value| (value - mean).powi(2));
        Some((mean, (squares.sum::<f64>() / count).sqrt()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn look(watch: &mut Watch, value: f64) -> Option<String> {
        watch.look(&BTreeMap::from([("loss".to_owned(), value)]))
    }

    #[test]
    fn nan_infinities_and_values_far_off_are_spikes_and_noise_is_none() {
        let mut watch = Watch::new(SpikeGuard::new("loss"));
        assert!(look(&mut watch, f64::NAN).is_some());
        for i in 0..200_u32 {
            let noise = f64::from(i * 7919 % 100) / 100.0;
            assert_eq!(look(&mut watch, 1.0 + noise), None);
        }
        assert!(look(&mut watch, 50.0).is_some());
        assert!(look(&mut watch, f64::NEG_INFINITY).is_some());
        // What was no part of the usual has not changed it.
        assert!(look(&mut watch, 50.0).is_some());
        assert_eq!(look(&mut watch, 1.5), None);
        assert_eq!(watch.look(&BTreeMap::new()), None);
        watch.went_back();
        assert_eq!(look(&mut watch, 50.0), None);
    }

    #[test]
    fn a_series_that_stands_still_may_move_by_rounding_only() {
        let mut watch = Watch::new(SpikeGuard::new("loss"));
        for _ in 0..50 {
            assert_eq!(look(&mut watch, 2.0), None);
        }
        assert_eq!(look(&mut watch, 2.000_000_000_1), None);
        assert!(look(&mut watch, 2.1).is_some());
    }
}
