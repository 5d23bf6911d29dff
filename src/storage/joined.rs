//! Commits that take one sync: their pages and the header that leads to them go to the disk
//! together.
//!
//! The engine syncs twice for a commit: the pages, and then the header that makes them the last
//! state. Here the first sync waits for that header, which then says of itself that its pages may
//! be missing, and where they are. Once the sync that covers both has returned, the header is
//! written once more, without that: no sync has to follow, since either is true. Who opens the file
//! in between, after the power failed, looks at those pages, by the checksums that lead to them. If
//! one is not there the state before is the last: the engine touches no page of that before
//! the next has been synced.
//!
//! The note stands behind the engine's header, in bytes of its page that the engine does not use
//! (`docs/format.md`).

use std::collections::BTreeMap;
use std::io;

use twox_hash::XxHash3_128;

use super::backend::Backend;
use super::header::{
    HEADER_BYTES, Root, SECTOR_BYTES, is_two_phase, with_two_phase, without_two_phase,
};
use super::overlay::Overlay;
use super::trees::{Fault, Trees};

const MAGIC: &[u8; 4] = b"CKJ1";
const NOTE_BYTES: usize = 56;
/// The header's page is the engine's smallest.
const HEADER_PAGE_BYTES: u64 = 4096;
/// Two lists of places, used in turn: the one of the last state stays until the next is the last.
/// They share no sector.
const LIST_BYTES: usize = 3 * SECTOR_BYTES;
const MOST_PAGES: usize = LIST_BYTES / 8;
/// Commits of more bytes sync twice: a second sync is little to them, and who adopts one after a
/// failure has its pages in memory.
const MOST_BYTES: usize = 4 << 20;

/// How far the engine is with a commit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Stage {
    #[default]
    None,
    /// The header has the new state in its second place, which is how a commit begins.
    Begun,
    /// The engine has asked for a sync, which waits for the header that leads there.
    Waiting,
    /// That header is written, and not synced. Whether it has a note.
    Leading { is_noted: bool },
}

/// What has been written since the last state was on the disk. Syncs in between, as when the file
/// grows, do not end that: what they cover may lead to what they don't.
#[derive(Debug, Default)]
pub(super) struct Joined {
    /// The header as it was written last.
    header: Option<[u8; HEADER_BYTES]>,
    /// Pages: their places and lengths. None if they are too many, or not all are known.
    pages: Option<BTreeMap<u64, usize>>,
    stage: Stage,
    /// Which list the last note was about.
    is_second: bool,
}

/// A header with a note behind it, and the list that the note is about.
#[derive(Debug)]
pub(super) struct Noted {
    pub(super) sector: [u8; SECTOR_BYTES],
    pub(super) list: Vec<u8>,
    pub(super) list_at: u64,
}

impl Joined {
    /// Goes on from what is there now. What was written before may not be synced.
    pub(super) fn begin(&mut self, backend: &dyn Backend) -> io::Result<()> {
        let mut sector = [0; SECTOR_BYTES];
        *self = Self::default();
        if backend.len()? >= SECTOR_BYTES as u64 {
            backend.read(0, &mut sector)?;
            self.header = sector.first_chunk().copied();
            self.is_second = Note::of(&sector).is_some_and(|note| note.is_second);
        }
        Ok(())
    }

    /// Whether a sync was asked for and has not been done.
    pub(super) fn is_waiting(&self) -> bool {
        self.stage == Stage::Waiting
    }

    /// Whether a sync that is asked for now may wait. If so, it is noted that it does.
    pub(super) fn waits(&mut self) -> bool {
        let pages = self.pages.as_ref();
        let waits = self.stage == Stage::Begun && pages.is_some();
        if waits {
            self.stage = Stage::Waiting;
        }
        waits
    }

    /// What is written in the place of this, if it is the header that a sync waits for.
    pub(super) fn noted(&self, offset: u64, data: &[u8]) -> Option<Noted> {
        let header = data.first_chunk::<HEADER_BYTES>()?;
        let is_header = offset == 0 && data.len() == HEADER_BYTES;
        let leads = is_header && Root::of(header) != self.root();
        if self.stage != Stage::Waiting || !leads || !is_two_phase(header) {
            return None;
        }
        let pages = self.pages.as_ref()?;
        let list: Vec<u8> = pages.keys().flat_map(|at| at.to_le_bytes()).collect();
        let note = Note {
            is_second: !self.is_second,
            count: u16::try_from(pages.len()).ok()?,
            slot: Root::of(header)?.checksum(),
            list: XxHash3_128::oneshot(&list),
        };
        let mut sector = [0; SECTOR_BYTES];
        let bytes = without_two_phase(header).into_iter().chain(note.to_bytes());
        for (to, from) in sector.iter_mut().zip(bytes) {
            *to = from;
        }
        let list_at = note.list_at();
        Some(Noted {
            sector,
            list,
            list_at,
        })
    }

    /// Takes note of a write, and whether it was replaced by one with a note.
    pub(super) fn wrote(&mut self, offset: u64, data: &[u8], is_noted: bool) {
        if offset > 0 {
            let pages = self.pages.take();
            self.pages = pages.and_then(|mut pages| {
                pages.insert(offset, data.len());
                let fits = pages.len() <= MOST_PAGES && pages.values().sum::<usize>() <= MOST_BYTES;
                fits.then_some(pages)
            });
            return;
        }
        let roots = |header: Option<&[u8; HEADER_BYTES]>| {
            let header = header?;
            Some((Root::of(header)?, Root::other(header)?))
        };
        let was = roots(self.header.as_ref());
        self.header = data.first_chunk().copied();
        self.is_second ^= is_noted;
        self.stage = match (was, roots(self.header.as_ref())) {
            (Some(was), Some(is)) if was.0 != is.0 => Stage::Leading { is_noted },
            (Some(was), Some(is)) if was.1 != is.1 => Stage::Begun,
            _ => Stage::None,
        };
    }

    /// Whether the header leads to a state that has not been synced.
    pub(super) fn leads(&self) -> bool {
        matches!(self.stage, Stage::Leading { .. })
    }

    /// All that was written is on the disk. What the header is to be now, if it has a note.
    pub(super) fn synced(&mut self) -> Option<[u8; HEADER_BYTES]> {
        let stage = std::mem::take(&mut self.stage);
        let Stage::Leading { is_noted } = stage else {
            return None;
        };
        self.pages = Some(BTreeMap::new());
        self.header.filter(|_| is_noted)
    }

    /// The sync failed. The header that leads to the state before, if one with a note leads to what
    /// may not be there.
    pub(super) fn failed(&self) -> Option<[u8; HEADER_BYTES]> {
        match self.stage {
            Stage::Leading { is_noted: true } => Root::before(self.header.as_ref()?),
            _ => None,
        }
    }

    fn root(&self) -> Option<Root> {
        self.header.as_ref().and_then(|header| Root::of(header))
    }
}

/// What a header with pages that may be missing says of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Note {
    is_second: bool,
    count: u16,
    /// The checksum of the commit slot that it is about.
    slot: [u8; 16],
    /// That of the list.
    list: u128,
}

impl Note {
    fn to_bytes(self) -> [u8; NOTE_BYTES] {
        let [low, high] = self.count.to_le_bytes();
        let fields = MAGIC.iter().copied();
        let fields = fields.chain([u8::from(self.is_second), 0, low, high]);
        let fields = fields.chain(self.slot).chain(self.list.to_le_bytes());
        let mut bytes = [0; NOTE_BYTES];
        for (to, from) in bytes.iter_mut().zip(fields) {
            *to = from;
        }
        if let Some((covered, check)) = bytes.split_last_chunk_mut::<16>() {
            *check = XxHash3_128::oneshot(covered).to_le_bytes();
        }
        bytes
    }

    /// The note in the file's first sector, if there is one.
    fn of(sector: &[u8; SECTOR_BYTES]) -> Option<Self> {
        let bytes = sector.get(HEADER_BYTES..)?.first_chunk::<NOTE_BYTES>()?;
        let (magic, rest) = bytes.split_first_chunk::<4>()?;
        let ([second, _, low, high], rest) = rest.split_first_chunk::<4>()?;
        let (slot, rest) = rest.split_first_chunk::<16>()?;
        let note = Self {
            is_second: *second == 1,
            count: u16::from_le_bytes([*low, *high]),
            slot: *slot,
            list: u128::from_le_bytes(*rest.first_chunk::<16>()?),
        };
        let is_sound = magic == MAGIC && note.to_bytes() == *bytes;
        (is_sound && usize::from(note.count) <= MOST_PAGES).then_some(note)
    }

    fn list_at(&self) -> u64 {
        (SECTOR_BYTES + usize::from(self.is_second) * LIST_BYTES) as u64
    }
}

/// Before the engine sees a file whose header says that pages may be missing: if they are there it
/// is shown a header like any other, and else one that leads to the state before. Both are held
/// back as writes are that the engine makes on opening. What can't be told is left to the engine,
/// which looks at the whole file.
pub(super) fn settle(held: &mut Overlay, backend: &dyn Backend) -> io::Result<()> {
    let mut sector = [0; SECTOR_BYTES];
    if held.len() < HEADER_PAGE_BYTES || backend.read(0, &mut sector).is_err() {
        // The engine says what is wrong with it.
        return Ok(());
    }
    let header = sector.first_chunk::<HEADER_BYTES>();
    let root = header.and_then(|header| Root::of(header));
    let (Some(header), Some(root), Some(note)) = (header, root, Note::of(&sector)) else {
        return Ok(());
    };
    // Another program may have gone on without notes; or a note is about a state of long ago, and
    // of the header that was to lead to the next only that is there that leads to the other slot.
    let is_current = root.checksum() == note.slot && Root::is_newest(header);
    if is_two_phase(header) || !is_current {
        return Ok(());
    }
    match pages_there(backend, &note) {
        Ok(pages) => {
            // Whoever was told that a sync failed may have left them in the system's cache, as if
            // the disk had them.
            for (at, page) in pages {
                held.write(backend, at, &page)?;
            }
            held.sync();
            held.write(backend, 0, &with_two_phase(header))?;
        }
        Err(Fault::Io(error)) => {
            tracing::debug!(%error, "the pages of the last commit can't be read");
            return Ok(());
        }
        Err(Fault::Damaged(why)) => {
            let Some(before) = Root::before(header) else {
                return Ok(());
            };
            tracing::info!(
                why,
                "the last commit did not reach the disk; the one before counts"
            );
            held.write(backend, 0, &before)?;
        }
    }
    held.sync();
    Ok(())
}

/// The pages that a note is about, as far as they belong to the state that the header leads to.
fn pages_there(backend: &dyn Backend, note: &Note) -> Result<BTreeMap<u64, Vec<u8>>, Fault> {
    let mut list = vec![0; usize::from(note.count) * 8];
    backend.read(note.list_at(), &mut list)?;
    if XxHash3_128::oneshot(&list) != note.list {
        return Err(Fault::Damaged("the list of its pages is not there"));
    }
    let places = list.chunks_exact(8).map(|place| {
        let bytes = place.first_chunk::<8>().copied().unwrap_or_default();
        u64::from_le_bytes(bytes)
    });
    let read = |at: u64, out: &mut [u8]| backend.read(at, out);
    Trees::of(&read, backend.len()?)?.written(places.collect(), MOST_BYTES)
}

#[cfg(test)]
mod tests;
