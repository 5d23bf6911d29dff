//! A job's telemetry as users see it.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;

use super::line::JobLine;
use crate::error::{Error, Result};
use crate::name::printable;
use crate::storage::{Change, Records};
use crate::store::{Checkpoint, Job, Store};
use crate::telemetry::{self, Batch, Bucket, Line, Point, Summary};

/// The series of one line: of a job as it stands, or up to a checkpoint.
#[derive(Clone, Debug)]
pub struct Telemetry {
    store: Store,
    segment: Option<u64>,
    limit: u64,
}

impl Job {
    /// Records values at an iteration, in one transaction. At any rate, log to a [`Batch`] and
    /// append that, or give it to a [`Save`](crate::Save::telemetry).
    ///
    /// ```
    /// # let store = ckptdb::Store::in_memory()?;
    /// let job = store.job("NQ")?;
    /// for iteration in 1..=100 {
    ///     job.log(iteration, [("loss", 1.0 / iteration as f64)])?;
    /// }
    /// let telemetry = job.telemetry()?;
    /// let summary = &telemetry.summaries()?["loss"];
    /// assert_eq!((summary.count, summary.max), (100, Some(1.0)));
    /// assert_eq!(telemetry.points("loss", 10..=12)?.len(), 3);
    /// assert_eq!(telemetry.downsample("loss", 1..=100, 4)?.len(), 4);
    /// # Ok::<(), ckptdb::Error>(())
    /// ```
    ///
    /// # Errors
    /// From the disk; [`Error::Invalid`] for a name that can't be a metric's.
    pub fn log<'n>(
        &self,
        iteration: u64,
        values: impl IntoIterator<Item = (&'n str, f64)>,
    ) -> Result<()> {
        let mut batch = Batch::default();
        batch.log(iteration, values)?;
        self.append(&batch)
    }

    /// Appends points, in one transaction. Points from before the last one turn the line back to
    /// before them; what they replace stays readable by the checkpoints of its own line. Points of
    /// more than 256 metrics are left out.
    ///
    /// Costs one small commit, and a few times the batch's bytes at most, whatever there is.
    ///
    /// # Errors
    /// From the disk.
    pub fn append(&self, batch: &Batch) -> Result<()> {
        if batch.is_empty() {
            return Ok(());
        }
        let store = self.store();
        let _turn = store.turn()?;
        store.change(|change| {
            let mut line = JobLine::open_or_create(change, self.name())?;
            line.append(change, batch)?;
            line.finish(change)
        })
    }

    /// The series of its current line.
    ///
    /// # Errors
    /// [`Error::NotFound`] when there is no such job.
    pub fn telemetry(&self) -> Result<Telemetry> {
        let (_, job) = self
            .store()
            .read(|rows| Records(rows).existing_job(self.name()))?;
        Ok(Telemetry {
            store: self.store().clone(),
            segment: job.segment,
            limit: u64::MAX,
        })
    }
}

impl Checkpoint {
    /// The series of the line that it is on, up to its iteration.
    pub fn telemetry(&self) -> Telemetry {
        Telemetry {
            store: self.store().clone(),
            segment: self.record().later.progress.segment,
            limit: self.iteration,
        }
    }
}

impl Telemetry {
    /// What each metric's series holds, by name. Of a job's current line: a read of a few rows,
    /// however long it is.
    ///
    /// # Errors
    /// From the disk, or [`Error::Corrupt`]; so for all reads.
    pub fn summaries(&self) -> Result<BTreeMap<String, Summary>> {
        self.store.read(|rows| {
            let line = Line::of(rows, self.segment, self.limit)?;
            telemetry::summaries_of(rows, &line)
        })
    }

    /// A metric's points in a range of iterations. Reads the blocks that it lies in.
    ///
    /// # Errors
    /// [`Error::NotFound`] when nothing was ever logged by that name.
    pub fn points(&self, metric: &str, range: RangeInclusive<u64>) -> Result<Vec<Point>> {
        self.known(metric)?;
        self.store.read(|rows| {
            let line = Line::of(rows, self.segment, self.limit)?;
            let mut points = Vec::new();
            let mut visit = |point| points.push(point);
            telemetry::each_point(rows, &line, metric, &range, &mut visit)?;
            Ok(points)
        })
    }

    /// A metric's points in a range of iterations, as at most `count` buckets of equally many
    /// iterations each; empty ones are left out. Memory is that of the buckets.
    ///
    /// # Errors
    /// As [`Telemetry::points`].
    pub fn downsample(
        &self,
        metric: &str,
        range: RangeInclusive<u64>,
        count: usize,
    ) -> Result<Vec<Bucket>> {
        self.known(metric)?;
        self.store.read(|rows| {
            let line = Line::of(rows, self.segment, self.limit)?;
            telemetry::buckets(rows, &line, metric, &range, count)
        })
    }

    fn known(&self, metric: &str) -> Result<()> {
        let summaries = self.summaries()?;
        if summaries.contains_key(metric) {
            return Ok(());
        }
        let known: Vec<&str> = summaries.keys().map(String::as_str).collect();
        let hint = if known.is_empty() {
            "nothing was logged yet".to_owned()
        } else {
            format!("logged are {}", known.join(", "))
        };
        let what = format!("telemetry of metric `{}`", printable(metric));
        Err(Error::not_found(what, hint))
    }
}

impl JobLine {
    /// Appends points to the job's telemetry.
    pub(super) fn append(&mut self, change: &mut Change<'_>, batch: &Batch) -> Result<()> {
        telemetry::append(change, self.number, &mut self.record.segment, batch)
    }

    /// Makes the telemetry go on from a position.
    pub(super) fn turn_back(
        &mut self,
        change: &mut Change<'_>,
        to: (Option<u64>, u64),
    ) -> Result<()> {
        telemetry::turn_back(change, self.number, &mut self.record.segment, to)
    }
    /// Keeps what this job logs later out of a fork that begins at a position.
    pub(super) fn end_before_fork(
        &mut self,
        change: &mut Change<'_>,
        at: (Option<u64>, u64),
    ) -> Result<()> {
        telemetry::end_before_fork(change, self.number, &mut self.record.segment, at)
    }
}
