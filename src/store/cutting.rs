//! The bytes of a reader, read and cut: by the thread that saves, or ahead of it by another.

use std::io::{self, Read};
use std::sync::{Arc, Mutex};
use std::thread;

use crossbeam_channel::bounded;

use super::bases::ChunkPlace;
use super::pipeline::Raw;
use super::threads::{READ_AHEAD, READ_BYTES, locked};
use crate::chunking::FileCutter;
use crate::error::{Error, Result};
use crate::format::{KindRecord, MAX_CHUNK_BYTES};

/// A chunk, and where it lies in its entry.
pub(super) type Cut<'e> = (ChunkPlace<'e>, Raw<'static>);
/// What is to become of chunks.
pub(super) type Take<'t, 'e> = &'t mut dyn FnMut(Cut<'e>) -> Result<()>;

/// What readers are read into: blocks of [`READ_BYTES`], used again once no chunk lies in them.
#[derive(Debug, Default)]
pub(super) struct Blocks(Vec<Arc<Vec<u8>>>);

impl Blocks {
    /// So many at most are kept; chunks on their way seldom lie in more.
    const KEPT: usize = 4;

    /// One that nobody reads from, with whatever is in it.
    fn take(&mut self) -> Vec<u8> {
        let is_free = |block: &Arc<Vec<u8>>| Arc::strong_count(block) == 1;
        let free = self.0.iter().position(is_free);
        free.and_then(|at| Arc::into_inner(self.0.swap_remove(at)))
            .unwrap_or_else(|| vec![0; READ_BYTES])
    }

    /// Lets chunks lie in it.
    fn lend(&mut self, block: Vec<u8>) -> Arc<Vec<u8>> {
        let block = Arc::new(block);
        if self.0.len() < Self::KEPT {
            self.0.push(Arc::clone(&block));
        }
        block
    }
}

/// Cuts an entry into chunks, from its first byte to its last.
pub(super) struct Cuts<'e> {
    next: ChunkPlace<'e>,
    /// Of a file; what else there is is cut on a grid.
    file: Option<FileCutter>,
}

impl<'e> Cuts<'e> {
    pub(super) fn new(entry: &'e str, kind: &KindRecord) -> Self {
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
    pub(super) fn next(&mut self, rest: &[u8]) -> ChunkPlace<'e> {
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

/// Reads an entry block by block, and cuts these.
pub(super) struct Cutting<'e, 'b, R> {
    reader: R,
    blocks: &'b mut Blocks,
    cuts: Cuts<'e>,
    block: Arc<Vec<u8>>,
    /// Bytes of the block that came from the reader.
    end: usize,
    /// Whether there is no other block.
    is_last: bool,
    is_done: bool,
}

impl<'e, 'b, R: Read> Cutting<'e, 'b, R> {
    /// Reads the first block.
    pub(super) fn begin(mut reader: R, cuts: Cuts<'e>, blocks: &'b mut Blocks) -> io::Result<Self> {
        let mut block = blocks.take();
        let end = read_all(&mut reader, &mut block)?;
        Ok(Self {
            reader,
            cuts,
            block: blocks.lend(block),
            blocks,
            end,
            is_last: end < READ_BYTES,
            is_done: false,
        })
    }

    /// The first bytes, before anything is cut.
    pub(super) fn first(&self) -> &[u8] {
        &self.block[..self.end]
    }

    /// The chunks of the next block; none behind the last.
    pub(super) fn next(&mut self) -> io::Result<Option<Vec<Cut<'e>>>> {
        if std::mem::replace(&mut self.is_done, self.is_last) {
            return Ok(None);
        }
        let mut cuts = Vec::new();
        let mut at = 0;
        // Where a chunk ends is known when all is there that it may have.
        while at < self.end && (self.is_last || self.end - at >= MAX_CHUNK_BYTES) {
            let most = self.end.min(at + MAX_CHUNK_BYTES);
            let place = self.cuts.next(&self.block[at..most]);
            let raw = Raw::Shared(Arc::clone(&self.block), at..at + place.bytes);
            at += place.bytes;
            cuts.push((place, raw));
        }
        if !self.is_last {
            let mut block = self.blocks.take();
            let left = self.end - at;
            block[..left].copy_from_slice(&self.block[at..self.end]);
            self.end = left + read_all(&mut self.reader, &mut block[left..])?;
            self.is_last = self.end < READ_BYTES;
            self.block = self.blocks.lend(block);
        }
        Ok(Some(cuts))
    }

    /// Hands all chunks over, in their order.
    pub(super) fn each(
        mut self,
        failed: &dyn Fn(io::Error) -> Error,
        take: Take<'_, 'e>,
    ) -> Result<()> {
        while let Some(cuts) = self.next().map_err(failed)? {
            cuts.into_iter().try_for_each(&mut *take)?;
        }
        Ok(())
    }

    /// [`Cutting::each`], while another thread reads and cuts what follows.
    pub(super) fn each_ahead(
        self,
        failed: &dyn Fn(io::Error) -> Error,
        take: Take<'_, 'e>,
    ) -> Result<()>
    where
        R: Send,
    {
        let cutting = Mutex::new(Some(self));
        let taken = &|| locked(&cutting).take();
        thread::scope(|scope| {
            let (ready, to_take) = bounded(READ_AHEAD);
            let run = move || {
                let Some(mut cutting) = taken() else { return };
                while let Some(cuts) = cutting.next().transpose() {
                    // Nobody takes more after a failure.
                    if ready.send(cuts).is_err() {
                        return;
                    }
                }
            };
            let begun = thread::Builder::new().spawn_scoped(scope, run);
            if begun.is_err() {
                // Where no more threads are to be had, this one does it.
                return match taken() {
                    Some(cutting) => cutting.each(failed, take),
                    None => Ok(()),
                };
            }
            for cuts in to_take {
                cuts.map_err(failed)?.into_iter().try_for_each(&mut *take)?;
            }
            Ok(())
        })
    }
}

/// Fills these bytes, up to the reader's end if that comes before; how many came.
fn read_all(reader: &mut impl Read, out: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while let Some(left) = out.get_mut(filled..).filter(|left| !left.is_empty()) {
        match reader.read(left) {
            Ok(0) => break,
            Ok(read) => filled += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}
