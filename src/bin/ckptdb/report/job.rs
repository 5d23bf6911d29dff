//! What the page shows of a job.

use std::collections::BTreeSet;
use std::fmt::Write;

use ckptdb::{JobInfo, SessionStats, Store, telemetry};

use super::known::{Gathered, Known};
use super::page::facts;
use super::{drift, lineage, metric, saves, storage};
use crate::failure::Failure;
use crate::output::human;

/// Metrics that are shown of a job.
const METRICS: usize = 24;

/// All of a job.
pub(super) fn section(
    store: &Store,
    info: &JobInfo,
    gathered: &Gathered,
    number: usize,
    drift_bytes: u64,
) -> Result<String, Failure> {
    let known = Known::read(store, info, gathered)?;
    let mut html = head(&known, &known.job.sessions()?);
    let saved = known
        .line
        .iter()
        .flat_map(|checkpoint| checkpoint.metrics.keys());
    let mut names: BTreeSet<&String> = known.series.keys().chain(saved).collect();
    names.retain(|name| !telemetry::is_own(name));
    let total = names.len();
    for (place, name) in names.into_iter().take(METRICS).enumerate() {
        html += &metric::figure_of(&known, name, &format!("j{number}m{place}"))?;
    }
    if total > METRICS {
        let more = total - METRICS;
        let _ = write!(
            html,
            "<p class=\"soft\">{more} more metrics are left out.</p>"
        );
    }
    html += &storage::figures(known.line, number);
    html += &saves::figure_of(&known, number)?;
    html += &drift::figure_of(known.line, number, drift_bytes)?;
    html += &lineage::figure_of(store, &known, number)?;
    Ok(html)
}

/// The job in numbers.
fn head(known: &Known<'_>, sessions: &SessionStats) -> String {
    let span = match (known.line.first(), known.line.last()) {
        (Some(first), Some(last)) => format!(
            "{} to {}, iterations {} to {}",
            human::rfc3339_seconds(first.saved_at),
            human::rfc3339_seconds(last.saved_at),
            human::thousands(first.iteration),
            human::thousands(last.iteration),
        ),
        _ => "nothing saved yet".to_owned(),
    };
    facts(&[
        ("checkpoints", human::thousands(known.line.len() as u64)),
        (
            "left behind",
            human::thousands(known.abandoned.len() as u64),
        ),
        ("deleted", human::thousands(known.deleted.len() as u64)),
        ("saved", span),
        (
            "sessions",
            format!(
                "{}: {} completed, {} failed, {} interrupted, {} vanished, {} resumed",
                sessions.started,
                sessions.completed,
                sessions.failed,
                sessions.interrupted,
                sessions.vanished,
                sessions.resumed,
            ),
        ),
    ])
}
