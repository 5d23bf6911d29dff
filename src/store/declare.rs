//! Declaring which way a metric is better.

use super::index_rows::top;
use super::line::{JobLine, direction_of};
use crate::error::{Error, Result};
use crate::format::Action;
use crate::metric::Direction;
use crate::storage::Change;

/// Declares a metric's direction; the one that it has already is fine. Another one is a conflict,
/// unless it is to be changed.
pub(super) fn declare(
    change: &mut Change<'_>,
    line: &mut JobLine,
    metric: &str,
    direction: Direction,
    change_it: bool,
) -> Result<()> {
    match direction_of(line.metric_mut(metric)) {
        Some(declared) if declared == direction => return Ok(()),
        Some(declared) if !change_it => {
            let job = &line.record.name;
            let what =
                format!("metric `{metric}` of job `{job}` is declared {declared}, not {direction}");
            let hint = "a wrong declaration is changed explicitly: ckptdb metric declare --change";
            return Err(Error::conflict(what, hint));
        }
        _ => {}
    }
    let larger = direction == Direction::Max;
    change.log(Action::DeclareMetric {
        job: line.number,
        name: metric.to_owned(),
        direction: u8::from(larger),
    })?;
    let name = change.intern(metric)?;
    let best = top(change.records().0, line.number, name, larger)?;
    let record = line.metric_mut(metric);
    record.larger = Some(larger);
    record.best = best;
    Ok(())
}
