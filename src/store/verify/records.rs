//! The log against the checkpoints, the checkpoints against index and jobs.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ops::ControlFlow;

use super::content::Content;
use super::report::{Damage, Findings};
use crate::error::Result;
use crate::format::{
    Action, CheckpointRecord, IndexKey, IndexKind, JobRecord, LogRecord, NO_PREVIOUS, Record,
    TableCode, ordered_bits,
};
use crate::id::{CheckpointId, StoreId};
use crate::metric::Direction;
use crate::storage::{Records, Rows};
use crate::store::index_rows::{rows_of, whole};
use crate::store::line::{direction_of, head_mark};

/// What the log says of a checkpoint.
#[derive(Clone, Copy, Debug)]
struct Logged {
    job: u32,
    iteration: u64,
    content: [u8; 32],
    deleted: bool,
    reclaimed: bool,
    /// The last log record that changed it: its own record is at least as new.
    changed: u64,
}

/// What the records add up to.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    jobs: BTreeMap<u32, JobRecord>,
    logged: BTreeMap<u64, Logged>,
    counted: BTreeMap<u32, JobRecord>,
    names: HashMap<String, Option<u32>>,
    /// Index rows that the records ask for, by kind.
    expected: BTreeMap<IndexKind, u64>,
    live: u64,
}

impl Ledger {
    pub(super) fn read_jobs(
        &mut self,
        rows: &dyn Rows,
        damage: &mut BTreeSet<Damage>,
    ) -> Result<BTreeMap<u32, String>> {
        let tag = rows.tag();
        rows.record_range(TableCode::Jobs, (0, u64::MAX), false, &mut |key, bytes| {
            match (
                u32::try_from(key),
                JobRecord::from_bytes(tag, &key.to_be_bytes(), bytes),
            ) {
                (Ok(number), Ok(job)) => {
                    let empty = JobRecord {
                        head: None,
                        current: 0,
                        abandoned: 0,
                        deleted: 0,
                        bytes: 0,
                        new_bytes: 0,
                        metrics: Vec::new(),
                        ..job.clone()
                    };
                    self.counted.insert(number, empty);
                    self.jobs.insert(number, job);
                }
                (_, Err(error)) => {
                    let what = error
                        .of(format!("the record of job number {key}"))
                        .to_string();
                    damage.insert(Damage::of_store(what));
                }
                (Err(_), _) => {
                    damage.insert(Damage::of_store(format!(
                        "job number {key} is out of range"
                    )));
                }
            }
            Ok(ControlFlow::Continue(()))
        })?;
        Ok(self
            .jobs
            .iter()
            .map(|(number, job)| (*number, job.name.clone()))
            .collect())
    }

    /// Follows the chain from its first record to the head.
    pub(super) fn read_log(&mut self, rows: &dyn Rows, findings: &mut Findings) -> Result<()> {
        let head = Records(rows).head()?;
        let tag = rows.tag();
        let (mut last, mut count, mut chain) = (0, 0, NO_PREVIOUS);
        rows.record_range(TableCode::Log, (0, u64::MAX), false, &mut |id, bytes| {
            findings.go_on()?;
            if id != last + 1 {
                findings.store(format!("the log has no records {} to {}", last + 1, id - 1));
            }
            match LogRecord::from_bytes(tag, &id.to_be_bytes(), bytes) {
                Ok(record) => {
                    if record.previous != chain {
                        findings.store(format!("log record {id} does not continue the one before"));
                    }
                    self.follow(id, &record.action);
                }
                Err(error) => findings.store(error.of(format!("log record {id}")).to_string()),
            }
            chain = LogRecord::chain(bytes);
            last = id;
            count += 1;
            Ok(ControlFlow::Continue(()))
        })?;
        if (head.last, head.count, head.chain) != (last, count, chain) {
            findings.store(format!(
                "the log ends at record {last} of {count}, the head record says {} of {}",
                head.last, head.count
            ));
        }
        self.live = head.live;
        Ok(())
    }

    fn follow(&mut self, id: u64, action: &Action) {
        let mut mark = |checkpoint: &u64, deleted: Option<bool>| {
            if let Some(logged) = self.logged.get_mut(checkpoint) {
                logged.deleted = deleted.unwrap_or(logged.deleted);
                logged.changed = id;
            }
        };
        match action {
            Action::Save {
                job,
                iteration,
                content,
                replaced,
                ..
            } => {
                if let Some(replaced) = replaced {
                    mark(replaced, Some(true));
                }
                let logged = Logged {
                    job: *job,
                    iteration: *iteration,
                    content: *content,
                    deleted: false,
                    reclaimed: false,
                    changed: id,
                };
                self.logged.insert(id, logged);
            }
            Action::Delete { checkpoint, .. } => mark(checkpoint, Some(true)),
            Action::Undelete { checkpoint } => mark(checkpoint, Some(false)),
            Action::Merge { checkpoint, .. }
            | Action::Annotate { checkpoint, .. }
            | Action::Tag { checkpoint, .. }
            | Action::Pin { checkpoint, .. } => mark(checkpoint, None),
            Action::Reclaim { checkpoint } => {
                if let Some(logged) = self.logged.get_mut(checkpoint) {
                    logged.reclaimed = true;
                }
            }
            Action::Repair { lost } | Action::Salvage { lost } => {
                for checkpoint in lost {
                    if let Some(logged) = self.logged.get_mut(checkpoint) {
                        logged.reclaimed = true;
                    }
                }
            }
            Action::DeleteJob { job } => {
                let of_job = self.logged.values_mut().filter(|logged| logged.job == *job);
                of_job.for_each(|logged| logged.deleted = true);
            }
            _ => {}
        }
    }

    /// Checks every checkpoint's record and what it leads to. Returns their number.
    pub(super) fn check_checkpoints(
        &mut self,
        rows: &dyn Rows,
        store: StoreId,
        findings: &mut Findings,
        content: &mut Content,
    ) -> Result<u64> {
        let tag = rows.tag();
        let mut count = 0;
        rows.record_range(
            TableCode::Checkpoints,
            (0, u64::MAX),
            false,
            &mut |id, bytes| {
                findings.go_on()?;
                count += 1;
                let logged = self.logged.remove(&id);
                let record = match CheckpointRecord::from_bytes(tag, &id.to_be_bytes(), bytes) {
                    Ok(record) => record,
                    Err(error) => {
                        let what = error.of("its record").to_string();
                        let known = logged.map(|logged| (logged.job, logged.iteration));
                        findings.damage.insert(Damage {
                            checkpoint: Some(CheckpointId::new(id)),
                            job: known.and_then(|(job, _)| findings.jobs.get(&job).cloned()),
                            iteration: known.map(|(_, iteration)| iteration),
                            entry: None,
                            what,
                        });
                        return Ok(ControlFlow::Continue(()));
                    }
                };
                let agrees = logged.is_some_and(|logged| {
                    logged.job == record.saved.job
                        && logged.iteration == record.saved.iteration
                        && logged.content == record.content
                        && logged.deleted == record.later.deleted.is_some()
                        && !logged.reclaimed
                        && record.later.stamp.log >= logged.changed
                });
                if !agrees {
                    findings.checkpoint(
                        id,
                        &record,
                        None,
                        "the log does not say what its record says",
                    );
                }
                match record.saved.content_hash(store, CheckpointId::new(id)) {
                    Ok(hash) if *hash.as_bytes() == record.content => {}
                    _ => findings.checkpoint(id, &record, None, "its content hash does not match"),
                }
                self.count(id, &record);
                self.check_rows(rows, id, &record, findings)?;
                content.check_manifest(rows, id, &record, findings)?;
                Ok(ControlFlow::Continue(()))
            },
        )?;
        for (id, logged) in self.logged.iter().filter(|(_, logged)| !logged.reclaimed) {
            findings.damage.insert(Damage {
                checkpoint: Some(CheckpointId::new(*id)),
                job: findings.jobs.get(&logged.job).cloned(),
                iteration: Some(logged.iteration),
                entry: None,
                what: "its record is missing".to_owned(),
            });
        }
        Ok(count)
    }

    /// Adds a checkpoint to what its job must count.
    fn count(&mut self, id: u64, record: &CheckpointRecord) {
        let directions = self
            .jobs
            .get(&record.saved.job)
            .map(|job| job.metrics.clone());
        let Some(counted) = self.counted.get_mut(&record.saved.job) else {
            return;
        };
        if record.later.deleted.is_some() {
            counted.deleted += 1;
            return;
        }
        self.live = self.live.wrapping_sub(1);
        counted.bytes += record.saved.bytes;
        counted.new_bytes += record.later.new_bytes;
        if record.later.abandoned {
            counted.abandoned += 1;
            return;
        }
        counted.current += 1;
        counted.head = Some(head_mark(id, record));
        for known in directions.unwrap_or_default() {
            let Some(direction) = direction_of(&known) else {
                continue;
            };
            let Some((_, value)) = record.metrics().find(|(name, _)| *name == known.name) else {
                continue;
            };
            let place = counted
                .metrics
                .iter()
                .position(|metric| metric.name == known.name);
            match place.and_then(|place| counted.metrics.get_mut(place)) {
                Some(best) => {
                    if best
                        .best
                        .is_none_or(|(bits, _)| is_above(direction, value, f64::from_bits(bits)))
                        && value.is_finite()
                    {
                        best.best = Some((value.to_bits(), id));
                    }
                }
                None => {
                    let best = value.is_finite().then_some((value.to_bits(), id));
                    counted
                        .metrics
                        .push(crate::format::MetricRecord { best, ..known });
                }
            }
        }
    }

    fn name(&mut self, rows: &dyn Rows, text: &str) -> Result<Option<u32>> {
        if let Some(known) = self.names.get(text) {
            return Ok(*known);
        }
        let number = Records(rows).name_number(text)?;
        self.names.insert(text.to_owned(), number);
        Ok(number)
    }

    /// Every row that a checkpoint must have in the index is there.
    fn check_rows(
        &mut self,
        rows: &dyn Rows,
        id: u64,
        record: &CheckpointRecord,
        findings: &mut Findings,
    ) -> Result<()> {
        let wanted = match record.later.deleted {
            Some(mark) => vec![(IndexKind::Deleted, None, mark.log)],
            None => rows_of(id, record),
        };
        for (kind, name, order) in wanted {
            let number = match &name {
                Some(text) => self.name(rows, text)?,
                None => Some(0),
            };
            *self.expected.entry(kind).or_default() += 1;
            let job = if kind == IndexKind::Child {
                0
            } else {
                record.saved.job
            };
            let present = match number {
                Some(name) => {
                    rows.has_index(IndexKey::new(kind, job, name, order, CheckpointId::new(id)))?
                }
                None => false,
            };
            if !present {
                let of = name.map_or_else(String::new, |name| format!(" of `{name}`"));
                let what = format!("its {kind:?} row{of} is missing from the index");
                findings.checkpoint(id, record, None, what);
            }
        }
        Ok(())
    }

    /// The index has no rows beyond those that the records ask for.
    pub(super) fn check_index(&mut self, rows: &dyn Rows, findings: &mut Findings) -> Result<()> {
        let named = self.jobs.values().filter(|job| !job.removed).count() as u64;
        self.expected.insert(IndexKind::JobName, named);
        let mut found: BTreeMap<IndexKind, u64> = BTreeMap::new();
        let all = (
            whole(IndexKind::Commit).0,
            whole(IndexKind::AbandonedMetric).1,
        );
        rows.index(all, false, &mut |key| {
            findings.go_on()?;
            *found.entry(key.kind).or_default() += 1;
            Ok(ControlFlow::Continue(()))
        })?;
        for kind in self
            .expected
            .keys()
            .chain(found.keys())
            .copied()
            .collect::<BTreeSet<_>>()
        {
            let count = |of: &BTreeMap<IndexKind, u64>| of.get(&kind).copied().unwrap_or(0);
            let (expected, found) = (count(&self.expected), count(&found));
            if expected != found {
                findings.store(format!(
                    "the index has {found} {kind:?} rows, the records ask for {expected}"
                ));
            }
        }
        Ok(())
    }

    /// What the jobs' records and the head record count is what there is.
    pub(super) fn check_jobs(&self, findings: &mut Findings) {
        if self.live != 0 {
            findings.store("the head record counts another number of checkpoints");
        }
        for (number, job) in &self.jobs {
            let Some(counted) = self.counted.get(number) else {
                continue;
            };
            let sums = |job: &JobRecord| {
                (
                    job.current,
                    job.abandoned,
                    job.deleted,
                    job.bytes,
                    job.new_bytes,
                    job.head,
                )
            };
            if sums(job) != sums(counted) {
                findings.store(format!(
                    "job `{}` counts other than its checkpoints",
                    job.name
                ));
            }
            for metric in job.metrics.iter().filter(|metric| metric.larger.is_some()) {
                let counted = counted
                    .metrics
                    .iter()
                    .find(|other| other.name == metric.name);
                if counted.and_then(|counted| counted.best) != metric.best {
                    let what = format!("the best by `{}` of job `{}`", metric.name, job.name);
                    findings.store(format!("{what} is not what the checkpoints say"));
                }
            }
        }
    }
}

/// Strictly better, by the order that the index has.
fn is_above(direction: Direction, value: f64, best: f64) -> bool {
    direction.is_better(value, best) && ordered_bits(value) != ordered_bits(best)
}
