//! A checkpoint's handle: what it is, what it holds, and what can be changed about it.

use std::collections::BTreeMap;
use std::io::Write;
use std::ops::{Deref, Range};
use std::sync::Arc;

use bytes::Bytes;

use super::check;
use super::read;
use super::source::Source;
use crate::checkpoint::{CheckpointInfo, EntryInfo, EntryKind};
use crate::error::{Error, Result};
use crate::event::Event;
use crate::format::CheckpointRecord;
use crate::id::{CheckpointId, ContentHash};
use crate::name::printable;
use crate::store::Store;
use crate::tensor::Tensor;
use crate::time::Timestamp;

/// A checkpoint of a store: its description ([`CheckpointInfo`], by `Deref`) as it was when the
/// handle was got, and its entries, read when they are asked for. Every byte that it gives is
/// verified.
///
/// A handle holds nothing open. When its checkpoint is deleted and reclaimed meanwhile, reads say
/// [`Error::Deleted`].
#[derive(Clone, Debug)]
pub struct Checkpoint {
    store: Store,
    record: Arc<CheckpointRecord>,
    info: CheckpointInfo,
}

impl Deref for Checkpoint {
    type Target = CheckpointInfo;

    fn deref(&self) -> &CheckpointInfo {
        &self.info
    }
}

impl Checkpoint {
    pub(super) fn new(store: Store, id: u64, record: CheckpointRecord, job: String) -> Self {
        let later = &record.later;
        let text = |(name, value): (&str, &str)| (name.to_owned(), value.to_owned());
        let info = CheckpointInfo {
            id: CheckpointId::new(id),
            job,
            iteration: record.saved.iteration,
            saved_at: Timestamp::from_millis(record.saved.saved_at),
            parent: record.saved.parent.map(CheckpointId::new),
            forked_from: later.progress.source.map(CheckpointId::new),
            events: record.events().into_iter().map(known_event).collect(),
            metrics: record
                .metrics()
                .map(|(name, value)| (name.to_owned(), value))
                .collect(),
            attributes: record.attributes().map(text).collect(),
            tags: later.tags.iter().cloned().collect(),
            pinned: later.pinned,
            abandoned: later.abandoned,
            deleted_at: later.deleted.map(|mark| Timestamp::from_millis(mark.at)),
            content: ContentHash::new(record.content),
            entries: record.saved.entries,
            logical_bytes: record.saved.bytes,
            new_bytes: later.new_bytes,
        };
        Self {
            store,
            record: Arc::new(record),
            info,
        }
    }

    pub(super) const fn store(&self) -> &Store {
        &self.store
    }

    pub(super) fn record(&self) -> &CheckpointRecord {
        &self.record
    }

    pub(super) fn source(&self) -> Source<'_> {
        Source {
            store: &self.store,
            id: self.info.id,
            record: &self.record,
            job: &self.info.job,
        }
    }

    /// Its entries, sorted by name.
    ///
    /// # Errors
    /// [`Error::Corrupt`], [`Error::Deleted`], or from the disk; so for all reads.
    pub fn entries(&self) -> Result<Vec<EntryInfo>> {
        read::entries(self.source())
    }

    /// One entry. Costs O(log n) of its entries.
    ///
    /// # Errors
    /// [`Error::NotFound`] with the names that are near.
    pub fn entry(&self, name: &str) -> Result<EntryInfo> {
        read::entry(self.source(), name)
    }

    /// A tensor.
    ///
    /// # Errors
    /// [`Error::Invalid`] when the entry is none.
    pub fn tensor(&self, name: &str) -> Result<Tensor> {
        let (info, data) = read::whole(self.source(), name)?;
        match info.kind {
            EntryKind::Tensor { dtype, shape } => Ok(Tensor { dtype, shape, data }),
            other => Err(wrong_kind(name, &other, "tensor")),
        }
    }

    /// A JSON document. Its numbers are held as 64-bit integers or as `f64`; what has more digits
    /// is rounded, and [`Checkpoint::document_text`] has it to the letter.
    ///
    /// # Errors
    /// [`Error::Invalid`] when the entry is none, or has a number that is too large for `f64`.
    pub fn document(&self, name: &str) -> Result<serde_json::Value> {
        let text = self.document_text(name)?;
        serde_json::from_str(&text).map_err(|error| {
            let why = format!("it does not fit a JSON value ({error}); read its text");
            Error::invalid(format!("document `{}`", printable(name)), why)
        })
    }

    /// A JSON document's canonical text.
    ///
    /// # Errors
    /// [`Error::Invalid`] when the entry is none.
    pub fn document_text(&self, name: &str) -> Result<String> {
        let (info, data) = read::whole(self.source(), name)?;
        match info.kind {
            EntryKind::Document => String::from_utf8(data.into()).map_err(|error| {
                Error::corrupt(format!("document `{}`", printable(name)), error.to_string())
            }),
            other => Err(wrong_kind(name, &other, "document")),
        }
    }

    /// An entry's bytes, whatever its kind.
    ///
    /// # Errors
    /// As [`Checkpoint::entry`].
    pub fn read(&self, name: &str) -> Result<Bytes> {
        read::whole(self.source(), name).map(|(_, data)| data)
    }

    /// Some of an entry's bytes. Only the chunks that hold them are read.
    ///
    /// # Errors
    /// [`Error::Invalid`] when the range goes beyond the entry.
    pub fn read_range(&self, name: &str, range: Range<u64>) -> Result<Bytes> {
        read::range(self.source(), name, range)
    }

    /// An entry's bytes into a buffer of exactly its length.
    ///
    /// # Errors
    /// [`Error::Invalid`] when the buffer has another length. After an error its content is
    /// unspecified.
    pub fn read_into(&self, name: &str, out: &mut [u8]) -> Result<()> {
        read::into(self.source(), name, out)
    }

    /// Writes an entry's bytes, chunk by chunk, and returns their number. Nothing that is not
    /// verified is written, but an error can come after some of it.
    ///
    /// # Errors
    /// [`Error::Io`] or [`Error::Full`] when the writer fails.
    pub fn copy_to(&self, name: &str, out: &mut dyn Write) -> Result<u64> {
        read::copy(self.source(), name, out)
    }

    /// Reads every byte, to see that it can be loaded. Returns their number.
    ///
    /// # Errors
    /// [`Error::Corrupt`](crate::Error::Corrupt) names what is damaged.
    pub fn verify(&self) -> Result<u64> {
        check::check(self.source())
    }

    /// All entries in memory.
    ///
    /// # Errors
    /// As [`Checkpoint::entry`].
    pub fn load(&self) -> Result<BTreeMap<String, (EntryKind, Bytes)>> {
        read::all(self.source())
    }
}

/// An event of a record. Records are written from events alone.
fn known_event(text: &str) -> Event {
    text.parse()
        .unwrap_or_else(|_| Event::Custom(text.to_owned()))
}

fn wrong_kind(name: &str, found: &EntryKind, wanted: &str) -> Error {
    let what = format!("entry `{}`", printable(name));
    Error::invalid(what, format!("it is a {}, not a {wanted}", found.name()))
}
