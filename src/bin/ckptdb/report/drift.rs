//! How far layers move from one checkpoint to another.

use std::collections::BTreeMap;
use std::fmt::Write;

use ckptdb::name::printable;
use ckptdb::{Checkpoint, Error, ValueDiff};

use super::page::{Table, escaped, figure};
use super::thin::{Room, thinned};
use crate::failure::Failure;
use crate::layers::layer_of;
use crate::output::human;

/// Checkpoints that are compared, each with the one before it, at most.
const MOST: usize = 9;
/// Layers that are shown: those that move most.
const LAYERS: usize = 24;
/// What counts as no movement, and as much, on a logarithmic scale.
const LEAST: f64 = 1e-6;
const LARGEST: f64 = 1.0;
const WIDTH: f64 = 820.0;
const LEFT: f64 = 260.0;
const ROW: f64 = 20.0;
const BOTTOM: f64 = 24.0;

/// A heat map of relative L2 norms by layer; nothing where there are no two checkpoints of tensors.
pub(super) fn figure_of(line: &[Checkpoint], number: usize, room: Room) -> Result<String, Failure> {
    let chosen = chosen(line, room.drift);
    if chosen.len() < 2 {
        let note = "<p class=\"soft\">How layers drift is left out: two checkpoints are larger \
                    than --drift allows to read.</p>";
        let is_large = line.len() > 1 && room.drift > 0;
        return Ok(if is_large { note } else { "" }.to_owned());
    }
    let (layers, columns) = moved(&chosen)?;
    let mut rows: Vec<(String, Vec<Option<f64>>)> = layers.into_iter().collect();
    if rows.is_empty() {
        return Ok(String::new());
    }
    for (_, row) in &mut rows {
        row.resize(columns.len(), None);
    }
    let largest = |row: &[Option<f64>]| row.iter().flatten().copied().fold(0.0, f64::max);
    let total = rows.len();
    rows.sort_by(|a, b| largest(&b.1).total_cmp(&largest(&a.1)));
    rows.truncate(room.detail.most(LAYERS));
    rows.sort_by(|a, b| a.0.cmp(&b.0));
    let title = "Drift of layers";
    let caption = format!(
        "relative L2 norm of the change since the checkpoint before, {} of {total} layers",
        rows.len()
    );
    let shown = |value: &Option<f64>| value.map_or("-".to_owned(), |value| format!("{value:.2e}"));
    let headings: Vec<String> = columns.iter().map(|at| human::thousands(*at)).collect();
    let headings = headings.iter().map(|heading| (heading.as_str(), true));
    let headings: Vec<_> = std::iter::once(("layer", false)).chain(headings).collect();
    let in_numbers = rows.iter().map(|(layer, row)| {
        let cells = row.iter().map(shown);
        std::iter::once(printable(layer)).chain(cells).collect()
    });
    let table = Table::new(caption.clone(), &headings, in_numbers);
    Ok(figure(
        title,
        &svg(&rows, &columns, number, &caption),
        &table,
    ))
}

/// A value for each checkpoint after the first, by layer.
type Layers = BTreeMap<String, Vec<Option<f64>>>;

/// How far each layer moved from one to the next, and the iterations of these.
fn moved(chosen: &[&Checkpoint]) -> Result<(Layers, Vec<u64>), Failure> {
    let (mut layers, mut columns) = (Layers::new(), Vec::new());
    for pair in chosen.windows(2) {
        let [before, after] = pair else { continue };
        let diff = match before.diff(after) {
            // Verify names what is damaged; here it has no place.
            Err(Error::Corrupt { .. } | Error::Deleted { .. }) => continue,
            diff => diff?,
        };
        let mut sums: BTreeMap<String, ValueDiff> = BTreeMap::new();
        for entry in diff.entries {
            if let Some(values) = entry.values {
                let sum = sums.entry(layer_of(&entry.name)).or_default();
                *sum = sum.and(values);
            }
        }
        for (layer, sum) in sums {
            let row = layers.entry(layer).or_default();
            row.resize(columns.len(), None);
            row.push(Some(sum.relative_l2()));
        }
        columns.push(after.iteration);
    }
    Ok((layers, columns))
}

/// Evenly chosen checkpoints whose bytes are few enough.
fn chosen(line: &[Checkpoint], most_bytes: u64) -> Vec<&Checkpoint> {
    let line: Vec<&Checkpoint> = line.iter().collect();
    let of = |count| thinned(&line, count);
    let bytes = |chosen: &Vec<&Checkpoint>| chosen.iter().map(|one| one.logical_bytes).sum::<u64>();
    let few = |chosen: &Vec<&Checkpoint>| bytes(chosen) <= most_bytes;
    (2..=MOST).rev().map(of).find(few).unwrap_or_default()
}

fn svg(
    rows: &[(String, Vec<Option<f64>>)],
    columns: &[u64],
    number: usize,
    caption: &str,
) -> String {
    let count = u32::try_from(columns.len().max(1)).unwrap_or(1);
    let width = (WIDTH - LEFT) / f64::from(count);
    let height = ROW * f64::from(u32::try_from(rows.len()).unwrap_or(1)) + BOTTOM;
    let id = format!("j{number}drift");
    let mut svg = format!(
        "<svg class=\"map\" viewBox=\"0 0 {WIDTH} {height}\" role=\"img\" \
         aria-labelledby=\"{id}-t {id}-d\">\
         <title id=\"{id}-t\">Drift of layers</title>\
         <desc id=\"{id}-d\">{}; the stronger the colour, the more.</desc>",
        escaped(caption)
    );
    let mut top = 0.0;
    for (layer, row) in rows {
        let name: String = layer
            .chars()
            .rev()
            .take(36)
            .collect::<Vec<_>>()
            .into_iter()
            .rev()
            .collect();
        let _ = write!(
            svg,
            "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>",
            LEFT - 8.0,
            top + 14.0,
            escaped(&printable(&name))
        );
        let mut left = LEFT;
        for value in row {
            let strength = value.map_or(0.0, strength);
            let _ = write!(
                svg,
                "<rect class=\"cell\" x=\"{left:.1}\" y=\"{top:.1}\" width=\"{:.1}\" \
                 height=\"{:.1}\" opacity=\"{strength:.2}\"/>",
                width - 1.0,
                ROW - 1.0
            );
            left += width;
        }
        top += ROW;
    }
    let _ = write!(
        svg,
        "<rect class=\"frame\" x=\"{LEFT}\" y=\"0\" width=\"{:.1}\" height=\"{top:.1}\"/>",
        WIDTH - LEFT
    );
    let mut left = LEFT;
    for at in columns {
        let _ = write!(
            svg,
            "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{}</text>",
            left + width / 2.0,
            top + 16.0,
            human::thousands(*at)
        );
        left += width;
    }
    svg + "</svg>"
}

/// How dark a value is.
fn strength(value: f64) -> f64 {
    let part = (value.max(LEAST) / LEAST).ln() / (LARGEST / LEAST).ln();
    part.clamp(0.03, 1.0)
}
