//! The bytes of a medium without its database: every frame that can be recognised in them.

use std::collections::BTreeMap;

use memchr::memmem;

use super::backend::{Backend, Medium};
use crate::error::Result;
use crate::format::{
    EXTENT_HEADER_BYTES, EXTENT_MAGIC, ExtentHeader, LooseRecord, MAX_NODE_BYTES, MAX_RECORD_BYTES,
    NODE_MAGIC, Node, RECORD_MAGIC,
};
use crate::id::NodeId;
use crate::platform;

/// What is searched at a time.
const WINDOW: usize = 8 << 20;
/// What a disk loses at a time.
const SECTOR: usize = 512;
/// The longest frame: what a window shares with the next one.
const LONGEST: usize = MAX_RECORD_BYTES;

const _: () = assert!(LONGEST >= MAX_NODE_BYTES && LONGEST >= EXTENT_HEADER_BYTES);

/// Where an extent was found, and what it says of itself.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LooseExtent {
    pub(crate) at: u64,
    pub(crate) header: ExtentHeader,
}

/// A frame found by the scan.
#[derive(Debug)]
pub(crate) enum Frame<'a> {
    /// A record whose hash matches, and its bytes.
    Record(LooseRecord, &'a [u8]),
    /// What would be this node.
    Node(NodeId, u64, usize),
    /// An extent whose header's hash matches.
    Extent(LooseExtent),
}

/// A medium that is only read, by place.
#[derive(Debug)]
pub(crate) struct RawMedium {
    backend: Box<dyn Backend>,
    path: std::path::PathBuf,
    len: u64,
}

impl RawMedium {
    /// Opens the medium. It is not written to and not locked: whoever writes to it meanwhile makes
    /// frames stale, never wrong.
    pub(crate) fn open(medium: &dyn Medium) -> Result<Self> {
        let path = medium.path().to_owned();
        let failed = |error| platform::io_error("opening", &path, error);
        let backend = medium.open().map_err(failed)?;
        let len = backend.len().map_err(failed)?;
        Ok(Self { backend, path, len })
    }

    /// Length in bytes.
    pub(crate) const fn len(&self) -> u64 {
        self.len
    }

    /// The bytes at this place, or those of them that there are. What can't be read at all is as
    /// if it was not there: the next sector may be readable.
    pub(crate) fn bytes(&self, at: u64, len: usize) -> Vec<u8> {
        let rest = self.len.saturating_sub(at);
        let len = len.min(usize::try_from(rest).unwrap_or(usize::MAX));
        let mut bytes = vec![0; len];
        if self.backend.read(at, &mut bytes).is_ok() {
            return bytes;
        }
        let path = self.path.display();
        tracing::warn!(%path, at, len, "bytes that can't be read are skipped");
        for (sector, out) in bytes.chunks_mut(SECTOR).enumerate() {
            if self
                .backend
                .read(at + (sector * SECTOR) as u64, out)
                .is_err()
            {
                out.fill(0);
            }
        }
        bytes
    }

    /// Shows every frame to `visit`, in the order of their places.
    pub(crate) fn scan(
        &self,
        progress: &mut dyn FnMut(u64, u64),
        visit: &mut dyn FnMut(Frame<'_>) -> Result<()>,
    ) -> Result<()> {
        let finders = [RECORD_MAGIC, NODE_MAGIC, EXTENT_MAGIC].map(memmem::Finder::new);
        let mut at = 0;
        while at < self.len {
            let window = self.bytes(at, WINDOW + LONGEST);
            let mut found = BTreeMap::new();
            for (kind, finder) in finders.iter().enumerate() {
                found.extend(finder.find_iter(&window).map(|place| (place, kind)));
            }
            for place in found.into_keys().take_while(|place| *place < WINDOW) {
                let bytes = window.get(place..).unwrap_or_default();
                if let Some(frame) = frame_at(bytes, at + place as u64) {
                    visit(frame)?;
                }
            }
            at += WINDOW as u64;
            progress(at.min(self.len), self.len);
        }
        Ok(())
    }
}

fn frame_at(bytes: &[u8], at: u64) -> Option<Frame<'_>> {
    if let Some(record) = LooseRecord::at(bytes) {
        return Some(Frame::Record(record, bytes.get(..record.len)?));
    }
    if let Some((id, len)) = Node::loose(bytes) {
        return Some(Frame::Node(id, at, len));
    }
    let header = ExtentHeader::from_bytes(bytes).ok()?;
    Some(Frame::Extent(LooseExtent { at, header }))
}

#[cfg(test)]
mod tests {
    use super::super::testing::Faulty;
    use super::*;
    use crate::format::{NameRecord, Record, StoreTag};

    /// A record of this key, of which nothing else is found in it.
    fn record(key: u64) -> Vec<u8> {
        let name = NameRecord {
            text: format!("name {key}"),
        };
        name.to_bytes(StoreTag::NONE, &key.to_be_bytes()).unwrap()
    }

    /// The keys of the records that a scan finds, and how far it says that it came.
    fn scanned(medium: &Faulty) -> (Vec<u64>, Vec<(u64, u64)>) {
        let raw = RawMedium::open(medium).unwrap();
        let (mut keys, mut steps) = (Vec::new(), Vec::new());
        let done = raw.scan(&mut |at, of| steps.push((at, of)), &mut |frame| {
            if let Frame::Record(record, bytes) = frame {
                assert_eq!(record.len, bytes.len());
                keys.push(record.key);
            }
            Ok(())
        });
        done.unwrap();
        (keys, steps)
    }

    #[test]
    fn every_frame_is_found_once_wherever_windows_meet() {
        let len = 2 * WINDOW;
        let mut bytes = vec![0; len];
        let last = len - record(5).len();
        for (key, at) in [(1, 0), (2, WINDOW - 20), (3, WINDOW + 100), (5, last)] {
            let record = record(key);
            bytes[at..at + record.len()].copy_from_slice(&record);
        }
        let steps = [(WINDOW as u64, len as u64), (len as u64, len as u64)];
        let (keys, told) = scanned(&Faulty::new(bytes.clone()));
        assert_eq!((keys, told), (vec![1, 2, 3, 5], steps.to_vec()));
        // One that begins with the second window, and one in a short last one.
        let at = record(4).len();
        bytes[WINDOW..WINDOW + at].copy_from_slice(&record(4));
        bytes[WINDOW - 20..WINDOW].fill(0);
        bytes.extend(record(6));
        let (keys, told) = scanned(&Faulty::new(bytes));
        assert_eq!(keys, [1, 4, 3, 5, 6]);
        assert_eq!(told.len(), 3);
    }

    #[test]
    fn of_a_sector_that_can_not_be_read_nothing_is_taken_and_the_next_is_read() {
        let mut bytes: Vec<u8> = (0..10_000_u32).map(|at| at.to_le_bytes()[0] | 1).collect();
        for (key, at) in [(1, 100), (2, 1500), (3, 2100)] {
            let record = record(key);
            bytes[at..at + record.len()].copy_from_slice(&record);
        }
        let medium = Faulty::new(bytes.clone());
        medium.order().bad_byte = Some(1600);
        let raw = RawMedium::open(&medium).unwrap();
        let mut expected = bytes.clone();
        expected[1536..2048].fill(0);
        assert!(raw.bytes(0, 10_000) == expected);
        // Sectors are counted from where one began to read.
        assert!(raw.bytes(1590, 20) == [0; 20]);
        assert_eq!(raw.bytes(9990, 100), bytes[9990..]);
        assert_eq!(raw.bytes(10_001, 5), [0; 0]);
        assert_eq!(scanned(&medium).0, [1, 3]);
    }
}
