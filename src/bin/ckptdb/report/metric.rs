//! A metric's curve, and where checkpoints are on it.

use std::collections::BTreeMap;

use ckptdb::name::printable;
use ckptdb::{Checkpoint, CheckpointId, Event};

use super::axis::Unit;
use super::chart::{Chart, Curve};
use super::known::Known;
use super::mark::{Look, Mark};
use super::page::{Table, figure};
use super::thin::{Detail, as_f64, thinned};
use crate::failure::Failure;
use crate::output::human;

/// Points of a curve, and marks on it, at most.
const POINTS: usize = 400;
const MARKS: usize = 300;
/// Rows of a table.
const ROWS: usize = 60;

/// A metric's curve: what was logged, else what checkpoints say, with a mark for each.
pub(super) fn figure_of(
    known: &Known<'_>,
    name: &str,
    id: &str,
    detail: Detail,
) -> Result<String, Failure> {
    let curves = curves(known, name, detail)?;
    let info = known.info;
    let best = if info.metrics.contains_key(name) {
        known.job.best(name)?.map(|best| best.id)
    } else {
        None
    };
    let direction = info
        .metrics
        .get(name)
        .map_or(String::new(), |way| format!(" ({way})"));
    let title = format!("{}{direction}", printable(name));
    let chart = Chart {
        id: id.to_owned(),
        description: described(known.line, name, best),
        title: title.clone(),
        across: "iteration",
        marks: marks(known, name, best, detail),
        curves,
        label: human::metric_short,
        unit: Unit::Number,
    };
    Ok(figure(
        &title,
        &chart.svg(),
        &table(known.line, name, best, detail),
    ))
}

/// What was logged, else what checkpoints say; and what rollbacks left behind.
fn curves(known: &Known<'_>, name: &str, detail: Detail) -> Result<Vec<Curve>, Failure> {
    let value = |found: &Checkpoint| found.metrics.get(name).copied();
    let at = |found: &Checkpoint| as_f64(found.iteration);
    let points = |found: &[Checkpoint]| -> Vec<(f64, f64)> {
        found
            .iter()
            .filter_map(|found| Some((at(found), value(found)?)))
            .collect()
    };
    let logged = known.series.get(name).map(|summary| summary.last.0);
    let mut curves = Vec::new();
    match logged {
        Some(last) => {
            let buckets = known
                .telemetry
                .downsample(name, 0..=last, detail.most(POINTS))?;
            curves.push(Curve {
                name: "logged (mean, and the range around it)".to_owned(),
                look: Look::First,
                points: buckets
                    .iter()
                    .map(|one| (as_f64(one.first), one.mean))
                    .collect(),
                band: buckets
                    .iter()
                    .filter(|one| one.count > 0)
                    .map(|one| (as_f64(one.first), one.min, one.max))
                    .collect(),
            });
        }
        None => curves.push(Curve {
            name: "at checkpoints".to_owned(),
            look: Look::First,
            points: thinned(&points(known.line), detail.most(POINTS)),
            band: Vec::new(),
        }),
    }
    let behind = points(known.abandoned);
    if !behind.is_empty() {
        curves.push(Curve {
            name: "left behind by a rollback".to_owned(),
            look: Look::Faint,
            points: thinned(&behind, detail.most(POINTS)),
            band: Vec::new(),
        });
    }
    Ok(curves)
}

/// Where checkpoints are on a curve.
fn marks(
    known: &Known<'_>,
    name: &str,
    best: Option<CheckpointId>,
    detail: Detail,
) -> Vec<(f64, f64, Mark)> {
    let of = |found: &Checkpoint, mark: Mark| {
        Some((as_f64(found.iteration), *found.metrics.get(name)?, mark))
    };
    let saved: Vec<_> = known
        .line
        .iter()
        .filter_map(|found| of(found, Mark::Saved))
        .collect();
    let gone: Vec<_> = known
        .deleted
        .iter()
        .filter_map(|found| of(found, Mark::Deleted))
        .collect();
    let behind = known
        .abandoned
        .iter()
        .filter_map(|found| of(found, Mark::Abandoned));
    let behind: Vec<_> = behind.collect();
    let mut all = thinned(&saved, detail.most(MARKS));
    all.extend(thinned(&gone, detail.most(MARKS / 2)));
    all.extend(thinned(&behind, detail.most(MARKS / 2)));
    let is_best = |found: &&Checkpoint| Some(found.id) == best;
    all.extend(
        known
            .line
            .iter()
            .find(is_best)
            .and_then(|found| of(found, Mark::Best)),
    );
    let is_fork = |found: &&Checkpoint| found.forked_from.is_some();
    all.extend(
        known
            .line
            .iter()
            .find(is_fork)
            .and_then(|found| of(found, Mark::Fork)),
    );
    all
}

/// What a chart shows, for whoever does not see it.
fn described(line: &[Checkpoint], name: &str, best: Option<CheckpointId>) -> String {
    let with: Vec<&Checkpoint> = line
        .iter()
        .filter(|found| found.metrics.contains_key(name))
        .collect();
    let (Some(first), Some(last)) = (with.first(), with.last()) else {
        return format!("What was logged of {}.", printable(name));
    };
    let value = |found: &Checkpoint| {
        found
            .metrics
            .get(name)
            .map_or(String::new(), |v| human::metric(*v))
    };
    let best = with.iter().find(|found| Some(found.id) == best);
    let best = best.map(|found| format!(" The best is {} at {}.", value(found), found.iteration));
    format!(
        "{}: from {} at iteration {} to {} at iteration {}.{}",
        human::checkpoints(with.len() as u64),
        value(first),
        first.iteration,
        value(last),
        last.iteration,
        best.unwrap_or_default()
    )
}

fn table(line: &[Checkpoint], name: &str, best: Option<CheckpointId>, detail: Detail) -> Table {
    let with: Vec<&Checkpoint> = line
        .iter()
        .filter(|found| found.metrics.contains_key(name))
        .collect();
    let mut shown: BTreeMap<CheckpointId, &Checkpoint> = BTreeMap::new();
    for found in thinned(&with, detail.most(ROWS)) {
        shown.insert(found.id, found);
    }
    let is_best = |found: &&&Checkpoint| Some(found.id) == best;
    shown.extend(with.iter().find(is_best).map(|found| (found.id, *found)));
    let row = |found: &&Checkpoint| {
        let events: Vec<String> = found.events.iter().map(Event::to_string).collect();
        let mut notes = found
            .tags
            .iter()
            .map(|tag| format!("tag:{tag}"))
            .collect::<Vec<_>>();
        notes.extend((Some(found.id) == best).then(|| "best".to_owned()));
        notes.extend(found.pinned.then(|| "pinned".to_owned()));
        vec![
            human::thousands(found.iteration),
            found
                .metrics
                .get(name)
                .map_or(String::new(), |value| human::metric(*value)),
            human::rfc3339_seconds(found.saved_at),
            events.join(", "),
            notes.join(", "),
        ]
    };
    Table::new(
        format!(
            "{} of {}",
            shown.len(),
            human::checkpoints(with.len() as u64)
        ),
        &[
            ("iteration", true),
            (name, true),
            ("saved", false),
            ("events", false),
            ("notes", false),
        ],
        shown.values().map(row),
    )
}
