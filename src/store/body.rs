//! The bytes of an entry on their way in, from wherever the caller has them.

use std::borrow::Cow;
use std::io::{self, Read};
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use safetensors::View;

use super::bases::Place;
use super::cutting::{Blocks, Cuts, Cutting, Take};
use super::intake::{Intake, Span};
use super::manifest::{Body, texture_of};
use super::pipeline::Raw;
use super::threads::BESIDE_BYTES;
use crate::error::{Error, Result};
use crate::format::{KindRecord, MAX_CHUNK_BYTES, SMALL_ENTRY_BYTES};
use crate::name::printable;
use crate::platform::FileSection;

/// Where an entry's bytes come from.
pub(super) enum Source<'a> {
    Bytes(Cow<'a, [u8]>),
    Shared(Bytes),
    View(Box<dyn View + 'a>),
    /// Of a file, where any of them can be had again.
    Section(FileSection),
    Reader(Box<dyn Read + 'a>),
}

/// An entry that is to be saved.
pub(super) struct Part<'a> {
    pub(super) kind: KindRecord,
    /// The length that the bytes must have, where it is known before they come.
    pub(super) bytes: Option<u64>,
    pub(super) source: Source<'a>,
}

/// The bytes of an entry that is to be taken in.
pub(super) enum Data<'e> {
    Bytes(&'e [u8]),
    View(&'e dyn View),
    Section(&'e FileSection),
    Reader(&'e mut dyn Read),
}

/// An entry that is to be taken in.
pub(super) struct Item<'e> {
    pub(super) name: &'e str,
    pub(super) kind: &'e KindRecord,
    /// As in [`Part`].
    pub(super) bytes: Option<u64>,
    pub(super) data: Data<'e>,
}

/// Bytes of which any can be had at any time: the caller's, made when they are asked for, or in a
/// file.
#[derive(Clone)]
pub(super) enum Reachable<'e> {
    Lent(&'e [u8]),
    Made(Arc<Vec<u8>>),
    Filed(FileSection),
}

impl<'e> Reachable<'e> {
    pub(super) fn len(&self) -> usize {
        match self {
            Self::Lent(bytes) => bytes.len(),
            Self::Made(bytes) => bytes.len(),
            Self::Filed(section) => section.len(),
        }
    }

    /// Some of them.
    pub(super) fn part(&self, name: &str, range: Range<usize>) -> Result<Raw<'e>> {
        Ok(match self {
            Self::Lent(bytes) => Raw::Lent(bytes.get(range).unwrap_or_default()),
            Self::Made(bytes) => Raw::Shared(Arc::clone(bytes), range),
            Self::Filed(section) => {
                Raw::Own(section.part(range).map_err(|error| reading(name, error))?)
            }
        })
    }
}

impl<'e> Item<'e> {
    pub(super) fn of<'p: 'e>((name, part): (&'e String, &'e mut Part<'p>)) -> Self {
        let (kind, bytes) = (&part.kind, part.bytes);
        let data = match &mut part.source {
            Source::Bytes(bytes) => Data::Bytes(bytes),
            Source::Shared(bytes) => Data::Bytes(bytes),
            Source::View(view) => Data::View(&**view),
            Source::Section(section) => Data::Section(section),
            Source::Reader(reader) => Data::Reader(reader),
        };
        Self {
            name,
            kind,
            bytes,
            data,
        }
    }

    /// How many bytes it has, as far as that is known.
    pub(super) fn len(&self) -> Option<u64> {
        match self.data {
            Data::Bytes(bytes) => Some(bytes.len() as u64),
            Data::Section(section) => Some(section.len() as u64),
            Data::View(_) | Data::Reader(_) => self.bytes,
        }
    }

    /// Its bytes, if any can be had at any time.
    pub(super) fn reachable(&self) -> Option<Reachable<'e>> {
        match self.data {
            Data::Bytes(bytes) => Some(Reachable::Lent(bytes)),
            Data::View(view) => Some(match view.data() {
                Cow::Borrowed(bytes) => Reachable::Lent(bytes),
                Cow::Owned(bytes) => Reachable::Made(Arc::new(bytes)),
            }),
            Data::Section(section) => Some(Reachable::Filed(section.clone())),
            Data::Reader(_) => None,
        }
    }
}

/// Takes in an entry's bytes: short ones whole, longer ones chunk by chunk.
pub(super) fn body_of<'e>(
    intake: &mut Intake<'_, '_, 'e>,
    item: Item<'e>,
    blocks: &mut Blocks,
) -> Result<Body> {
    let (name, kind) = (item.name, item.kind);
    let failed = |error| reading(name, error);
    let cuts = Cuts::new(name, kind);
    match item.data {
        // Where a file is cut depends on what is in it: it is read from its beginning.
        Data::Section(section) if *kind == KindRecord::File => {
            let cutting = Cutting::begin(section.clone(), cuts, blocks).map_err(failed)?;
            let is_long = section.len() >= BESIDE_BYTES && intake.may_start_threads();
            body_in(intake, kind, cutting, |cutting, take| {
                if is_long {
                    cutting.each_ahead(&failed, take)
                } else {
                    cutting.each(&failed, take)
                }
            })
        }
        Data::Reader(reader) => {
            // One byte more than fits is enough to notice; an endless reader must end.
            let most = item.bytes.map_or(u64::MAX, |bytes| bytes.saturating_add(1));
            let cutting = Cutting::begin(reader.take(most), cuts, blocks).map_err(failed)?;
            body_in(intake, kind, cutting, |cutting, take| {
                cutting.each(&failed, take)
            })
        }
        _ => match item.reachable() {
            Some(bytes) => body_of_reachable(intake, name, kind, &bytes),
            None => Ok(Body::Small(Vec::new())),
        },
    }
}

/// The body of an entry of which the first block is read; `each` hands all chunks over.
fn body_in<'e, 'b, R: Read>(
    intake: &mut Intake<'_, '_, 'e>,
    kind: &KindRecord,
    cutting: Cutting<'e, 'b, R>,
    each: impl FnOnce(Cutting<'e, 'b, R>, Take<'_, 'e>) -> Result<()>,
) -> Result<Body> {
    if cutting.first().len() < SMALL_ENTRY_BYTES {
        return Ok(Body::Small(cutting.first().to_vec()));
    }
    let mut chunks = Span::default();
    let texture = texture_of(kind);
    each(cutting, &mut |(place, raw)| {
        chunks.add(intake.chunk(raw, texture, (Place::Chunk(place), false))?);
        Ok(())
    })?;
    Ok(Body::Large(chunks))
}

/// [`body_of`] for bytes of which any can be had.
pub(super) fn body_of_reachable<'e>(
    intake: &mut Intake<'_, '_, 'e>,
    name: &str,
    kind: &KindRecord,
    bytes: &Reachable<'e>,
) -> Result<Body> {
    if bytes.len() < SMALL_ENTRY_BYTES {
        return Ok(Body::Small(bytes.part(name, 0..bytes.len())?.to_vec()));
    }
    // Where a file is cut depends on what is in it.
    let is_unchanged =
        *kind != KindRecord::File && intake.parent().is_unchanged(name, kind, bytes.len())?;
    let mut cuts = Cuts::new(name, kind);
    let (mut at, mut chunks) = (0, Span::default());
    while at < bytes.len() {
        // A chunk has no more than that.
        let most = bytes.part(name, at..bytes.len().min(at + MAX_CHUNK_BYTES))?;
        let place = cuts.next(&most);
        let raw = if place.bytes == most.len() {
            most
        } else {
            bytes.part(name, at..at + place.bytes)?
        };
        at += place.bytes;
        let place = (Place::Chunk(place), is_unchanged);
        chunks.add(intake.chunk(raw, texture_of(kind), place)?);
    }
    Ok(Body::Large(chunks))
}

/// An error of what an entry's bytes are read from.
pub(super) fn reading(name: &str, source: io::Error) -> Error {
    Error::Io {
        operation: "reading the bytes of entry".to_owned(),
        path: printable(name).into(),
        source,
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

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;
    use crate::platform::{AtomicFile, InputFile};
    use crate::store::threads::READ_BYTES;
    use crate::store::{Options, Store};

    /// A reader that gives a few bytes at a time.
    struct Drops<'a>(&'a [u8]);

    impl Read for Drops<'_> {
        fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
            let len = out.len().min(70_001);
            self.0.read(&mut out[..len])
        }
    }

    #[test]
    fn bytes_of_a_reader_or_a_file_are_cut_as_the_same_bytes_in_memory() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x");
        let mut noise = vec![0; 2 * READ_BYTES + 12_345];
        blake3::Hasher::new().finalize_xof().fill(&mut noise);
        for threads in [1, 4] {
            let options = Options {
                threads,
                ..Options::default()
            };
            let medium = Arc::new(crate::storage::MemoryMedium::default());
            let store = Store::create_in(medium, options).unwrap();
            let job = store.job("NQ").unwrap();
            for len in [
                SMALL_ENTRY_BYTES - 1,
                SMALL_ENTRY_BYTES,
                MAX_CHUNK_BYTES + 1,
                READ_BYTES - 1,
                READ_BYTES,
                READ_BYTES + 1,
                2 * READ_BYTES,
                noise.len(),
            ] {
                let bytes = &noise[..len];
                let at = 3 * len as u64;
                let whole = job.save(at).bytes("x", bytes).commit().unwrap();
                let mut file = AtomicFile::create(&path).unwrap();
                file.write_all(bytes).unwrap();
                file.finish().unwrap();
                let file = InputFile::open(&path).unwrap().whole();
                let read = [
                    job.save(at + 1).file("x", Drops(bytes)),
                    job.save(at + 2).file_in("x", file),
                ];
                for read in read {
                    let read = read.commit().unwrap();
                    assert_eq!(read.chunks, whole.chunks, "{len}");
                    assert_eq!(read.new_chunks, 0, "{len}");
                    assert!(read.checkpoint.read("x").unwrap() == bytes);
                }
            }
        }
    }
}
