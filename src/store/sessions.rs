//! The record of a job's training sessions: how each began, how it ended, and what was lost.

use std::collections::BTreeMap;
use std::time::Duration;

use super::line::JobLine;
use crate::error::{Error, Result};
use crate::format::{Action, SessionsRecord};
use crate::id::CheckpointId;
use crate::metric::Direction;
use crate::policy::Baseline;
use crate::storage::{Change, Records, Rows};
use crate::store::{Checkpoint, Job, Resumed};

/// How a session ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The loop came to its end.
    Completed,
    /// An error or a panic ended it.
    Failed,
    /// It was told to stop, or dropped before its end.
    Interrupted,
    /// Nothing more was heard of it: the process was killed, or the machine went down.
    Vanished,
}

impl Outcome {
    const fn code(self) -> u8 {
        match self {
            Self::Completed => SessionsRecord::COMPLETED,
            Self::Failed => SessionsRecord::FAILED,
            Self::Interrupted => SessionsRecord::INTERRUPTED,
            Self::Vanished => SessionsRecord::VANISHED,
        }
    }
}

/// What is known of a job's sessions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct SessionStats {
    /// Whether one runs, as far as the store knows: one that vanished is noticed when the next
    /// begins.
    pub running: bool,
    /// How many began.
    pub started: u64,
    /// How many completed.
    pub completed: u64,
    /// How many ended with an error or a panic.
    pub failed: u64,
    /// How many were told to stop.
    pub interrupted: u64,
    /// Of how many nothing more was heard.
    pub vanished: u64,
    /// How many went on from a checkpoint.
    pub resumed: u64,
    /// How many of those had to pass over newer checkpoints that could not be loaded.
    pub fell_back: u64,
    /// Iterations that were done again, as far as telemetry shows.
    pub lost_iterations: u64,
    /// Time between the checkpoints that were resumed from and the last that was heard before.
    pub lost_time: Duration,
}

/// Where a job's line stands, for a session's triggers.
#[derive(Clone, Debug, Default)]
pub(crate) struct Standing {
    /// The iteration that it ends with.
    pub(crate) iteration: Option<u64>,
    pub(crate) anchor: Option<u64>,
    pub(crate) baselines: BTreeMap<String, Baseline>,
}

/// A session goes on with a checkpoint of its own job, whose name may have changed hands since it
/// was found.
fn check_still_of(change: &Change<'_>, line: &JobLine, from: &Checkpoint) -> Result<()> {
    let record = change.records().checkpoint(from.id.get())?;
    let record = record.ok_or(Error::Deleted { id: from.id })?;
    if record.saved.job == line.number {
        return Ok(());
    }
    let job = &line.record.name;
    let what = format!("{} is not a checkpoint of job `{job}` any more", from.id);
    Err(Error::conflict(
        what,
        "the job was renamed: resume it by its new name",
    ))
}

impl Job {
    /// What is known of its sessions; nothing before it exists.
    ///
    /// # Errors
    /// From the disk, or [`Error::Corrupt`](crate::Error::Corrupt).
    pub fn sessions(&self) -> Result<SessionStats> {
        let job = self
            .store()
            .read(|rows| Records(rows).job_named(self.name()))?;
        let record = job.map(|(_, job)| job.sessions).unwrap_or_default();
        Ok(SessionStats {
            running: record.open.is_some(),
            started: record.started,
            completed: record.completed,
            failed: record.failed,
            interrupted: record.interrupted,
            vanished: record.vanished,
            resumed: record.resumed,
            fell_back: record.fell_back,
            lost_iterations: record.lost_iterations,
            lost_time: Duration::from_millis(record.lost_millis),
        })
    }

    /// Records that a session begins, from `resumed` or from the start; returns its number.
    pub(crate) fn begin_session(&self, resumed: Option<&Resumed>) -> Result<u64> {
        let store = self.store();
        let _turn = store.turn()?;
        store.change(|change| {
            let mut line = JobLine::open_or_create(change, self.name())?;
            let from = resumed.map(|resumed| &resumed.checkpoint);
            if let Some(from) = from {
                check_still_of(change, &line, from)?;
            }
            let lost = lost(change, &line, from)?;
            if let Some(open) = line.record.sessions.open {
                let outcome = Outcome::Vanished;
                line.end_session(change, open, outcome, "nothing more was heard of it")?;
            }
            // It was just read in full: nothing drops it before a newer one is known to be good.
            if let Some(id) = from.map(|from| from.id.get())
                && line.record.good != Some(id)
            {
                change.log(Action::Verified { checkpoint: id })?;
                line.record.good = Some(id);
            }
            let position = from.map_or((None, 0), |from| {
                (from.record().later.progress.segment, from.iteration)
            });
            line.turn_back(change, position)?;
            let skipped = resumed.map_or(0, |resumed| resumed.skipped.len());
            let skipped = u32::try_from(skipped).unwrap_or(u32::MAX);
            let resumed = from.map(|from| from.id.get());
            let session = change.log(Action::SessionStart {
                job: line.number,
                resumed,
                skipped,
                lost_iterations: lost.0,
                lost_millis: lost.1,
            })?;
            let sessions = &mut line.record.sessions;
            sessions.start(session, resumed, skipped, lost);
            line.finish(change)?;
            Ok(session)
        })
    }

    /// Records how a session ended, with the points that it had not appended yet.
    pub(crate) fn end_session(
        &self,
        session: u64,
        outcome: Outcome,
        reason: &str,
        batch: &crate::telemetry::Batch,
    ) -> Result<()> {
        let store = self.store();
        let _turn = store.turn()?;
        // It must be recorded on a full disk too.
        store.make_room(|change| {
            let mut line = JobLine::open_or_create(change, self.name())?;
            line.append(change, batch)?;
            line.end_session(change, session, outcome, reason)?;
            line.finish(change)
        })
    }

    /// Where the line stands that ends in this checkpoint, or in the head.
    pub(crate) fn standing(&self, at: Option<CheckpointId>) -> Result<Standing> {
        self.store().read(|rows| {
            let Some((_, job)) = Records(rows).job_named(self.name())? else {
                return Ok(Standing::default());
            };
            let head = at.map(CheckpointId::get).or(job.head.map(|head| head.id));
            let record = match head.map(|id| Records(rows).checkpoint(id)) {
                Some(Ok(record)) => record,
                Some(Err(crate::Error::Corrupt { .. })) | None => None,
                Some(Err(other)) => return Err(other),
            };
            let progress = record.as_ref().map(|record| &record.later.progress);
            let mut standing = Standing {
                iteration: record.as_ref().map(|record| record.saved.iteration),
                anchor: progress.and_then(|progress| progress.anchor),
                ..Standing::default()
            };
            for metric in &job.metrics {
                let Some(direction) = super::line::direction_of(metric) else {
                    continue;
                };
                let mut marks = progress.iter().flat_map(|progress| &progress.marks);
                let mark = marks.find(|mark| mark.name == metric.name);
                let best = mark.map(|mark| f64::from_bits(mark.bits));
                let baseline = Baseline { direction, best };
                standing.baselines.insert(metric.name.clone(), baseline);
            }
            Ok(standing)
        })
    }

    /// Declares directions that are not declared yet.
    pub(crate) fn declare_all(&self, directions: &BTreeMap<String, Direction>) -> Result<()> {
        for (metric, direction) in directions {
            self.declare_metric(metric, *direction)?;
        }
        Ok(())
    }
}

impl JobLine {
    fn end_session(
        &mut self,
        change: &mut Change<'_>,
        session: u64,
        outcome: Outcome,
        reason: &str,
    ) -> Result<()> {
        let head = self.record.head.map(|head| head.id);
        change.log(Action::SessionEnd {
            job: self.number,
            session,
            outcome: outcome.code(),
            head,
            reason: reason.chars().take(256).collect(),
        })?;
        self.record.sessions.end(session, outcome.code(), head);
        Ok(())
    }
}

/// What is done again by who resumes from a checkpoint: iterations that were logged since, and the
/// time until the last that was heard of the job.
fn lost(
    change: &Change<'_>,
    line: &JobLine,
    from: Option<&crate::store::Checkpoint>,
) -> Result<(u64, u64)> {
    if line.record.sessions.open.is_none() {
        return Ok((0, 0));
    }
    let rows = change.records().0;
    let (iteration, at) = match from {
        // What was imported may be dated to years before it came.
        Some(from) => {
            let dated = from.saved_at.as_millis();
            let came = logged_at(rows, from.id.get())?;
            (from.iteration, came.map_or(dated, |came| came.max(dated)))
        }
        None => (0, line.record.created_at),
    };
    let logged = crate::telemetry::last_row(rows, line.record.segment)?;
    let heard = last_heard(rows, line)?.max(logged.map(|(_, at)| at));
    let millis = u64::try_from(heard.unwrap_or(at).saturating_sub(at)).unwrap_or(0);
    let logged = logged.map_or(0, |(iteration, _)| iteration);
    Ok((logged.saturating_sub(iteration), millis))
}

/// When the job's newest checkpoint was saved, good or not, or its session began.
fn last_heard(rows: &dyn Rows, line: &JobLine) -> Result<Option<i64>> {
    let head = line.record.head.map(|head| head.at);
    let begun = match line.record.sessions.open {
        Some(open) => logged_at(rows, open)?,
        None => None,
    };
    Ok(head.max(begun))
}

/// When something was logged, unless its record is damaged.
fn logged_at(rows: &dyn Rows, id: u64) -> Result<Option<i64>> {
    match Records(rows).log(id) {
        Ok(record) => Ok(record.map(|record| record.at)),
        Err(crate::Error::Corrupt { .. }) => Ok(None),
        Err(other) => Err(other),
    }
}
