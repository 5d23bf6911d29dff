//! Curves, drawn as inline SVG: no script, no library, nothing from elsewhere.

use std::fmt::Write;

use super::page::escaped;

const WIDTH: f64 = 820.0;
const HEIGHT: f64 = 260.0;
const LEFT: f64 = 84.0;
const RIGHT: f64 = 16.0;
const TOP: f64 = 14.0;
const BOTTOM: f64 = 40.0;
/// Ticks of an axis, about.
const TICKS: f64 = 5.0;

/// How a curve looks. What it is, the legend says in words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Look {
    First,
    Second,
    /// What a rollback left behind.
    Faint,
}

impl Look {
    const fn class(self) -> &'static str {
        match self {
            Self::First => "one",
            Self::Second => "two",
            Self::Faint => "faint",
        }
    }
}

/// What a mark says; each has a shape of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Mark {
    Saved,
    Best,
    Deleted,
    Abandoned,
    Fork,
}

impl Mark {
    pub(super) const ALL: [(Self, &'static str); 5] = [
        (Self::Saved, "a checkpoint"),
        (Self::Best, "the best"),
        (Self::Deleted, "deleted"),
        (Self::Abandoned, "left behind by a rollback"),
        (Self::Fork, "forked from another job"),
    ];

    fn class(self) -> &'static str {
        match self {
            Self::Saved => "saved",
            Self::Best => "best",
            Self::Deleted => "deleted",
            Self::Abandoned => "abandoned",
            Self::Fork => "fork",
        }
    }

    /// Its outline around a point.
    fn path(self, x: f64, y: f64) -> String {
        match self {
            Self::Saved => format!("M{:.1} {y:.1}a3 3 0 1 0 6 0a3 3 0 1 0-6 0", x - 3.0),
            Self::Best => {
                let mut path = String::new();
                for corner in 0..10_u8 {
                    let size = if corner % 2 == 0 { 8.0 } else { 3.4 };
                    let angle = f64::from(corner) * std::f64::consts::PI / 5.0;
                    let letter = if corner == 0 { 'M' } else { 'L' };
                    let (x, y) = (x + size * angle.sin(), y - size * angle.cos());
                    let _ = write!(path, "{letter}{x:.1} {y:.1}");
                }
                path + "Z"
            }
            Self::Deleted => format!("M{:.1} {:.1}l6 6m0-6l-6 6", x - 3.0, y - 3.0),
            Self::Abandoned => format!("M{:.1} {:.1}h6v6h-6Z", x - 3.0, y - 3.0),
            Self::Fork => format!("M{x:.1} {:.1}l5 5l-5 5l-5-5Z", y - 5.0),
        }
    }
}

/// A curve, and the range around it if there is one.
pub(super) struct Curve {
    pub(super) name: String,
    pub(super) look: Look,
    pub(super) points: Vec<(f64, f64)>,
    /// Least and greatest at each place.
    pub(super) band: Vec<(f64, f64, f64)>,
}

/// A chart, of which everything is said in words too.
pub(super) struct Chart {
    /// Unique on the page.
    pub(super) id: String,
    pub(super) title: String,
    pub(super) description: String,
    pub(super) across: &'static str,
    pub(super) curves: Vec<Curve>,
    pub(super) marks: Vec<(f64, f64, Mark)>,
    pub(super) label: fn(f64) -> String,
    /// What its ticks are round multiples of.
    pub(super) unit: Unit,
}

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

impl Chart {
    /// The figure's drawing.
    pub(super) fn svg(&self) -> String {
        let Some((across, up)) = self.ranges() else {
            return "<p>There is no finite value to draw.</p>".to_owned();
        };
        let x = |value: f64| LEFT + across.part(value) * (WIDTH - LEFT - RIGHT);
        let y = |value: f64| HEIGHT - BOTTOM - up.part(value) * (HEIGHT - TOP - BOTTOM);
        let mut svg = String::new();
        let (id, title) = (&self.id, escaped(&self.title));
        let _ = write!(
            svg,
            "<svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" aria-labelledby=\"{id}-t {id}-d\">\
             <title id=\"{id}-t\">{title}</title><desc id=\"{id}-d\">{}</desc>",
            escaped(&self.description)
        );
        for value in up.ticks(self.unit) {
            let (at, label) = (y(value), (self.label)(value));
            let _ = write!(
                svg,
                "<path class=\"grid\" d=\"M{LEFT} {at:.1}H{:.1}\"/>\
                 <text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>",
                WIDTH - RIGHT,
                LEFT - 8.0,
                at + 4.0,
                escaped(&label)
            );
        }
        for value in across.ticks(Unit::Whole) {
            let (at, label) = (x(value), short(value));
            let _ = write!(
                svg,
                "<text x=\"{at:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{label}</text>",
                HEIGHT - BOTTOM + 16.0
            );
        }
        let _ = write!(
            svg,
            "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>",
            WIDTH - RIGHT,
            HEIGHT - 6.0,
            self.across
        );
        for curve in &self.curves {
            let class = curve.look.class();
            if !curve.band.is_empty() {
                let upper = curve.band.iter().map(|(at, _, most)| (*at, *most));
                let lower = curve.band.iter().rev().map(|(at, least, _)| (*at, *least));
                let outline = path(upper.chain(lower), &x, &y);
                let _ = write!(svg, "<path class=\"band {class}\" d=\"{outline}Z\"/>");
            }
            let line = path(curve.points.iter().copied(), &x, &y);
            let _ = write!(svg, "<path class=\"line {class}\" d=\"{line}\"/>");
        }
        let mut marks: Vec<&(f64, f64, Mark)> = self.marks.iter().collect();
        // What is rare lies above what is frequent.
        marks.sort_by_key(|(_, _, mark)| (*mark == Mark::Best, *mark));
        for (at, value, mark) in marks {
            if value.is_finite() {
                let (class, outline) = (mark.class(), mark.path(x(*at), y(*value)));
                let _ = write!(svg, "<path class=\"{class}\" d=\"{outline}\"/>");
            }
        }
        svg + "</svg>" + &self.legend()
    }

    fn legend(&self) -> String {
        let mut items = Vec::new();
        if self.curves.len() > 1 {
            for curve in &self.curves {
                let class = curve.look.class();
                items.push(format!(
                    "<li><svg viewBox=\"0 0 24 12\" aria-hidden=\"true\">\
                     <path class=\"line {class}\" d=\"M0 6H24\"/></svg>{}</li>",
                    escaped(&curve.name)
                ));
            }
        }
        for (mark, name) in Mark::ALL {
            if self.marks.iter().any(|(_, _, found)| *found == mark) {
                items.push(format!(
                    "<li><svg viewBox=\"0 0 16 16\" aria-hidden=\"true\"><path class=\"{}\" \
                     d=\"{}\"/></svg>{name}</li>",
                    mark.class(),
                    mark.path(8.0, 8.0)
                ));
            }
        }
        if items.is_empty() {
            return String::new();
        }
        format!("<ul class=\"legend\">{}</ul>", items.concat())
    }

    fn ranges(&self) -> Option<(Range, Range)> {
        let bands = self.curves.iter().flat_map(|curve| &curve.band);
        let bands = bands.flat_map(|(at, least, most)| [(*at, *least), (*at, *most)]);
        let points = self
            .curves
            .iter()
            .flat_map(|curve| curve.points.iter().copied());
        let marks = self.marks.iter().map(|(at, value, _)| (*at, *value));
        let all: Vec<_> = bands.chain(points).chain(marks).collect();
        let across = Range::of(all.iter().map(|(at, _)| *at))?;
        let up = Range::of(all.iter().map(|(_, value)| *value))?;
        Some((across, up))
    }
}

fn path(
    points: impl Iterator<Item = (f64, f64)>,
    x: &dyn Fn(f64) -> f64,
    y: &dyn Fn(f64) -> f64,
) -> String {
    let mut path = String::new();
    let mut is_open = false;
    for (at, value) in points {
        if !value.is_finite() {
            // A gap.
            is_open = false;
            continue;
        }
        let letter = if is_open { 'L' } else { 'M' };
        let _ = write!(path, "{letter}{:.1} {:.1}", x(at), y(value));
        is_open = true;
    }
    path
}

/// An axis.
#[derive(Clone, Copy, Debug)]
struct Range {
    from: f64,
    to: f64,
}

impl Range {
    /// That of the finite ones.
    fn of(values: impl Iterator<Item = f64>) -> Option<Self> {
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

    fn part(self, value: f64) -> f64 {
        (value / 2.0 - self.from / 2.0) / (self.to / 2.0 - self.from / 2.0)
    }

    /// Round numbers within it: one, two or five of a power of ten.
    fn ticks(self, unit: Unit) -> Vec<f64> {
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
    let text = format!("{part:.2}");
    format!("{}{unit}", text.trim_end_matches('0').trim_end_matches('.'))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

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
    }

    proptest! {
        #[test]
        fn whatever_the_values_are_all_is_drawn_within_the_picture(
            points in prop::collection::vec((any::<f64>(), any::<f64>()), 0..20),
        ) {
            let chart = Chart {
                id: "c1".to_owned(),
                title: "a <title> & \"more\"".to_owned(),
                description: String::new(),
                across: "iteration",
                curves: vec![Curve {
                    name: "x".to_owned(),
                    look: Look::First,
                    points: points.clone(),
                    band: Vec::new(),
                }],
                marks: points.iter().map(|(x, y)| (*x, *y, Mark::Saved)).collect(),
                label: short,
                unit: Unit::Number,
            };
            let svg = chart.svg();
            prop_assert!(!svg.contains("NaN") && !svg.contains("inf"), "{}", svg);
            prop_assert!(!svg.contains("<title>"));
        }
    }
}
