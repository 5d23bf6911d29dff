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
