//! What can be changed about jobs and checkpoints that are saved. Each is one transaction, and is
//! recorded in the log.

use super::declare::declare;
use super::line::{JobLine, direction_of};
use super::tags::{check_tags_free, tag_holder};
use super::{Job, document};
use crate::error::{Error, Result};
use crate::format::{Action, AttributeRow, CheckpointRecord, MAX_ATTRIBUTE_BYTES};
use crate::id::CheckpointId;
use crate::metric::Direction;
use crate::name::{check_job, check_tag, check_word, printable};
use crate::storage::{Change, Records};
use crate::store::{Checkpoint, JobInfo, Store};

impl Store {
    /// All jobs, by name.
    ///
    /// # Errors
    /// From the disk, or [`Error::Corrupt`].
    pub fn jobs(&self) -> Result<Vec<JobInfo>> {
        let jobs = self.read(|rows| Records(rows).counted_jobs())?;
        let live = jobs.iter().filter(|(_, job)| !job.removed);
        let mut infos: Vec<JobInfo> = live.map(|(_, job)| JobInfo::of(job)).collect();
        infos.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(infos)
    }

    /// Gives a job another name: its checkpoints, tags, metrics and telemetry are found by that
    /// from then on. Who has the job open by the old name would begin a new one with its next save,
    /// or fail to save, so that one with a session is renamed only by force; a session that
    /// vanished counts as one.
    ///
    /// # Errors
    /// [`Error::NotFound`]; [`Error::Conflict`] when another job has the name, or a session runs;
    /// [`Error::Invalid`] when the name can't be one.
    pub fn rename_job(&self, name: &str, to: &str, force: bool) -> Result<()> {
        let _turn = self.turn()?;
        self.change(|change| {
            let mut line = may_rename(change.records(), (name, to), force)?;
            if to == name {
                return Ok(());
            }
            line.set_name_row(change, false)?;
            change.log(Action::RenameJob {
                job: line.number,
                name: to.to_owned(),
            })?;
            to.clone_into(&mut line.record.name);
            line.set_name_row(change, true)?;
            line.finish(change)
        })
    }

    /// Whether [`Store::rename_job`] would do it. Nothing is changed.
    ///
    /// # Errors
    /// As [`Store::rename_job`].
    pub fn check_rename(&self, name: &str, to: &str, force: bool) -> Result<()> {
        self.read(|rows| may_rename(Records(rows), (name, to), force).map(drop))
    }
}

/// The job that is to be renamed, if it may be.
fn may_rename(records: Records<'_>, (name, to): (&str, &str), force: bool) -> Result<JobLine> {
    check_job(to)?;
    let line = JobLine::named(records, name)?;
    if to != name && records.job_named(to)?.is_some() {
        let what = format!("there is a job `{to}` already");
        return Err(Error::conflict(what, "choose another name"));
    }
    if line.record.sessions.open.is_some() && !force {
        let what = format!("a session of job `{name}` runs, or has vanished");
        let hint = "end the training first; if none runs, use force (--force)";
        return Err(Error::conflict(what, hint));
    }
    Ok(line)
}

impl Job {
    /// Declares which way a metric is better. Needed once, before `best`; again is fine.
    ///
    /// # Errors
    /// [`Error::Conflict`] when the other direction is declared.
    pub fn declare_metric(&self, metric: &str, direction: Direction) -> Result<()> {
        self.direct(metric, direction, false)
    }

    /// Declares a direction in the place of another. Recorded in the log.
    ///
    /// # Errors
    /// From the disk, or [`Error::Corrupt`].
    pub fn redirect_metric(&self, metric: &str, direction: Direction) -> Result<()> {
        self.direct(metric, direction, true)
    }

    fn direct(&self, metric: &str, direction: Direction, change_it: bool) -> Result<()> {
        check_word("metric", metric)?;
        let store = self.store();
        let _turn = store.turn()?;
        if self
            .info()?
            .is_some_and(|info| info.metrics.get(metric) == Some(&direction))
        {
            return Ok(());
        }
        store.change(|change| {
            let mut line = JobLine::open_or_create(change, self.name())?;
            declare(change, &mut line, metric, direction, change_it)?;
            line.finish(change)
        })
    }

    /// Makes a metric the one that `best` alone means.
    ///
    /// # Errors
    /// [`Error::Undeclared`] when it has no direction.
    pub fn set_main_metric(&self, metric: &str) -> Result<()> {
        let store = self.store();
        let _turn = store.turn()?;
        store.change(|change| {
            let mut line = JobLine::open_or_create(change, self.name())?;
            if direction_of(line.metric_mut(metric)).is_none() {
                let (job, metric) = (self.name().to_owned(), metric.to_owned());
                return Err(Error::Undeclared { job, metric });
            }
            change.log(Action::MainMetric {
                job: line.number,
                name: metric.to_owned(),
            })?;
            line.record.main_metric = Some(metric.to_owned());
            line.finish(change)
        })
    }
}

impl Checkpoint {
    /// Gives it a tag. One that another checkpoint of the job has moves only if `move_it`.
    ///
    /// # Errors
    /// [`Error::Conflict`] when another has it.
    pub fn set_tag(&self, tag: &str, move_it: bool) -> Result<()> {
        check_tag(tag)?;
        self.alter(|change, line, id, record| {
            if record.later.tags.iter().any(|its| its == tag) {
                return Ok(());
            }
            if move_it && let Some(holder) = tag_holder(change, line.number, tag)? {
                let mut other = change.records().known_checkpoint(holder)?;
                change.log(Action::Tag {
                    checkpoint: holder,
                    tag: tag.to_owned(),
                    set: false,
                })?;
                line.detach(change, holder, &other)?;
                other.later.tags.retain(|its| its != tag);
                line.attach(change, holder, &other)?;
                change.put_checkpoint(holder, &other)?;
            }
            check_tags_free(change, line, &[tag.to_owned()], id)?;
            change.log(Action::Tag {
                checkpoint: id,
                tag: tag.to_owned(),
                set: true,
            })?;
            record.later.tags.push(tag.to_owned());
            record.later.tags.sort_unstable();
            Ok(())
        })
    }

    /// Takes a tag away.
    ///
    /// # Errors
    /// [`Error::NotFound`] when it has no such tag.
    pub fn remove_tag(&self, tag: &str) -> Result<()> {
        self.alter(|change, _, id, record| {
            let tags = &mut record.later.tags;
            let Some(place) = tags.iter().position(|its| its == tag) else {
                let hint = match tags.as_slice() {
                    [] => "it has no tags".to_owned(),
                    tags => format!("its tags: {}", tags.join(", ")),
                };
                let what = format!("tag `{}` on {}", printable(tag), CheckpointId::new(id));
                return Err(Error::not_found(what, hint));
            };
            tags.remove(place);
            change.log(Action::Tag {
                checkpoint: id,
                tag: tag.to_owned(),
                set: false,
            })?;
            Ok(())
        })
    }

    /// Pins it, or takes the pin away. What is pinned is never removed.
    ///
    /// # Errors
    /// From the disk, or [`Error::Corrupt`].
    pub fn set_pinned(&self, pinned: bool) -> Result<()> {
        self.alter(|change, _, id, record| {
            if record.later.pinned != pinned {
                change.log(Action::Pin {
                    checkpoint: id,
                    pinned,
                })?;
                record.later.pinned = pinned;
            }
            Ok(())
        })
    }

    /// Adds an attribute.
    ///
    /// # Errors
    /// [`Error::Conflict`] when it has another value already.
    pub fn annotate(&self, name: &str, value: &serde_json::Value) -> Result<()> {
        check_word("attribute", name)?;
        let what = format!("attribute `{}`", printable(name));
        let json = document::canonical(&what, &value.to_string())?;
        if name.len() + json.len() > MAX_ATTRIBUTE_BYTES {
            let why = format!("{} bytes; the limit is {MAX_ATTRIBUTE_BYTES}", json.len());
            return Err(Error::invalid(what, why));
        }
        self.alter(|change, _, id, record| {
            let known = record.attributes().find(|(its, _)| *its == name);
            match known.map(|(_, json)| json.to_owned()) {
                Some(known) if known == json => return Ok(()),
                Some(known) => {
                    let what = format!("{what} of this checkpoint is {known} already");
                    let hint = "a saved value can't be changed; choose another name";
                    return Err(Error::conflict(what, hint));
                }
                None => {}
            }
            let attribute = AttributeRow {
                name: name.to_owned(),
                json: json.clone(),
            };
            change.log(Action::Annotate {
                checkpoint: id,
                attribute: attribute.clone(),
            })?;
            record.later.attributes.push(attribute);
            record.later.attributes.sort_unstable();
            Ok(())
        })
    }

    /// [`Checkpoint::verify`], and takes note that it was good: from then on it is the job's last
    /// checkpoint known good, until a newer one is, and is deleted only by force. Returns the bytes
    /// that were read.
    ///
    /// # Errors
    /// As [`Checkpoint::verify`]; [`Error::Deleted`].
    pub fn verify_and_record(&self) -> Result<u64> {
        let bytes = self.verify()?;
        let id = self.id.get();
        self.alter(|change, line, _, _| {
            if line.record.good < Some(id) {
                change.log(Action::Verified { checkpoint: id })?;
                line.record.good = Some(id);
            }
            Ok(())
        })?;
        Ok(bytes)
    }

    /// Changes its record as it stands now.
    fn alter(
        &self,
        alter: impl FnOnce(&mut Change<'_>, &mut JobLine, u64, &mut CheckpointRecord) -> Result<()>,
    ) -> Result<()> {
        let store = self.store();
        let _turn = store.turn()?;
        let id = self.id;
        store.change(|change| {
            let record = change.records().checkpoint(id.get())?;
            let live = record.filter(|record| record.later.deleted.is_none());
            let before = live.ok_or(Error::Deleted { id })?;
            let mut line = JobLine::known(change, before.saved.job)?;
            let mut after = before.clone();
            alter(change, &mut line, id.get(), &mut after)?;
            if after != before {
                line.detach(change, id.get(), &before)?;
                line.attach(change, id.get(), &after)?;
                change.put_checkpoint(id.get(), &after)?;
            }
            line.finish(change)
        })
    }

    /// This checkpoint as it is now.
    ///
    /// # Errors
    /// [`Error::Deleted`] when it is not there any more.
    pub fn refresh(&self) -> Result<Self> {
        self.store().resolve(&self.id.to_string())
    }
}
