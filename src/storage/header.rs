//! The state that the engine's header leads to.

use std::io;

use super::backend::Backend;

/// The header, with both commit slots, at the beginning of the file (`design.md` of redb 4.4.0).
pub(super) const HEADER_BYTES: usize = 320;
const GOD_BYTE: usize = 9;
pub(super) const SLOTS: usize = 64;
pub(super) const SLOT_BYTES: usize = 128;

/// What identifies a committed state: the commit slot that the header says is the valid one. It
/// holds the roots of the trees and the number of the transaction. What else is in the header may
/// change as long as this does not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Root {
    is_second: bool,
    slot: [u8; SLOT_BYTES],
}

impl Root {
    /// Of a header's bytes.
    pub(super) fn of(header: &[u8]) -> Option<Self> {
        let is_second = header.get(GOD_BYTE)? & 1 != 0;
        let slot = header.get(SLOTS + usize::from(is_second) * SLOT_BYTES..)?;
        let slot = *slot.first_chunk::<SLOT_BYTES>()?;
        Some(Self { is_second, slot })
    }

    /// The slot.
    pub(super) const fn slot(&self) -> &[u8; SLOT_BYTES] {
        &self.slot
    }

    /// A number that no other state has: from the checksum at the slot's end.
    pub(super) fn number(&self) -> u64 {
        let bytes = self.slot.last_chunk().copied().unwrap_or_default();
        u64::from_le_bytes(bytes)
    }

    /// Of what is there now; none while there is no header.
    pub(super) fn read(backend: &dyn Backend) -> io::Result<Option<Self>> {
        let mut header = [0; HEADER_BYTES];
        match backend.read(0, &mut header) {
            Ok(()) => Ok(Self::of(&header)),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(None),
            Err(error) => Err(error),
        }
    }
}
