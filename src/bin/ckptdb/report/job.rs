//! What the page shows of a job.

use std::fmt::Write;

use ckptdb::{SessionStats, Store};

use super::known::Known;
use super::page::facts;
use super::thin::Room;
use super::{drift, lineage, metric, saves, storage};
use crate::failure::Failure;
use crate::output::human;

/// Figures of a job beside those of its metrics, at most.
pub(super) const OTHERS: usize = 5;

/// All of a job.
pub(super) fn section(
    store: &Store,
    known: &Known<'_>,
    number: usize,
    room: Room,
) -> Result<String, Failure> {
    let detail = room.detail;
    let mut html = head(known, &known.job.sessions()?);
    for (place, name) in known.metrics.iter().take(room.metrics).enumerate() {
        html += &metric::figure_of(known, name, &format!("j{number}m{place}"), detail)?;
    }
    let more = known.metrics.len().saturating_sub(room.metrics);
    if more > 0 {
        let more = human::count(more as u64, "more metric is", "more metrics are");
        let _ = write!(html, "<p class=\"soft\">{more} left out.</p>");
    }
    html += &storage::figures(known.line, number, detail);
    html += &saves::figure_of(known, number, detail)?;
    html += &drift::figure_of(known.line, number, room)?;
    html += &lineage::figure_of(store, known, number, detail)?;
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
