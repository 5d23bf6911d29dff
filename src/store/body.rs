//! The bytes of an entry on their way in, from wherever the caller has them.

use std::borrow::Cow;
use std::io::{self, Read};

use safetensors::View;

use super::bases::{ChunkPlace, Place};
use super::ingest::Ingest;
use super::manifest::{Body, texture_of};
use crate::chunking::FileCutter;
use crate::error::{Error, Result};
use crate::format::{KindRecord, MAX_CHUNK_BYTES, SMALL_ENTRY_BYTES};
use crate::name::printable;

/// Where an entry's bytes come from.
pub(super) enum Source<'a> {
    Bytes(Cow<'a, [u8]>),
    View(Box<dyn View + 'a>),
    Reader(Box<dyn Read + 'a>),
}

/// An entry that is to be saved.
pub(super) struct Part<'a> {
    pub(super) kind: KindRecord,
    /// The length that the bytes must have, where it is known before they come.
    pub(super) bytes: Option<u64>,
    pub(super) source: Source<'a>,
}

/// Reads an entry's bytes: short ones whole, longer ones chunk by chunk through `buffer`.
pub(super) fn body_of(
    ingest: &mut Ingest<'_>,
    name: &str,
    kind: &KindRecord,
    expected: Option<u64>,
    source: Source<'_>,
    buffer: &mut Vec<u8>,
) -> Result<Body> {
    let texture = texture_of(kind);
    match source {
        Source::Bytes(bytes) => body_of_slice(ingest, name, kind, &bytes),
        Source::View(view) => body_of_slice(ingest, name, kind, &view.data()),
        Source::Reader(reader) => {
            // One byte more than fits is enough to notice; an endless reader must end.
            let most = expected.map_or(u64::MAX, |bytes| bytes.saturating_add(1));
            let mut reader = reader.take(most);
            let failed = |error| reading(name, error);
            buffer.clear();
            read_up_to(&mut reader, buffer, SMALL_ENTRY_BYTES).map_err(failed)?;
            if buffer.len() < SMALL_ENTRY_BYTES {
                return Ok(Body::Small(buffer.clone()));
            }
            let mut cuts = Cuts::new(name, kind);
            let mut chunks = Vec::new();
            loop {
                read_up_to(&mut reader, buffer, MAX_CHUNK_BYTES).map_err(failed)?;
                if buffer.is_empty() {
                    return Ok(Body::Large(chunks));
                }
                let place = cuts.next(buffer);
                chunks.push(ingest.chunk(&buffer[..place.bytes], texture, Place::Chunk(place))?);
                buffer.drain(..place.bytes);
            }
        }
    }
}

fn body_of_slice(
    ingest: &mut Ingest<'_>,
    name: &str,
    kind: &KindRecord,
    bytes: &[u8],
) -> Result<Body> {
    if bytes.len() < SMALL_ENTRY_BYTES {
        return Ok(Body::Small(bytes.to_vec()));
    }
    let mut cuts = Cuts::new(name, kind);
    let (mut rest, mut chunks) = (bytes, Vec::new());
    while !rest.is_empty() {
        let place = cuts.next(rest);
        let (chunk, after) = rest.split_at(place.bytes);
        chunks.push(ingest.chunk(chunk, texture_of(kind), Place::Chunk(place))?);
        rest = after;
    }
    Ok(Body::Large(chunks))
}

/// Cuts an entry into chunks, from its first byte to its last.
struct Cuts<'a> {
    next: ChunkPlace<'a>,
    /// Of a file; what else there is is cut on a grid.
    file: Option<FileCutter>,
}

impl<'a> Cuts<'a> {
    fn new(entry: &'a str, kind: &KindRecord) -> Self {
        let is_file = *kind == KindRecord::File;
        Self {
            next: ChunkPlace {
                entry,
                index: 0,
                start: 0,
                bytes: 0,
            },
            file: is_file.then(|| FileCutter::new(MAX_CHUNK_BYTES)),
        }
    }

    /// The next chunk. `rest` is what is left of the entry, or as much of it as a chunk may have.
    fn next(&mut self, rest: &[u8]) -> ChunkPlace<'a> {
        let bytes = match &mut self.file {
            Some(cutter) => cutter.next(rest),
            None => rest.len().min(MAX_CHUNK_BYTES),
        };
        let place = ChunkPlace { bytes, ..self.next };
        self.next.index += 1;
        self.next.start += bytes as u64;
        place
    }
}

/// Fills `buffer` up to `len` bytes, or to the reader's end.
fn read_up_to(reader: &mut dyn Read, buffer: &mut Vec<u8>, len: usize) -> io::Result<()> {
    let missing = len.saturating_sub(buffer.len());
    reader.take(missing as u64).read_to_end(buffer).map(drop)
}

/// An error of a caller's reader.
pub(super) fn reading(name: &str, source: io::Error) -> Error {
    Error::Io {
        operation: "reading the bytes of entry".to_owned(),
        path: printable(name).into(),
        source,
    }
}

impl Body {
    /// How many bytes came.
    pub(super) fn len(&self) -> u64 {
        match self {
            Self::Small(data) => data.len() as u64,
            Self::Large(chunks) => chunks.iter().map(|chunk| u64::from(chunk.raw_len)).sum(),
        }
    }
}

/// The bytes that came are as many as a tensor's shape takes.
pub(super) fn check_length(name: &str, expected: Option<u64>, found: u64) -> Result<()> {
    match expected {
        Some(expected) if expected != found => {
            let why = format!("its shape takes {expected} bytes, {found} came");
            Err(Error::invalid(format!("tensor `{}`", printable(name)), why))
        }
        _ => Ok(()),
    }
}
