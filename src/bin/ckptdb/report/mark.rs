//! What curves and marks look like, and the legend that says so.

use std::fmt::Write;

use super::page::escaped;

/// How a curve looks. What it is, the legend says in words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Look {
    First,
    Second,
    /// What a rollback left behind.
    Faint,
}

impl Look {
    pub(super) const fn class(self) -> &'static str {
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
    Back,
}

impl Mark {
    pub(super) const ALL: [(Self, &'static str); 6] = [
        (Self::Saved, "a checkpoint"),
        (Self::Best, "the best"),
        (Self::Deleted, "deleted"),
        (Self::Abandoned, "left behind by a rollback"),
        (Self::Fork, "where a fork begins"),
        (Self::Back, "where a rollback went back to"),
    ];

    fn class(self) -> &'static str {
        match self {
            Self::Saved => "saved",
            Self::Best => "best",
            Self::Deleted => "deleted",
            Self::Abandoned => "abandoned",
            Self::Fork => "fork",
            Self::Back => "back",
        }
    }

    /// Its outline around a point.
    fn path(self, x: f64, y: f64) -> String {
        match self {
            // A round pen makes it a dot.
            Self::Saved => format!("M{x:.1} {y:.1}h0"),
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
            Self::Back => format!("M{:.1} {y:.1}a6 6 0 1 0 12 0a6 6 0 1 0-12 0", x - 6.0),
        }
    }
}

/// Marks at their places on a drawing, in one path for each kind; what is rare lies above what is
/// frequent.
pub(super) fn drawn(marks: &[(f64, f64, Mark)]) -> String {
    let mut svg = String::new();
    let last = |mark: &&(Mark, &str)| mark.0 == Mark::Best;
    let others = Mark::ALL.iter().filter(|mark| !last(mark));
    for (kind, _) in others.chain(Mark::ALL.iter().filter(last)) {
        let of_kind = marks.iter().filter(|(_, _, mark)| mark == kind);
        let outline: String = of_kind.map(|(x, y, mark)| mark.path(*x, *y)).collect();
        if !outline.is_empty() {
            let _ = write!(svg, "<path class=\"{}\" d=\"{outline}\"/>", kind.class());
        }
    }
    svg
}

/// What the curves and marks that are there mean.
pub(super) fn legend(curves: &[(Look, &str)], is_there: impl Fn(Mark) -> bool) -> String {
    let mut items = Vec::new();
    for (look, name) in curves {
        items.push(format!(
            "<li><svg viewBox=\"0 0 24 12\" aria-hidden=\"true\">\
             <path class=\"line {}\" d=\"M0 6H24\"/></svg>{}</li>",
            look.class(),
            escaped(name)
        ));
    }
    for (mark, name) in Mark::ALL {
        if is_there(mark) {
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
