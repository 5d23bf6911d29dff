//! The bytes of an entry on their way in, from wherever the caller has them.

use std::borrow::Cow;
use std::io::{self, Read};

use safetensors::View;

use super::bases::Place;
use super::ingest::Ingest;
use super::manifest::{Body, texture_of};
use crate::codec::Texture;
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
        Source::Bytes(bytes) => body_of_slice(ingest, name, &bytes, texture),
        Source::View(view) => body_of_slice(ingest, name, &view.data(), texture),
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
            let mut chunks = Vec::new();
            while !buffer.is_empty() {
                read_up_to(&mut reader, buffer, MAX_CHUNK_BYTES).map_err(failed)?;
                let place = Place::Chunk(name, chunks.len() as u64);
                chunks.push(ingest.chunk(buffer, texture, place)?);
                let last = buffer.len() < MAX_CHUNK_BYTES;
                buffer.clear();
                if !last {
                    // Only the next byte tells whether there is another chunk.
                    read_up_to(&mut reader, buffer, 1).map_err(failed)?;
                }
            }
            Ok(Body::Large(chunks))
        }
    }
}

fn body_of_slice(
    ingest: &mut Ingest<'_>,
    name: &str,
    bytes: &[u8],
    texture: Texture,
) -> Result<Body> {
    if bytes.len() < SMALL_ENTRY_BYTES {
        return Ok(Body::Small(bytes.to_vec()));
    }
    let chunks = (0..).zip(bytes.chunks(MAX_CHUNK_BYTES));
    let chunks =
        chunks.map(|(index, chunk)| ingest.chunk(chunk, texture, Place::Chunk(name, index)));
    chunks.collect::<Result<_>>().map(Body::Large)
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
