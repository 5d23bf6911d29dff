//! Axes: ranges, and round numbers within them.

/// Ticks of an axis, about.
const TICKS: f64 = 5.0;

/// What is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unit {
    Number,
    /// Things of which there are no halves.
    Whole,
    Bytes,
}

impl Unit {
    /// What ticks below this size are round in.
    fn of(self, size: f64) -> f64 {
        let is_bytes = self == Self::Bytes && size.is_finite() && size >= 1024.0;
        if is_bytes {
            1024_f64.powf(size.log(1024.0).floor())
        } else {
            1.0
        }
    }
}

/// An axis.
#[derive(Clone, Copy, Debug)]
pub(super) struct Range {
    from: f64,
    to: f64,
}

impl Range {
    /// That of the finite ones.
    pub(super) fn of(values: impl Iterator<Item = f64>) -> Option<Self> {
        let (mut from, mut to) = (f64::INFINITY, f64::NEG_INFINITY);
        for value in values.filter(|value| value.is_finite()) {
            (from, to) = (from.min(value), to.max(value));
        }
        if from > to {
            return None;
        }
        if from.total_cmp(&to).is_eq() {
            let half = from.abs() / 10.0;
            let half = if half.is_normal() { half } else { 1.0 };
            (from, to) = (from - half, to + half);
        }
        // Halves, since the whole may be beyond what there is.
        (to / 2.0 - from / 2.0)
            .is_normal()
            .then_some(Self { from, to })
    }

    /// Where in it a value is: 0 where it begins, 1 where it ends.
    pub(super) fn part(self, value: f64) -> f64 {
        (value / 2.0 - self.from / 2.0) / (self.to / 2.0 - self.from / 2.0)
    }

    /// Round numbers within it: one, two or five of a power of ten.
    pub(super) fn ticks(self, unit: Unit) -> Vec<f64> {
        let size = unit.of(self.to.abs().max(self.from.abs()));
        let scaled = Self {
            from: self.from / size,
            to: self.to / size,
        };
        scaled
            .round(unit)
            .into_iter()
            .map(|tick| tick * size)
            .collect()
    }

    fn round(self, unit: Unit) -> Vec<f64> {
        let rough = self.to / TICKS - self.from / TICKS;
        let rough = if unit == Unit::Whole {
            rough.max(1.0)
        } else {
            rough
        };
        let power = 10_f64.powf(rough.log10().floor());
        let step = [1.0, 2.0, 5.0, 10.0]
            .iter()
            .map(|part| part * power)
            .find(|step| *step >= rough);
        let Some(step) = step.filter(|step| step.is_normal()) else {
            return vec![self.from, self.to];
        };
        let first = (self.from / step).ceil();
        let ticks = (0..20_u8).map(|tick| (first + f64::from(tick)) * step);
        ticks
            .take_while(|tick| *tick <= self.to + step * 1e-9)
            .collect()
    }
}

/// A count, in few letters.
pub(super) fn short(value: f64) -> String {
    let (part, unit) = match value.abs() {
        size if size >= 1e9 => (value / 1e9, "G"),
        size if size >= 1e6 => (value / 1e6, "M"),
        size if size >= 1e4 => (value / 1e3, "k"),
        _ => (value, ""),
    };
    let decimals = if part.abs() < 1.0 { 4 } else { 2 };
    let text = format!("{part:.decimals$}");
    format!("{}{unit}", text.trim_end_matches('0').trim_end_matches('.'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_round_and_within() {
        let ticks = |from, to| Range { from, to }.ticks(Unit::Number);
        let whole = Range { from: 2.7, to: 3.3 }.ticks(Unit::Whole);
        assert_eq!(whole, [3.0]);
        let bytes = Range {
            from: 0.0,
            to: 70e6,
        }
        .ticks(Unit::Bytes);
        assert_eq!(
            bytes,
            [0.0, 20.0, 40.0, 60.0].map(|mib| mib * 1024.0 * 1024.0)
        );
        assert_eq!(ticks(0.0, 10.0), [0.0, 2.0, 4.0, 6.0, 8.0, 10.0]);
        assert_eq!(ticks(-1.0, 1.0), [-1.0, -0.5, 0.0, 0.5, 1.0]);
        assert_eq!(short(25_000.0), "25k");
        assert_eq!(short(1_250_000.0), "1.25M");
        assert_eq!(short(0.125), "0.125");
        assert_eq!(short(0.0), "0");
    }
}
