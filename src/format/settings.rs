//! The records that there are few of: the store's identity and head, jobs, names.

use serde::{Deserialize, Serialize};

use super::envelope::TableCode;
use super::limits::MAX_NUMBER;
use super::malformed::Malformed;
use super::stamp::Stamp;
use super::wire::Record;

/// What a store is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Identity {
    pub(crate) format: u32,
    pub(crate) store: [u8; 16],
    pub(crate) created_at: i64,
    pub(crate) writer: String,
}

impl Identity {
    /// Its key in `settings`.
    pub(crate) const KEY: u64 = 1;
}

impl Record for Identity {
    const TABLE: TableCode = TableCode::Settings;
}

/// Where a store stands: the anchor of the log, and the next numbers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Head {
    pub(crate) last: u64,
    pub(crate) count: u64,
    pub(crate) chain: [u8; 32],
    pub(crate) live: u64,
    pub(crate) next_chunk: u64,
    pub(crate) next_name: u32,
    pub(crate) next_job: u32,
    /// Nodes and chunks whose bytes the last repair found lost. While there are any, saves look
    /// whether they can bring some of them back.
    pub(crate) lost: u64,
    /// The bundle that frames go to as long as there is room; 0 for none.
    pub(crate) bundle: u64,
}

impl Head {
    /// Its key in `settings`.
    pub(crate) const KEY: u64 = 2;
}

impl Record for Head {
    const TABLE: TableCode = TableCode::Settings;

    fn check(&self) -> Result<(), Malformed> {
        for (what, number) in [
            ("its last log record", self.last),
            ("its chunks", self.next_chunk),
        ] {
            if number > MAX_NUMBER {
                let limit = format!("at most {MAX_NUMBER}");
                return Err(Malformed::field(what, limit, number));
            }
        }
        Ok(())
    }
}

/// A checkpoint as the head of a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct HeadMark {
    pub(crate) id: u64,
    pub(crate) iteration: u64,
    pub(crate) at: i64,
}

/// What a job knows of a metric.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct MetricRecord {
    pub(crate) name: String,
    /// Whether larger is better; none while undeclared.
    pub(crate) larger: Option<bool>,
    /// Bits of the best value on the current line, and whose it is.
    pub(crate) best: Option<(u64, u64)>,
}

/// The sessions of a job.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct SessionsRecord {
    /// The one that runs, as far as is known.
    pub(crate) open: Option<u64>,
    /// Head when one completed last.
    pub(crate) completed_head: Option<u64>,
    pub(crate) started: u64,
    pub(crate) completed: u64,
    pub(crate) failed: u64,
    pub(crate) interrupted: u64,
    pub(crate) vanished: u64,
    /// Those that went on from a checkpoint.
    pub(crate) resumed: u64,
    /// Those of them that had to pass over newer ones.
    pub(crate) fell_back: u64,
    pub(crate) lost_iterations: u64,
    pub(crate) lost_millis: u64,
}

impl SessionsRecord {
    /// A session began.
    pub(crate) const fn start(
        &mut self,
        session: u64,
        resumed: Option<u64>,
        skipped: u32,
        (iterations, millis): (u64, u64),
    ) {
        self.open = Some(session);
        self.started += 1;
        self.resumed += resumed.is_some() as u64;
        self.fell_back += (skipped > 0) as u64;
        self.lost_iterations = self.lost_iterations.saturating_add(iterations);
        self.lost_millis = self.lost_millis.saturating_add(millis);
    }

    /// A session ended; one that is not the open one was counted when the next began.
    pub(crate) fn end(&mut self, session: u64, outcome: u8, head: Option<u64>) {
        if outcome == Self::COMPLETED {
            self.completed_head = self.completed_head.max(head);
        }
        if self.open != Some(session) {
            return;
        }
        self.open = None;
        match outcome {
            Self::COMPLETED => self.completed += 1,
            Self::FAILED => self.failed += 1,
            Self::INTERRUPTED => self.interrupted += 1,
            _ => self.vanished += 1,
        }
    }

    /// Codes of outcomes.
    pub(crate) const COMPLETED: u8 = 1;
    pub(crate) const FAILED: u8 = 2;
    pub(crate) const INTERRUPTED: u8 = 3;
    pub(crate) const VANISHED: u8 = 4;
}

/// A job.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct JobRecord {
    pub(crate) name: String,
    pub(crate) created_at: i64,
    pub(crate) removed: bool,
    pub(crate) head: Option<HeadMark>,
    pub(crate) current: u64,
    pub(crate) abandoned: u64,
    pub(crate) deleted: u64,
    pub(crate) bytes: u64,
    pub(crate) new_bytes: u64,
    pub(crate) metrics: Vec<MetricRecord>,
    pub(crate) main_metric: Option<String>,
    /// The newest checkpoint that was read back and found good.
    pub(crate) good: Option<u64>,
    /// The telemetry segment that is appended to, by its key.
    pub(crate) segment: Option<u64>,
    pub(crate) sessions: SessionsRecord,
    pub(crate) stamp: Stamp,
}

impl JobRecord {
    /// A job without checkpoints.
    pub(crate) fn new(name: String, created_at: i64) -> Self {
        Self {
            name,
            created_at,
            removed: false,
            head: None,
            current: 0,
            abandoned: 0,
            deleted: 0,
            bytes: 0,
            new_bytes: 0,
            metrics: Vec::new(),
            main_metric: None,
            good: None,
            segment: None,
            sessions: SessionsRecord::default(),
            stamp: Stamp::default(),
        }
    }
}

impl Record for JobRecord {
    const TABLE: TableCode = TableCode::Jobs;
}

/// An interned name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct NameRecord {
    pub(crate) text: String,
}

impl Record for NameRecord {
    const TABLE: TableCode = TableCode::Names;
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::{NO_PREVIOUS, StoreTag};

    #[test]
    fn a_head_whose_numbers_can_not_be_counted_on_is_refused() {
        let head = |last, next_chunk| Head {
            last,
            count: last,
            chain: NO_PREVIOUS,
            live: 0,
            next_chunk,
            next_name: 1,
            next_job: 1,
            lost: 0,
            bundle: 0,
        };
        let key = Head::KEY.to_be_bytes();
        let tag = StoreTag::NONE;
        for (last, next_chunk, is_sound) in [
            (0, 1, true),
            (MAX_NUMBER, MAX_NUMBER, true),
            (MAX_NUMBER + 1, 1, false),
            (u64::MAX, 1, false),
            (1, MAX_NUMBER + 1, false),
        ] {
            let written = head(last, next_chunk).to_bytes(tag, &key);
            let read = written.and_then(|bytes| Head::from_bytes(tag, &key, &bytes));
            assert_eq!(read.is_ok(), is_sound, "{last} {next_chunk}");
        }
    }
}
