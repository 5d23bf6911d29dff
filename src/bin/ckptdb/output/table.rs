//! Tables that fit the terminal.

use std::io::Write;

use comfy_table::{
    Attribute, CellAlignment, Color, ColumnConstraint, ContentArrangement, Row, Width, presets,
};

use super::human;
use super::style::Style;
use crate::failure::Failure;

/// Spaces between columns.
const GAP: u16 = 2;
/// No column of text is made narrower than this.
const NARROW: u16 = 14;

/// What a cell's colour says. The text says it too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tone {
    Plain,
    Good,
    Faint,
    Bad,
}

/// One cell.
#[derive(Clone, Debug)]
pub(crate) struct Cell {
    text: String,
    tone: Tone,
}

impl Cell {
    /// A cell in this tone.
    pub(crate) fn new(text: impl Into<String>, tone: Tone) -> Self {
        Self {
            text: text.into(),
            tone,
        }
    }

    /// What it says.
    pub(crate) fn text(&self) -> &str {
        &self.text
    }
}

impl<T: Into<String>> From<T> for Cell {
    fn from(text: T) -> Self {
        Self::new(text, Tone::Plain)
    }
}

/// What becomes of a column where the terminal is narrow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fit {
    /// It stays as wide as its content.
    Fixed,
    /// It wraps, but not below [`NARROW`].
    Wrapped,
    /// It is left out.
    Optional,
}

#[derive(Clone, Debug)]
struct Column {
    heading: String,
    align: CellAlignment,
    fit: Fit,
}

/// A table without lines that fits the terminal as far as it can.
#[derive(Clone, Debug, Default)]
pub(crate) struct Table {
    columns: Vec<Column>,
    rows: Vec<Vec<Cell>>,
    indent: u16,
    cut: bool,
}

impl Table {
    /// A table that begins this many spaces from the left.
    pub(crate) fn new(indent: u16) -> Self {
        Self {
            indent,
            ..Self::default()
        }
    }

    /// Cuts text where it would wrap: one line a row.
    pub(crate) fn cut(self) -> Self {
        Self { cut: true, ..self }
    }

    /// Adds a column of text that keeps its width.
    pub(crate) fn left(self, heading: &str) -> Self {
        self.column(heading, CellAlignment::Left, Fit::Fixed)
    }

    /// Adds a column of text that wraps where the terminal is narrow.
    pub(crate) fn wrapped(self, heading: &str) -> Self {
        self.column(heading, CellAlignment::Left, Fit::Wrapped)
    }

    /// Adds a column of numbers.
    pub(crate) fn right(self, heading: &str) -> Self {
        self.column(heading, CellAlignment::Right, Fit::Fixed)
    }

    /// Adds a column of numbers that is left out where the terminal is too narrow.
    pub(crate) fn optional(self, heading: &str) -> Self {
        self.column(heading, CellAlignment::Right, Fit::Optional)
    }

    /// Adds a column of text that is left out where the terminal is too narrow.
    pub(crate) fn spare(self, heading: &str) -> Self {
        self.column(heading, CellAlignment::Left, Fit::Optional)
    }

    fn column(mut self, heading: &str, align: CellAlignment, fit: Fit) -> Self {
        self.columns.push(Column {
            heading: heading.to_owned(),
            align,
            fit,
        });
        self
    }

    /// Adds a row.
    pub(crate) fn row(&mut self, cells: Vec<Cell>) {
        self.rows.push(cells);
    }

    /// Writes the table, and notes how many optional columns had no room.
    pub(crate) fn write(&self, out: &mut impl Write, style: &Style) -> Result<(), Failure> {
        let mut table = self.filled(style);
        let widths = table.column_max_content_widths();
        let shown = self.shown(&widths, style.width);
        for (index, column) in self.columns.iter().enumerate() {
            let Some(drawn) = table.column_mut(index) else {
                continue;
            };
            let is_last = index + 1 == self.columns.len();
            let indent = if index == 0 { self.indent } else { 0 };
            drawn.set_padding((indent, if is_last { 0 } else { GAP }));
            drawn.set_cell_alignment(column.align);
            let content = widths.get(index).copied().unwrap_or(0);
            drawn.set_constraint(match column.fit {
                // Without a width there is nothing to wrap at.
                Fit::Wrapped if style.width.is_some() => {
                    let padding = drawn.padding_width();
                    ColumnConstraint::LowerBoundary(Width::Fixed(content.min(NARROW) + padding))
                }
                _ if shown.get(index) == Some(&false) => ColumnConstraint::Hidden,
                _ => ColumnConstraint::ContentWidth,
            });
        }
        writeln!(out, "{}", table.trim_fmt())?;
        let hidden = shown.iter().filter(|shown| !**shown).count() as u64;
        if hidden > 0 {
            out.flush()?;
            let columns = human::count(hidden, "column", "columns");
            style.note(format_args!(
                "{columns} left out: the terminal is too narrow"
            ));
        }
        Ok(())
    }

    fn filled(&self, style: &Style) -> comfy_table::Table {
        let mut table = comfy_table::Table::new();
        table
            .load_style(presets::NOTHING)
            .force_no_tty()
            .set_truncation_indicator("..");
        if style.color {
            table.enforce_styling().style_text_only();
        }
        if let Some(width) = style.width {
            table
                .set_width(width)
                .set_content_arrangement(ContentArrangement::Dynamic);
        }
        let headings = self.columns.iter().map(|column| heading(&column.heading));
        table.set_header(headings.collect::<Vec<_>>());
        for cells in &self.rows {
            let mut row = Row::from(cells.iter().map(drawn).collect::<Vec<_>>());
            if self.cut {
                row.max_height(1);
            }
            table.add_row(row);
        }
        table
    }

    /// Which columns are shown: optional ones give way, from the right, until the others fit.
    fn shown(&self, widths: &[u16], limit: Option<u16>) -> Vec<bool> {
        let mut shown = vec![true; self.columns.len()];
        let Some(limit) = limit else { return shown };
        let needed = |(column, &width): (&Column, &u16)| match column.fit {
            Fit::Wrapped => usize::from(width.min(NARROW)),
            Fit::Fixed | Fit::Optional => usize::from(width),
        };
        let gap = usize::from(GAP);
        let columns = self.columns.iter().zip(widths);
        let mut total = columns
            .clone()
            .map(|column| needed(column) + gap)
            .sum::<usize>();
        total = (total + usize::from(self.indent)).saturating_sub(gap);
        for (shown, column) in shown.iter_mut().zip(columns).rev() {
            if column.0.fit == Fit::Optional && total > usize::from(limit) {
                total -= needed(column) + gap;
                *shown = false;
            }
        }
        shown
    }
}

fn heading(text: &str) -> comfy_table::Cell {
    comfy_table::Cell::new(text).add_attribute(Attribute::Bold)
}

fn drawn(cell: &Cell) -> comfy_table::Cell {
    let drawn = comfy_table::Cell::new(&cell.text);
    match cell.tone {
        Tone::Plain => drawn,
        Tone::Good => drawn.fg(Color::Green),
        Tone::Faint => drawn.add_attribute(Attribute::Dim),
        Tone::Bad => drawn.fg(Color::Red),
    }
}
