//! How a job's checkpoints fill the disk, and how often they came.

use ckptdb::Checkpoint;

use super::axis::{Unit, short};
use super::chart::{Chart, Curve};
use super::mark::Look;
use super::page::{Table, figure};
use super::thin::{Detail, as_f64, thinned};
use crate::output::human;

/// Points of a curve, and rows of a table, at most.
const POINTS: usize = 300;
const ROWS: usize = 30;

/// The job's sizes and times, as two figures; nothing of a job with one checkpoint.
pub(super) fn figures(line: &[Checkpoint], number: usize, detail: Detail) -> String {
    if line.len() < 2 {
        return String::new();
    }
    let (mut logical, mut new) = (0_u64, 0_u64);
    let mut sums = Vec::new();
    for checkpoint in line {
        logical = logical.saturating_add(checkpoint.logical_bytes);
        new = new.saturating_add(checkpoint.new_bytes);
        sums.push((checkpoint.iteration, logical, new));
    }
    let shown = thinned(&sums, detail.most(POINTS));
    let curve = |name: &str, look, of: &dyn Fn(&(u64, u64, u64)) -> u64| Curve {
        name: name.to_owned(),
        look,
        points: shown
            .iter()
            .map(|sum| (as_f64(sum.0), as_f64(of(sum))))
            .collect(),
        band: Vec::new(),
    };
    let sizes = Chart {
        id: format!("j{number}size"),
        title: "Storage".to_owned(),
        description: format!(
            "All checkpoints together are {}; {} of that was new when it was saved.",
            human::size(logical),
            human::size(new)
        ),
        across: "iteration",
        curves: vec![
            curve("bytes of all checkpoints", Look::First, &|sum| sum.1),
            curve("of these new when they were saved", Look::Second, &|sum| {
                sum.2
            }),
        ],
        marks: Vec::new(),
        label: bytes,
        unit: Unit::Bytes,
    };
    let rows = thinned(&sums, detail.most(ROWS))
        .into_iter()
        .map(|(iteration, logical, new)| {
            vec![
                human::thousands(iteration),
                human::size(logical),
                human::size(new),
            ]
        });
    let table = Table::new(
        format!(
            "{} of {}",
            rows.len(),
            human::checkpoints(line.len() as u64)
        ),
        &[("iteration", true), ("bytes", true), ("new", true)],
        rows,
    );
    figure("Storage", &sizes.svg(), &table) + &times(line, number, detail)
}

/// The time between saves.
fn times(line: &[Checkpoint], number: usize, detail: Detail) -> String {
    let gaps: Vec<(u64, i64)> = line
        .windows(2)
        .filter_map(|pair| {
            let [before, after] = pair else { return None };
            Some((
                after.iteration,
                after.saved_at.millis_since(before.saved_at).max(0),
            ))
        })
        .collect();
    let seconds = |millis: i64| as_f64(millis.unsigned_abs()) / 1000.0;
    let mut sorted: Vec<i64> = gaps.iter().map(|(_, gap)| *gap).collect();
    sorted.sort_unstable();
    let median = sorted.get(sorted.len() / 2).copied().unwrap_or_default();
    let chart = Chart {
        id: format!("j{number}time"),
        title: "Time between saves".to_owned(),
        description: format!("The median is {}.", human::duration(median)),
        across: "iteration",
        curves: vec![Curve {
            name: "seconds".to_owned(),
            look: Look::First,
            points: thinned(&gaps, detail.most(POINTS))
                .into_iter()
                .map(|(iteration, gap)| (as_f64(iteration), seconds(gap)))
                .collect(),
            band: Vec::new(),
        }],
        marks: Vec::new(),
        label: |value| format!("{} s", short(value)),
        unit: Unit::Number,
    };
    let rows = thinned(&gaps, detail.most(ROWS)).into_iter();
    let rows = rows.map(|(iteration, gap)| vec![human::thousands(iteration), human::duration(gap)]);
    let table = Table::new(
        format!("{} of {} saves", rows.len(), gaps.len()),
        &[("iteration", true), ("since the save before", true)],
        rows,
    );
    figure("Time between saves", &chart.svg(), &table)
}

/// An axis of bytes.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a label of an axis that has no negative part"
)]
fn bytes(value: f64) -> String {
    human::size(value.max(0.0) as u64)
}
