//! A save's chunks from the caller's bytes to the pipeline, and from it to where they are staged.

use std::ops::Range;

use super::bases::{Parent, Place};
use super::ingest::Ingest;
use super::pipeline::{Pipeline, Raw, Task, Work};
use super::threads::may_start;
use crate::codec::Texture;
use crate::error::{Error, Result};
use crate::format::ChunkRef;

/// The places of an entry's chunks among those of the save: they follow each other.
#[derive(Clone, Debug, Default)]
pub(super) struct Span(Range<usize>);

impl Span {
    /// One chunk more.
    pub(super) fn add(&mut self, place: usize) {
        if self.0.is_empty() {
            self.0.start = place;
        }
        self.0.end = place + 1;
    }

    pub(super) const fn len(&self) -> usize {
        self.0.end - self.0.start
    }
}

/// The chunks of a save, by the order in which they were cut.
pub(super) struct Intake<'i, 's, 'e> {
    ingest: &'i mut Ingest<'s>,
    pipeline: Pipeline<'i, 's, 'e>,
    /// Those that have been taken in, with their names; and those on their way, without.
    chunks: Vec<ChunkRef>,
    taken: usize,
}

impl<'i, 's, 'e> Intake<'i, 's, 'e> {
    pub(super) fn new(ingest: &'i mut Ingest<'s>, pipeline: Pipeline<'i, 's, 'e>) -> Self {
        Self {
            ingest,
            pipeline,
            chunks: Vec::new(),
            taken: 0,
        }
    }

    /// Takes a chunk's raw bytes in, unless the store has them: which is not looked for where the
    /// caller says that they are the parent's. Returns its place among the chunks.
    pub(super) fn chunk(
        &mut self,
        raw: Raw<'e>,
        texture: Texture,
        (place, is_unchanged): (Place<'_>, bool),
    ) -> Result<usize> {
        let parent = self.parent().at(place)?;
        let work = Work::Chunk {
            texture,
            parent,
            is_unchanged,
        };
        self.send(Task { raw, work })
    }

    /// The checkpoint that the save continues from.
    pub(super) fn parent(&mut self) -> &mut Parent<'s> {
        self.ingest.parent()
    }

    /// Takes in a chunk of any kind.
    pub(super) fn send(&mut self, task: Task<'e>) -> Result<usize> {
        let number = self.chunks.len();
        let raw_len = u32::try_from(task.raw.len());
        self.chunks.push(ChunkRef {
            id: [0; 32],
            raw_len: raw_len.map_err(|_| Error::invalid("a chunk", "it is too long"))?,
        });
        self.pipeline.send(task)?;
        self.take(0)?;
        Ok(number)
    }

    /// Takes in what is ready, and waits until there are so many.
    fn take(&mut self, least: usize) -> Result<()> {
        while let Some(prepared) = self.pipeline.next(self.taken < least)? {
            if let Some(chunk) = self.chunks.get_mut(self.taken) {
                *chunk = prepared.chunk;
            }
            self.taken += 1;
            self.ingest.take_in(prepared)?;
        }
        Ok(())
    }

    /// Waits until all that are on their way have been taken in.
    pub(super) fn settle(&mut self) -> Result<()> {
        self.take(self.chunks.len())
    }

    /// Waits until these have been taken in.
    pub(super) fn settle_span(&mut self, span: &Span) -> Result<()> {
        self.take(span.0.end)
    }

    /// Whether these chunks have been taken in.
    pub(super) const fn has(&self, span: &Span) -> bool {
        self.taken >= span.0.end
    }

    /// These chunks; the names of those on their way are not known.
    pub(super) fn chunks(&self, span: &Span) -> &[ChunkRef] {
        self.chunks.get(span.0.clone()).unwrap_or_default()
    }

    /// Bytes of these chunks.
    pub(super) fn bytes(&self, span: &Span) -> u64 {
        let chunks = self.chunks(span).iter();
        chunks.map(|chunk| u64::from(chunk.raw_len)).sum()
    }

    /// Whether other threads may do some of it.
    pub(super) fn may_start_threads(&self) -> bool {
        may_start(self.ingest.threads())
    }

    /// Whether deltas against other chunks are of use.
    pub(super) fn uses_bases(&self) -> bool {
        self.ingest.uses_bases()
    }

    /// Counts bytes that lie in the checkpoint's own record.
    pub(super) const fn inline(&mut self, bytes: u64) {
        self.ingest.inline(bytes);
    }
}
