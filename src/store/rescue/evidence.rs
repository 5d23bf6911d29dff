//! What is left of a store's records, every version of them that still verifies.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;

use crate::error::Result;
use crate::format::{
    CheckpointRecord, Head, Identity, JobRecord, LogRecord, Record, Stamp, StoreTag, TableCode,
    TelemetryRecord,
};
use crate::id::{CheckpointId, StoreId};
use crate::storage::{Records, Rows};

/// A version of a log record.
#[derive(Clone, Debug)]
pub(super) struct Logged {
    /// Whether it stands in its table, rather than only somewhere in the file.
    pub(super) is_in_table: bool,
    pub(super) hash: [u8; 32],
    pub(super) record: LogRecord,
}

/// The records of one store. Of what was written several times, several versions may be found: in
/// pages that the engine has left, or in those of a commit that never came to be.
#[derive(Clone, Debug)]
pub(super) struct Evidence {
    pub(super) store: StoreId,
    pub(super) identity: Option<Identity>,
    /// Where the store stood, from its tables. Without them, the log itself must say.
    pub(super) head: Option<Head>,
    pub(super) log: BTreeMap<u64, Vec<Logged>>,
    pub(super) checkpoints: BTreeMap<u64, Vec<CheckpointRecord>>,
    pub(super) jobs: BTreeMap<u32, Vec<JobRecord>>,
    pub(super) telemetry: BTreeMap<u64, Vec<TelemetryRecord>>,
    /// Checkpoints that the table has a row of, whatever is in it.
    pub(super) rows: BTreeSet<u64>,
    /// Whether the tables could be read: what they say then goes before what lies elsewhere.
    pub(super) has_tables: bool,
    /// The largest chunk number that was found anywhere in the file.
    pub(super) last_chunk: u64,
    pub(super) records: u64,
}

impl Evidence {
    pub(super) const fn new(store: StoreId) -> Self {
        Self {
            store,
            identity: None,
            head: None,
            log: BTreeMap::new(),
            checkpoints: BTreeMap::new(),
            jobs: BTreeMap::new(),
            telemetry: BTreeMap::new(),
            rows: BTreeSet::new(),
            has_tables: false,
            last_chunk: 0,
            records: 0,
        }
    }

    /// The records in the tables. What does not verify is not among them.
    pub(super) fn of_tables(rows: &dyn Rows, store: StoreId) -> Result<Self> {
        let mut found = Self::new(store);
        found.has_tables = true;
        // Where the log's last record is lost, the head still says what it was.
        let head = Records(rows).head().ok();
        found.head = match head {
            Some(head) => {
                let next = rows.record(TableCode::Log, head.last + 1)?;
                next.is_none().then_some(head)
            }
            None => None,
        };
        for table in [
            TableCode::Settings,
            TableCode::Log,
            TableCode::Checkpoints,
            TableCode::Jobs,
            TableCode::Telemetry,
        ] {
            rows.record_range(table, (0, u64::MAX), false, &mut |key, bytes| {
                if table == TableCode::Checkpoints {
                    found.rows.insert(key);
                }
                found.take(table, key, bytes);
                Ok(ControlFlow::Continue(()))
            })?;
        }
        Ok(found)
    }

    /// Takes in what was found elsewhere. The tables stay what the tables were.
    pub(super) fn join(&mut self, other: Self) {
        for (id, versions) in other.log {
            let known = self.log.entry(id).or_default();
            for version in versions {
                if known.iter().all(|known| known.hash != version.hash) {
                    known.push(version);
                }
            }
        }
        for (id, versions) in other.checkpoints {
            extend(self.checkpoints.entry(id).or_default(), versions);
        }
        for (number, versions) in other.jobs {
            extend(self.jobs.entry(number).or_default(), versions);
        }
        self.records += other.records;
    }

    /// Takes a record in, if it is one. Versions that say the same are one.
    pub(super) fn take(&mut self, table: TableCode, key: u64, bytes: &[u8]) {
        let tag = StoreTag::of(self.store);
        let name = key.to_be_bytes();
        self.records += 1;
        match table {
            TableCode::Settings if key == Identity::KEY => {
                let read = Identity::from_bytes(tag, &name, bytes).ok();
                self.identity = self.identity.take().or(read);
            }
            TableCode::Log => {
                let hash = LogRecord::chain(bytes);
                let known = self.log.entry(key).or_default();
                if let Ok(record) = LogRecord::from_bytes(tag, &name, bytes)
                    && known.iter().all(|other| other.hash != hash)
                {
                    known.push(Logged {
                        is_in_table: self.has_tables,
                        hash,
                        record,
                    });
                }
            }
            TableCode::Checkpoints => {
                let Ok(record) = CheckpointRecord::from_bytes(tag, &name, bytes) else {
                    return;
                };
                let id = CheckpointId::new(key);
                let content = record.saved.content_hash(self.store, id);
                let vouched = content.is_ok_and(|hash| *hash.as_bytes() == record.content);
                let known = self.checkpoints.entry(key).or_default();
                if vouched {
                    extend(known, [record]);
                }
            }
            TableCode::Jobs => {
                let read = JobRecord::from_bytes(tag, &name, bytes);
                if let (Ok(number), Ok(record)) = (u32::try_from(key), read) {
                    extend(self.jobs.entry(number).or_default(), [record]);
                }
            }
            TableCode::Telemetry => {
                if let Ok(record) = TelemetryRecord::from_bytes(tag, &name, bytes) {
                    extend(self.telemetry.entry(key).or_default(), [record]);
                }
            }
            TableCode::Settings | TableCode::Names => {}
        }
    }
}

fn extend<T: PartialEq>(known: &mut Vec<T>, versions: impl IntoIterator<Item = T>) {
    for version in versions {
        if !known.contains(&version) {
            known.push(version);
        }
    }
}

/// Of several versions of a record, the latest that `is_known` accepts.
pub(super) fn latest<T: Clone>(
    versions: &[T],
    stamp: impl Fn(&T) -> Stamp,
    is_known: impl Fn(Stamp) -> bool,
) -> Option<T> {
    // Of equally late ones the first: those of the tables come first.
    let versions = versions.iter().rev();
    versions
        .filter(|version| is_known(stamp(version)))
        .max_by_key(|version| stamp(version).log)
        .cloned()
}
