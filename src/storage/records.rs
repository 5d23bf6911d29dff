//! The records of a transaction, typed; and the one way to change a store.

use std::ops::ControlFlow;

use super::rows::{Rows, Writes};
use crate::error::{Error, Result};
use crate::format::{
    Action, CheckpointRecord, Head, IndexKey, IndexKind, JobRecord, LogRecord, Malformed,
    NameRecord, Record, Stamp, TableCode, TelemetryRecord,
};
use crate::name::instead;

/// Typed reads.
#[derive(Clone, Copy)]
pub(crate) struct Records<'a>(pub(crate) &'a dyn Rows);

impl Records<'_> {
    fn get<T: Record>(self, key: u64, what: impl Fn() -> String) -> Result<Option<T>> {
        let Some(bytes) = self.0.record(T::TABLE, key)? else {
            return Ok(None);
        };
        let record = T::from_bytes(self.0.tag(), &key.to_be_bytes(), &bytes);
        record.map(Some).map_err(|error| error.of(what()))
    }

    /// Where the store stands.
    pub(crate) fn head(self) -> Result<Head> {
        self.get(Head::KEY, || "the store's head record".to_owned())?
            .ok_or_else(|| Error::corrupt("the store's head record", "it is missing"))
    }

    /// The head, if it is where the log ends. One that is not is an older page in the place of a
    /// newer one: whoever believed it would write over what came after.
    pub(crate) fn sound_head(self) -> Result<Head> {
        let head = self.head()?;
        let fault = |why: &str| Error::corrupt("the store's head record", why);
        if head.last > 0 {
            let last = self.0.record(TableCode::Log, head.last)?;
            if last.is_none_or(|bytes| LogRecord::chain(&bytes) != head.chain) {
                return Err(fault("the log does not lead to it"));
            }
        }
        if self.0.record(TableCode::Log, head.last + 1)?.is_some() {
            return Err(fault("the log goes on beyond it"));
        }
        Ok(head)
    }

    /// A checkpoint, deleted ones included.
    pub(crate) fn checkpoint(self, id: u64) -> Result<Option<CheckpointRecord>> {
        self.get(id, || format!("the record of checkpoint id:{id}"))
    }

    /// A checkpoint that an index row or another record speaks of.
    pub(crate) fn known_checkpoint(self, id: u64) -> Result<CheckpointRecord> {
        self.checkpoint(id)?.ok_or_else(|| {
            Error::corrupt(format!("the record of checkpoint id:{id}"), "it is missing")
        })
    }

    /// Whether a checkpoint has no record any more: it was reclaimed, perhaps while it was read.
    pub(crate) fn is_reclaimed(self, id: u64) -> bool {
        matches!(self.checkpoint(id), Ok(None))
    }

    /// The checkpoints with these ids, in order or backwards; a damaged record is shown as the
    /// error that it is, and the next one comes after it.
    pub(crate) fn checkpoints(
        self,
        ids: (u64, u64),
        backwards: bool,
        visit: &mut dyn FnMut(u64, Result<CheckpointRecord>) -> Result<ControlFlow<()>>,
    ) -> Result<()> {
        let tag = self.0.tag();
        self.0
            .record_range(TableCode::Checkpoints, ids, backwards, &mut |id, bytes| {
                let record = CheckpointRecord::from_bytes(tag, &id.to_be_bytes(), bytes)
                    .map_err(|error| error.of(format!("the record of checkpoint id:{id}")));
                visit(id, record)
            })
    }

    /// A row of telemetry.
    pub(crate) fn telemetry(self, key: u64) -> Result<Option<TelemetryRecord>> {
        self.get(key, || format!("telemetry row {key:#x}"))
    }

    /// The rows of telemetry with these keys, or what is wrong with them, in order or backwards.
    pub(crate) fn each_telemetry(
        self,
        keys: (u64, u64),
        backwards: bool,
        visit: &mut dyn FnMut(u64, Result<TelemetryRecord>) -> Result<ControlFlow<()>>,
    ) -> Result<()> {
        let tag = self.0.tag();
        let table = TableCode::Telemetry;
        self.0
            .record_range(table, keys, backwards, &mut |key, bytes| {
                let record = TelemetryRecord::from_bytes(tag, &key.to_be_bytes(), bytes)
                    .map_err(|error| error.of(format!("telemetry row {key:#x}")));
                visit(key, record)
            })
    }

    /// A log record.
    pub(crate) fn log(self, id: u64) -> Result<Option<LogRecord>> {
        self.get(id, || format!("log record {id}"))
    }

    /// Shows every log record, or what is wrong with it, oldest first.
    pub(crate) fn each_log(
        self,
        visit: &mut dyn FnMut(u64, Result<LogRecord>) -> Result<ControlFlow<()>>,
    ) -> Result<()> {
        let tag = self.0.tag();
        self.0
            .record_range(TableCode::Log, (0, u64::MAX), false, &mut |id, bytes| {
                let record = LogRecord::from_bytes(tag, &id.to_be_bytes(), bytes)
                    .map_err(|error| error.of(format!("log record {id}")));
                visit(id, record)
            })
    }

    /// A job, by number.
    pub(crate) fn job(self, number: u32) -> Result<Option<JobRecord>> {
        self.get(u64::from(number), || {
            format!("the record of job number {number}")
        })
    }

    /// A job that another record speaks of.
    pub(crate) fn known_job(self, number: u32) -> Result<JobRecord> {
        self.job(number)?.ok_or_else(|| {
            Error::corrupt(
                format!("the record of job number {number}"),
                "it is missing",
            )
        })
    }

    /// The number and record of the job with this name.
    pub(crate) fn job_named(self, name: &str) -> Result<Option<(u32, JobRecord)>> {
        let Some(number) = self.name_number(name)? else {
            return self.no_job_named(name);
        };
        let row = |order, id| IndexKey {
            kind: IndexKind::JobName,
            job: 0,
            name: number,
            order,
            id,
        };
        let mut found = None;
        self.0
            .index((row(0, 0), row(u64::MAX, u64::MAX)), false, &mut |key| {
                found = Some(key.order);
                Ok(ControlFlow::Break(()))
            })?;
        let Some(order) = found else {
            return self.no_job_named(name);
        };
        let job = u32::try_from(order)
            .map_err(|_| Error::corrupt("an index row", "its job number is out of range"))?;
        let record = self.known_job(job)?;
        if record.name != name || record.removed {
            let what = format!("the index row of job `{name}`");
            return Err(Error::corrupt(what, "it leads to another job"));
        }
        Ok(Some((job, record)))
    }

    /// The number and record of a job that somebody named.
    pub(crate) fn existing_job(self, name: &str) -> Result<(u32, JobRecord)> {
        if let Some(found) = self.job_named(name)? {
            return Ok(found);
        }
        let jobs = self.jobs()?;
        let names: Vec<&str> = jobs.iter().map(|(_, job)| job.name.as_str()).collect();
        Err(Error::not_found(
            format!("job `{name}`"),
            instead(name, &names, "job"),
        ))
    }

    /// None, unless a job's record says otherwise: a trainer that is told of no job starts from
    /// scratch, so that a lost row must not pass for that.
    fn no_job_named(self, name: &str) -> Result<Option<(u32, JobRecord)>> {
        let jobs = self.jobs()?;
        match jobs.iter().find(|(_, job)| job.name == name) {
            None => Ok(None),
            Some(_) => Err(Error::corrupt(
                format!("the index row of job `{name}`"),
                "it is missing",
            )),
        }
    }

    /// Every job that is not removed, by number.
    pub(crate) fn jobs(self) -> Result<Vec<(u32, JobRecord)>> {
        let mut jobs = self.all_jobs()?;
        jobs.retain(|(_, job)| !job.removed);
        Ok(jobs)
    }

    /// Every job, removed ones included: some of their checkpoints may still come back.
    pub(crate) fn all_jobs(self) -> Result<Vec<(u32, JobRecord)>> {
        let tag = self.0.tag();
        let mut jobs = Vec::new();
        self.0
            .record_range(TableCode::Jobs, (0, u64::MAX), false, &mut |key, bytes| {
                let what = || format!("the record of job number {key}");
                let record = JobRecord::from_bytes(tag, &key.to_be_bytes(), bytes)
                    .map_err(|error| error.of(what()))?;
                let number = u32::try_from(key)
                    .map_err(|_| Error::corrupt(what(), "its number is out of range"))?;
                jobs.push((number, record));
                Ok(ControlFlow::Continue(()))
            })?;
        Ok(jobs)
    }

    /// Every job, of a state that is committed: together they have the checkpoints that the head
    /// counts, so that a page of jobs that was lost, or is older, is not passed over.
    pub(crate) fn counted_jobs(self) -> Result<Vec<(u32, JobRecord)>> {
        let jobs = self.all_jobs()?;
        let has = |(_, job): &(u32, JobRecord)| u128::from(job.current) + u128::from(job.abandoned);
        let (found, live) = (jobs.iter().map(has).sum::<u128>(), self.head()?.live);
        if found != u128::from(live) {
            let why = format!("they have {found} checkpoints, the store's head counts {live}");
            return Err(Error::corrupt("the records of the jobs", why));
        }
        Ok(jobs)
    }

    /// Shows every interned name, or what is wrong with its record.
    pub(crate) fn names(self, visit: &mut dyn FnMut(u64, Result<String>)) -> Result<()> {
        let tag = self.0.tag();
        self.0
            .record_range(TableCode::Names, (0, u64::MAX), false, &mut |key, bytes| {
                let record = NameRecord::from_bytes(tag, &key.to_be_bytes(), bytes);
                let named = record.map(|record| record.text);
                visit(key, named.map_err(|e| e.of(format!("name number {key}"))));
                Ok(ControlFlow::Continue(()))
            })
    }

    /// The interned name with this number.
    pub(crate) fn name(self, number: u32) -> Result<Option<String>> {
        let what = || format!("name number {number}");
        let record = self.get::<NameRecord>(u64::from(number), what)?;
        Ok(record.map(|record| record.text))
    }

    /// The number of an interned name.
    pub(crate) fn name_number(self, text: &str) -> Result<Option<u32>> {
        let Some(number) = self.0.name_number(&name_hash(text))? else {
            return Ok(None);
        };
        match self.get::<NameRecord>(u64::from(number), || format!("name number {number}"))? {
            Some(record) if record.text == text => Ok(Some(number)),
            _ => Err(Error::corrupt(
                format!("name `{text}`"),
                "its number leads to another name",
            )),
        }
    }
}

fn name_hash(text: &str) -> [u8; 16] {
    let mut short = [0; 16];
    for (to, from) in short
        .iter_mut()
        .zip(blake3::hash(text.as_bytes()).as_bytes())
    {
        *to = *from;
    }
    short
}

/// A change to the store: one transaction's records, with the head that they lead to.
pub(crate) struct Change<'t> {
    rows: &'t mut dyn Writes,
    head: Head,
    at: i64,
}

impl<'t> Change<'t> {
    /// The first change of a new store.
    pub(crate) fn first(rows: &'t mut dyn Writes, at: i64) -> Self {
        let head = Head {
            last: 0,
            count: 0,
            chain: crate::format::NO_PREVIOUS,
            live: 0,
            next_chunk: 1,
            next_name: 1,
            next_job: 1,
            lost: 0,
            bundle: 0,
        };
        Self { rows, head, at }
    }

    /// A change to a store whose head record is made anew.
    pub(crate) fn over(rows: &'t mut dyn Writes, head: Head, at: i64) -> Self {
        Self { rows, head, at }
    }

    /// A change to the store as it stands.
    pub(crate) fn begin(rows: &'t mut dyn Writes, at: i64) -> Result<Self> {
        let head = Records(rows).sound_head()?;
        Ok(Self { rows, head, at })
    }

    /// Records the head. Without this the change must not be committed.
    pub(crate) fn finish(self) -> Result<()> {
        put(self.rows, Head::KEY, &self.head, "the store's head record")
    }

    /// The time of the change.
    pub(crate) const fn at(&self) -> i64 {
        self.at
    }

    /// Sets the time that log records get from here on.
    pub(crate) const fn set_time(&mut self, at: i64) {
        self.at = at;
    }

    /// How many rows are known to have lost their bytes.
    pub(crate) const fn lost(&self) -> u64 {
        self.head.lost
    }

    /// Records how many rows have lost their bytes.
    pub(crate) const fn set_lost(&mut self, lost: u64) {
        self.head.lost = lost;
    }

    /// Gives out no job number below this one any more.
    pub(crate) fn next_jobs_from(&mut self, number: u32) {
        self.head.next_job = self.head.next_job.max(number);
    }

    /// Typed reads, this change's own writes included.
    pub(crate) fn records(&self) -> Records<'_> {
        Records(self.rows)
    }

    /// The rows themselves.
    pub(crate) fn rows(&mut self) -> &mut dyn Writes {
        self.rows
    }

    /// The id that the next log record will have.
    pub(crate) const fn next_id(&self) -> u64 {
        self.head.last + 1
    }

    /// Adds to the number of live checkpoints.
    pub(crate) fn count_live(&mut self, by: i64) -> Result<()> {
        self.head.live = self.head.live.checked_add_signed(by).ok_or_else(|| {
            Error::corrupt(
                "the store's head record",
                "its count of checkpoints is too small",
            )
        })?;
        Ok(())
    }

    /// A number for a new chunk.
    pub(crate) const fn next_chunk(&mut self) -> u64 {
        self.head.next_chunk += 1;
        self.head.next_chunk - 1
    }

    /// The bundle that frames go to; 0 for none.
    pub(crate) const fn bundle(&self) -> u64 {
        self.head.bundle
    }

    /// Sets the bundle that frames go to.
    pub(crate) const fn set_bundle(&mut self, number: u64) {
        self.head.bundle = number;
    }

    /// A number for a new job.
    pub(crate) const fn next_job(&mut self) -> u32 {
        self.head.next_job += 1;
        self.head.next_job - 1
    }

    /// Appends to the log.
    pub(crate) fn log(&mut self, action: Action) -> Result<u64> {
        let id = self.next_id();
        let record = LogRecord {
            at: self.at,
            previous: self.head.chain,
            action,
        };
        let bytes = record
            .to_bytes(self.rows.tag(), &id.to_be_bytes())
            .map_err(|error| error.of(format!("log record {id}")))?;
        self.rows.put_record(TableCode::Log, id, &bytes)?;
        self.head.chain = LogRecord::chain(&bytes);
        self.head.last = id;
        self.head.count += 1;
        Ok(id)
    }

    /// The number of a name, which is given one if it has none.
    pub(crate) fn intern(&mut self, text: &str) -> Result<u32> {
        if let Some(number) = self.records().name_number(text)? {
            return Ok(number);
        }
        let number = self.head.next_name;
        self.head.next_name += 1;
        let record = NameRecord {
            text: text.to_owned(),
        };
        put(self.rows, u64::from(number), &record, "a name")?;
        self.rows.put_name_number(&name_hash(text), number)?;
        Ok(number)
    }

    /// Puts a checkpoint's record.
    pub(crate) fn put_checkpoint(&mut self, id: u64, record: &CheckpointRecord) -> Result<()> {
        let mut record = record.clone();
        record.later.stamp = self.stamp();
        put(self.rows, id, &record, "a checkpoint")
    }

    /// Puts a row of telemetry.
    pub(crate) fn put_telemetry(&mut self, key: u64, record: &TelemetryRecord) -> Result<()> {
        put(self.rows, key, record, "telemetry")
    }

    /// Removes a row of telemetry.
    pub(crate) fn drop_telemetry(&mut self, key: u64) -> Result<()> {
        self.rows.remove_record(TableCode::Telemetry, key)
    }

    /// Removes a checkpoint's record.
    pub(crate) fn drop_checkpoint(&mut self, id: u64) -> Result<()> {
        self.rows.remove_record(TableCode::Checkpoints, id)
    }

    /// Puts a job's record.
    pub(crate) fn put_job(&mut self, number: u32, record: &JobRecord) -> Result<()> {
        let record = JobRecord {
            stamp: self.stamp(),
            ..record.clone()
        };
        put(self.rows, u64::from(number), &record, "a job")
    }

    /// What a record that is put now says of when that was.
    fn stamp(&self) -> Stamp {
        Stamp::new(self.head.last, &self.head.chain)
    }
}

fn put<T: Record>(rows: &mut dyn Writes, key: u64, record: &T, what: &str) -> Result<()> {
    let too_large = |error: Malformed| match error.of(what) {
        // A record that breaks a limit was not read from the store: the caller asked for it.
        Error::Corrupt { what, why } => Error::invalid(what, why),
        other => other,
    };
    let bytes = record
        .to_bytes(rows.tag(), &key.to_be_bytes())
        .map_err(too_large)?;
    rows.put_record(T::TABLE, key, &bytes)
}

#[cfg(test)]
mod tests {
    use super::super::testing::{engine, write};
    use super::*;
    use crate::format::Stamp;
    use crate::storage::Engine;

    /// A store with three log records and a name.
    fn with_records() -> Engine {
        engine(|change| {
            for job in 1..=3 {
                change.log(Action::DeleteJob { job })?;
            }
            change.intern("sharpe").map(drop)
        })
    }

    /// What is said of a head that was altered.
    fn with_head(alter: impl FnOnce(&mut Head)) -> Result<Head> {
        let engine = with_records();
        let mut head = engine.read(|rows| Records(rows).sound_head()).unwrap();
        alter(&mut head);
        write(&engine, |rows| put(rows, Head::KEY, &head, "the head"));
        engine.read(|rows| Records(rows).sound_head())
    }

    #[test]
    fn a_head_that_is_not_where_the_log_ends_is_not_believed() {
        assert_eq!(with_head(|_| {}).unwrap().last, 3);
        let told = |head: Result<Head>| head.unwrap_err().to_string();
        let other = told(with_head(|head| head.chain = [9; 32]));
        assert!(other.contains("the log does not lead to it"), "{other}");
        let beyond = told(with_head(|head| head.last = 4));
        assert!(beyond.contains("the log does not lead to it"), "{beyond}");
        let older = told(with_head(|head| {
            (head.last, head.count, head.chain) = (0, 0, crate::format::NO_PREVIOUS);
        }));
        assert!(older.contains("the log goes on beyond it"), "{older}");
    }

    #[test]
    fn a_row_of_a_job_s_name_that_leads_to_another_job_is_damage() {
        let engine = with_records();
        let named = |name: &str| engine.read(|rows| Records(rows).job_named(name));
        let put_job = |name: &str, removed| {
            write(&engine, |rows| {
                let mut change = Change::begin(rows, 0)?;
                let job = JobRecord {
                    removed,
                    ..JobRecord::new(name.to_owned(), 0)
                };
                change.put_job(7, &job)?;
                let number = change.intern("NQ")?;
                let id = crate::id::CheckpointId::new(0);
                let row = IndexKey::new(IndexKind::JobName, 0, number, 7, id);
                change.rows().set_index(row, true)?;
                change.finish()
            });
        };
        put_job("NQ", false);
        assert_eq!(named("NQ").unwrap().unwrap().0, 7);
        put_job("ES", false);
        assert!(matches!(named("NQ"), Err(Error::Corrupt { .. })));
        put_job("NQ", true);
        assert!(matches!(named("NQ"), Err(Error::Corrupt { .. })));
    }

    #[test]
    fn a_name_whose_number_is_another_names_is_damage() {
        let engine = with_records();
        let number = |text: &str| engine.read(|rows| Records(rows).name_number(text));
        assert_eq!(number("sharpe").unwrap(), Some(1));
        assert_eq!(number("loss").unwrap(), None);
        write(&engine, |rows| rows.put_name_number(&name_hash("loss"), 1));
        assert!(matches!(number("loss"), Err(Error::Corrupt { .. })));
        write(&engine, |rows| rows.put_name_number(&name_hash("loss"), 5));
        assert!(matches!(number("loss"), Err(Error::Corrupt { .. })));
    }

    #[test]
    fn numbers_are_given_out_from_one_on_and_a_record_says_when_it_was_written() {
        let engine = with_records();
        write(&engine, |rows| {
            let mut change = Change::begin(rows, 5)?;
            assert_eq!((change.at(), change.next_id()), (5, 4));
            assert_eq!((change.next_chunk(), change.next_chunk()), (1, 2));
            assert_eq!((change.next_job(), change.next_job()), (1, 2));
            change.next_jobs_from(2);
            assert_eq!(change.next_job(), 3);
            change.next_jobs_from(9);
            assert_eq!(change.next_job(), 9);
            assert_eq!(change.lost(), 0);
            change.set_lost(7);
            change.set_time(77);
            assert_eq!(change.log(Action::DeleteJob { job: 4 })?, 4);
            change.put_job(1, &JobRecord::new("NQ".to_owned(), 0))?;
            change.finish()
        });
        let read = |rows: &dyn Rows| {
            let records = Records(rows);
            let (head, log) = (records.sound_head()?, records.log(4)?.unwrap());
            Ok((head, log, records.known_job(1)?))
        };
        let (head, log, job) = engine.read(read).unwrap();
        assert_eq!((head.last, head.count, head.lost), (4, 4, 7));
        assert_eq!((head.next_chunk, head.next_job), (3, 10));
        assert_eq!(log.at, 77);
        assert_eq!(job.stamp, Stamp::new(4, &head.chain));
    }
}
