//! Curves, drawn as inline SVG: no script, no library, nothing from elsewhere.

use std::fmt::Write;

use super::axis::{Range, Unit, short};
use super::mark::{Look, Mark, drawn, legend};
use super::page::escaped;

const WIDTH: f64 = 820.0;
const HEIGHT: f64 = 260.0;
const LEFT: f64 = 84.0;
const RIGHT: f64 = 16.0;
const TOP: f64 = 14.0;
const BOTTOM: f64 = 40.0;

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
        let finite = self.marks.iter().filter(|(_, value, _)| value.is_finite());
        let marks = finite.map(|(at, value, mark)| (x(*at), y(*value), *mark));
        svg + &drawn(&marks.collect::<Vec<_>>()) + "</svg>" + &self.legend()
    }

    fn legend(&self) -> String {
        let curves = self.curves.iter();
        let mut curves: Vec<_> = curves.map(|one| (one.look, one.name.as_str())).collect();
        if curves.len() == 1 {
            // The title says it.
            curves.clear();
        }
        legend(&curves, |mark| {
            self.marks.iter().any(|(_, _, found)| *found == mark)
        })
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

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
