//! Tables that fit the terminal.

use std::io::Write;

use comfy_table::{Attribute, CellAlignment, Color, ColumnConstraint, ContentArrangement, presets};

use super::style::{Out, Style};
use crate::failure::Failure;

/// Spaces between columns.
const GAP: u16 = 2;

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
}

impl<T: Into<String>> From<T> for Cell {
    fn from(text: T) -> Self {
        Self::new(text, Tone::Plain)
    }
}

#[derive(Clone, Debug)]
struct Column {
    heading: String,
    right: bool,
    optional: bool,
}

/// A table without lines. Text columns wrap where the terminal is narrow; number columns don't.
#[derive(Clone, Debug, Default)]
pub(crate) struct Table {
    columns: Vec<Column>,
    rows: Vec<Vec<Cell>>,
    indent: u16,
}

impl Table {
    /// A table that begins this many spaces from the left.
    pub(crate) fn new(indent: u16) -> Self {
        Self {
            indent,
            ..Self::default()
        }
    }

    /// Adds a column of text.
    pub(crate) fn left(self, heading: &str) -> Self {
        self.column(heading, false, false)
    }

    /// Adds a column of numbers.
    pub(crate) fn right(self, heading: &str) -> Self {
        self.column(heading, true, false)
    }

    /// Adds a column of numbers that is left out where the terminal is too narrow.
    pub(crate) fn optional(self, heading: &str) -> Self {
        self.column(heading, true, true)
    }

    fn column(mut self, heading: &str, right: bool, optional: bool) -> Self {
        self.columns.push(Column {
            heading: heading.to_owned(),
            right,
            optional,
        });
        self
    }

    /// Adds a row.
    pub(crate) fn row(&mut self, cells: Vec<Cell>) {
        self.rows.push(cells);
    }

    /// Writes the table; tells how many optional columns had no room.
    pub(crate) fn write(&self, out: &mut Out, style: &Style) -> Result<usize, Failure> {
        let mut table = self.laid_out(style);
        let hidden = self.hide_what_does_not_fit(&mut table, style);
        writeln!(out, "{}", table.trim_fmt())?;
        Ok(hidden)
    }

    fn laid_out(&self, style: &Style) -> comfy_table::Table {
        let mut table = comfy_table::Table::new();
        table.load_style(presets::NOTHING).force_no_tty();
        if style.color {
            table.enforce_styling();
        }
        if let Some(width) = style.width {
            table
                .set_width(width)
                .set_content_arrangement(ContentArrangement::Dynamic);
        }
        let headings = self.columns.iter().map(|column| heading(&column.heading));
        table.set_header(headings.collect::<Vec<_>>());
        for row in &self.rows {
            table.add_row(row.iter().map(drawn).collect::<Vec<_>>());
        }
        for (index, (column, drawn)) in self.columns.iter().zip(table.column_iter_mut()).enumerate()
        {
            let is_last = index + 1 == self.columns.len();
            let indent = if index == 0 { self.indent } else { 0 };
            drawn.set_padding((indent, if is_last { 0 } else { GAP }));
            if column.right {
                drawn.set_cell_alignment(CellAlignment::Right);
                drawn.set_constraint(ColumnConstraint::ContentWidth);
            }
        }
        table
    }

    /// Hides optional columns from the right until the others fit.
    fn hide_what_does_not_fit(&self, table: &mut comfy_table::Table, style: &Style) -> usize {
        let Some(limit) = style.width else { return 0 };
        let widths = table.column_max_content_widths();
        let gaps = usize::from(GAP) * self.columns.len() + usize::from(self.indent);
        let mut total = gaps
            + widths
                .iter()
                .map(|&width| usize::from(width))
                .sum::<usize>();
        let mut hidden = 0;
        for (index, width) in widths.iter().enumerate().rev() {
            let optional = self
                .columns
                .get(index)
                .is_some_and(|column| column.optional);
            if optional && total > usize::from(limit) + usize::from(GAP) {
                total -= usize::from(*width) + usize::from(GAP);
                hidden += 1;
                if let Some(column) = table.column_mut(index) {
                    column.set_constraint(ColumnConstraint::Hidden);
                }
            }
        }
        hidden
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
