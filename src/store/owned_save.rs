//! A save whose bytes are its own, so that training can go on while they are stored.

use std::collections::BTreeMap;
use std::io::Read;

use super::body::{Part, Source, check_length, reading};
use super::request::Request;
use super::save::perform;
use crate::error::Result;
use crate::format::KindRecord;
use crate::store::{Job, Save, Saved};
use crate::telemetry::Batch;

/// A checkpoint about to be saved, in memory. It can be sent to another thread, and saved again
/// after an error.
#[derive(Clone, Debug)]
pub struct OwnedSave {
    job: Job,
    parts: BTreeMap<String, (KindRecord, Vec<u8>)>,
    request: Request,
}

impl Save<'_> {
    /// Copies everything that it refers to. Costs the bytes of all entries, in memory and in time
    /// (a memory copy).
    ///
    /// # Errors
    /// As [`Save::commit`] for the first part that can't be accepted, and from readers.
    pub fn into_owned(self) -> Result<OwnedSave> {
        let (job, parts, request) = self.into_parts()?;
        let mut owned = BTreeMap::new();
        for (name, part) in parts {
            let bytes = match part.source {
                Source::Bytes(bytes) => bytes.into_owned(),
                Source::View(view) => view.data().into_owned(),
                Source::Reader(reader) => {
                    // One byte more than fits is enough to notice; an endless reader must end.
                    let most = part.bytes.map_or(u64::MAX, |bytes| bytes.saturating_add(1));
                    let mut bytes = Vec::new();
                    let read = reader.take(most).read_to_end(&mut bytes);
                    read.map_err(|error| reading(&name, error))?;
                    bytes
                }
            };
            check_length(&name, part.bytes, bytes.len() as u64)?;
            owned.insert(name, (part.kind, bytes));
        }
        Ok(OwnedSave {
            job,
            parts: owned,
            request,
        })
    }
}

impl OwnedSave {
    /// [`Save::commit`].
    ///
    /// # Errors
    /// As [`Save::commit`].
    pub fn commit(&self) -> Result<Saved> {
        perform(&self.job, self.borrowed(), &self.request)
    }

    fn borrowed(&self) -> BTreeMap<String, Part<'_>> {
        let parts = self.parts.iter().map(|(name, (kind, bytes))| {
            let part = Part {
                kind: kind.clone(),
                // It was checked when they were copied.
                bytes: None,
                source: Source::Bytes(bytes.as_slice().into()),
            };
            (name.clone(), part)
        });
        parts.collect()
    }

    /// [`Save::commit`] with these points of telemetry in the place of its own.
    pub(crate) fn commit_with(&self, telemetry: Batch) -> Result<Saved> {
        let request = Request {
            telemetry: Some(telemetry),
            ..self.request.clone()
        };
        perform(&self.job, self.borrowed(), &request)
    }

    /// Bytes of all entries.
    pub fn bytes(&self) -> u64 {
        self.parts
            .values()
            .map(|(_, bytes)| bytes.len() as u64)
            .sum()
    }
}
