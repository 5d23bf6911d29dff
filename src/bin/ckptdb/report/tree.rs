//! Lines of descent, drawn as inline SVG: a lane for each, over a common axis of iterations.

use std::fmt::Write;

use super::axis::{Range, Unit, short};
use super::lanes::rows;
use super::mark::{Look, Mark, drawn, legend};
use super::page::escaped;
use super::thin::as_f64;

const WIDTH: f64 = 820.0;
const LEFT: f64 = 84.0;
const RIGHT: f64 = 16.0;
/// Room for names of jobs beside their lanes.
const NAMES: f64 = 130.0;
const TOP: f64 = 20.0;
const ROW: f64 = 26.0;
const BOTTOM: f64 = 48.0;
/// Of the curve that leads to a lane.
const RADIUS: f64 = 9.0;
/// Of a letter, about.
const LETTER: f64 = 7.0;

/// What a lane is, beside the job's own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// What a rollback left behind.
    Behind,
    /// Another job, which began with a checkpoint of this one.
    Fork,
}

impl Kind {
    const fn look(self) -> Look {
        match self {
            Self::Behind => Look::Faint,
            Self::Fork => Look::Second,
        }
    }
}

/// A checkpoint's place: its lane is 0 for the job's own.
#[derive(Clone, Copy, Debug)]
pub(super) struct Point {
    pub(super) lane: usize,
    pub(super) iteration: u64,
}

/// A lane, and where it parts from another.
pub(super) struct Branch {
    pub(super) kind: Kind,
    pub(super) label: String,
    /// Its number, by which others part from it.
    pub(super) lane: usize,
    pub(super) from: Option<Point>,
    /// The iterations of its ends.
    pub(super) points: Vec<u64>,
    pub(super) marks: Vec<(u64, Mark)>,
}

/// A drawing of which everything is said in words too.
pub(super) struct Tree {
    /// Unique on the page.
    pub(super) id: String,
    pub(super) description: String,
    /// The checkpoint of another job that this one began with.
    pub(super) source: Option<String>,
    pub(super) own: Vec<u64>,
    pub(super) marks: Vec<(u64, Mark)>,
    pub(super) branches: Vec<Branch>,
}

/// Where things are in the drawing.
struct Places {
    across: Range,
    right: f64,
    /// The job's own row: below that of what it began with.
    own: usize,
    /// The row of each branch.
    rows: Vec<usize>,
}

impl Places {
    fn x(&self, iteration: u64) -> f64 {
        LEFT + self.across.part(as_f64(iteration)) * (WIDTH - LEFT - self.right)
    }

    fn y(row: usize) -> f64 {
        TOP + ROW * as_f64(row as u64)
    }
}

impl Tree {
    /// The figure's drawing.
    pub(super) fn svg(&self) -> String {
        let Some(places) = self.places() else {
            return "<p>There is no checkpoint to draw.</p>".to_owned();
        };
        let last = places.rows.iter().copied().max().unwrap_or(places.own);
        let bottom = Places::y(last);
        let id = &self.id;
        let mut svg = format!(
            "<svg viewBox=\"0 0 {WIDTH} {:.0}\" role=\"img\" aria-labelledby=\"{id}-t {id}-d\">\
             <title id=\"{id}-t\">Lineage</title><desc id=\"{id}-d\">{}</desc>",
            bottom + BOTTOM,
            escaped(&self.description)
        );
        for value in places.across.ticks(Unit::Whole) {
            let x = LEFT + places.across.part(value) * (WIDTH - LEFT - places.right);
            let _ = write!(
                svg,
                "<text x=\"{x:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{}</text>",
                bottom + 24.0,
                short(value)
            );
        }
        let _ = write!(
            svg,
            "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">iteration</text>",
            WIDTH - RIGHT,
            bottom + 42.0
        );
        let mut marks = self.own(&places, &mut svg);
        for (branch, row) in self.branches.iter().zip(&places.rows) {
            marks.extend(self.branch(&places, branch, *row, &mut svg));
        }
        let has = |mark: Mark| marks.iter().any(|(_, _, found)| *found == mark);
        let legend = legend(&self.curves(), has);
        svg + &drawn(&marks) + "</svg>" + &legend
    }

    /// The job's own lane, and what leads to it; its marks.
    fn own(&self, places: &Places, svg: &mut String) -> Vec<(f64, f64, Mark)> {
        let y = Places::y(places.own);
        let (Some(first), Some(last)) = (self.own.first(), self.own.last()) else {
            return Vec::new();
        };
        let (first, last) = (places.x(*first), places.x(*last));
        if let Some(source) = &self.source {
            let above = Places::y(0);
            let line = curve((first - RADIUS, above), (first, y), true);
            let _ = write!(
                svg,
                "<path class=\"line two\" d=\"M8 {above:.1}{line}\"/>\
                 <text x=\"8\" y=\"{:.1}\">{}</text>",
                above - 6.0,
                escaped(source)
            );
        }
        let _ = write!(
            svg,
            "<path class=\"line one\" d=\"M{first:.1} {y:.1}H{last:.1}\"/>"
        );
        let at = |(iteration, mark): &(u64, Mark)| (places.x(*iteration), y, *mark);
        self.marks.iter().map(at).collect()
    }

    /// Another lane, and what leads to it; its marks, and that where it parts.
    fn branch(
        &self,
        places: &Places,
        branch: &Branch,
        row: usize,
        svg: &mut String,
    ) -> Vec<(f64, f64, Mark)> {
        let y = Places::y(row);
        let (Some(first), Some(last)) = (branch.points.first(), branch.points.last()) else {
            return Vec::new();
        };
        let at = |(iteration, mark): &(u64, Mark)| (places.x(*iteration), y, *mark);
        let mut marks: Vec<_> = branch.marks.iter().map(at).collect();
        let end = places.x(*last);
        let from = branch.from.and_then(|from| {
            let row = self.row(places, from.lane)?;
            Some((places.x(from.iteration), Places::y(row)))
        });
        let line = match from {
            Some((x, above)) => {
                let radius = RADIUS.min((end - x).max(0.0));
                let line = curve((x, above), (x + radius, y), false);
                format!("M{x:.1} {above:.1}{line}")
            }
            None => format!("M{:.1} {y:.1}", places.x(*first)),
        };
        if branch.kind == Kind::Behind {
            marks.extend(from.map(|(x, above)| (x, above, Mark::Back)));
        }
        let class = branch.kind.look().class();
        let _ = write!(svg, "<path class=\"line {class}\" d=\"{line}H{end:.1}\"/>");
        if !branch.label.is_empty() {
            let _ = write!(
                svg,
                "<text x=\"{:.1}\" y=\"{:.1}\">{}</text>",
                end + 10.0,
                y + 4.0,
                escaped(&branch.label)
            );
        }
        marks
    }

    /// The row of a lane that is drawn.
    fn row(&self, places: &Places, lane: usize) -> Option<usize> {
        if lane == 0 {
            return Some(places.own);
        }
        let place = self
            .branches
            .iter()
            .position(|branch| branch.lane == lane)?;
        places.rows.get(place).copied()
    }

    fn places(&self) -> Option<Places> {
        let from = self.branches.iter().filter_map(|one| one.from);
        let lanes = self
            .branches
            .iter()
            .flat_map(|one| one.points.iter().copied());
        let all = self
            .own
            .iter()
            .copied()
            .chain(lanes)
            .chain(from.map(|from| from.iteration));
        let has_names = self.branches.iter().any(|branch| !branch.label.is_empty());
        let mut places = Places {
            across: Range::of(all.map(as_f64))?,
            right: if has_names { NAMES } else { RIGHT },
            own: usize::from(self.source.is_some()),
            rows: Vec::new(),
        };
        let span = |branch: &Branch| {
            let first = branch.points.first().copied().unwrap_or_default();
            let begin = branch.from.map_or(first, |from| from.iteration);
            let end = branch.points.last().copied().unwrap_or(begin);
            let name = LETTER * as_f64(branch.label.chars().count() as u64);
            (places.x(begin) - RADIUS, places.x(end) + RADIUS + name)
        };
        let spans: Vec<_> = self.branches.iter().map(span).collect();
        let below = rows(&spans).into_iter();
        places.rows = below.map(|row| places.own + 1 + row).collect();
        Some(places)
    }

    /// The lanes that are there, for the legend.
    fn curves(&self) -> Vec<(Look, &'static str)> {
        let has = |kind: Kind| self.branches.iter().any(|branch| branch.kind == kind);
        let has_other = has(Kind::Fork) || self.source.is_some();
        let mut curves = vec![(Look::First, "the job's line")];
        curves.extend(has(Kind::Behind).then_some((Look::Faint, "left behind by a rollback")));
        curves.extend(has_other.then_some((Look::Second, "another job")));
        curves
    }
}

/// From one row into another: round where it turns, which is at its first or at its last part.
fn curve(from: (f64, f64), to: (f64, f64), is_level_first: bool) -> String {
    let down = to.1 - from.1;
    let turn = RADIUS.min(down.abs()).copysign(down);
    if is_level_first {
        let (x, y) = from;
        format!(
            "H{x:.1}Q{:.1} {y:.1} {:.1} {:.1}V{:.1}",
            to.0,
            to.0,
            y + turn,
            to.1
        )
    } else {
        let (x, y) = (from.0, to.1);
        format!("V{:.1}Q{x:.1} {y:.1} {:.1} {y:.1}", y - turn, to.0)
    }
}
