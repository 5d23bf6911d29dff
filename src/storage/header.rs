//! The state that the engine's header leads to.

use std::io;

use twox_hash::XxHash3_128;

use super::backend::Backend;

/// The header, with both commit slots, at the beginning of the file (`design.md` of redb 4.4.0).
pub(super) const HEADER_BYTES: usize = 320;
/// The header is in the first of these, which most disks write whole or not at all. One that does
/// not costs a look at the whole file.
pub(super) const SECTOR_BYTES: usize = 512;
const GOD_BYTE: usize = 9;
/// Its bits: which slot is the valid one, and whether that was written after its pages were synced.
const IS_SECOND: u8 = 1;
const TWO_PHASE: u8 = 4;
pub(super) const SLOTS: usize = 64;
pub(super) const SLOT_BYTES: usize = 128;
const SLOT_CHECKSUM_BYTES: usize = 16;
/// Where a slot has the number of the transaction.
const TRANSACTION: usize = 104;

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
        let is_second = header.get(GOD_BYTE)? & IS_SECOND != 0;
        Self::at(header, is_second)
    }

    /// The one that the other slot holds: the state before, or one that is about to be the last.
    pub(super) fn other(header: &[u8]) -> Option<Self> {
        let is_second = header.get(GOD_BYTE)? & IS_SECOND != 0;
        Self::at(header, !is_second)
    }

    fn at(header: &[u8], is_second: bool) -> Option<Self> {
        let slot = header.get(SLOTS + usize::from(is_second) * SLOT_BYTES..)?;
        let slot = *slot.first_chunk::<SLOT_BYTES>()?;
        Some(Self { is_second, slot })
    }

    /// The slot.
    pub(super) const fn slot(&self) -> &[u8; SLOT_BYTES] {
        &self.slot
    }

    /// The checksum at the slot's end.
    pub(super) fn checksum(&self) -> [u8; SLOT_CHECKSUM_BYTES] {
        self.slot.last_chunk().copied().unwrap_or_default()
    }

    /// Whether the slot is what that says.
    pub(super) fn is_sound(&self) -> bool {
        let covered = self.slot.get(..SLOT_BYTES - SLOT_CHECKSUM_BYTES);
        covered.is_some_and(|covered| {
            XxHash3_128::oneshot(covered) == u128::from_le_bytes(self.checksum())
        })
    }

    /// Whether this state, the header's last, came after the one that its other slot holds. If not
    /// the header was written by half, unless that slot was.
    pub(super) fn is_newest(header: &[u8; HEADER_BYTES]) -> bool {
        let number = |root: &Self| {
            let bytes = root.slot.get(TRANSACTION..)?.first_chunk::<8>()?;
            Some(u64::from_le_bytes(*bytes))
        };
        let other = Self::other(header).filter(Self::is_sound);
        let other = other.as_ref().and_then(number);
        Self::of(header).as_ref().and_then(number) > other
    }

    /// A header that leads to the state before the one that this leads to, whose pages have been
    /// synced; none if its slot is damaged.
    pub(super) fn before(header: &[u8; HEADER_BYTES]) -> Option<[u8; HEADER_BYTES]> {
        Self::other(header).filter(Self::is_sound)?;
        Some(flagged(header, |flags| (flags ^ IS_SECOND) | TWO_PHASE))
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

/// Whether the last state's pages were on the disk before the header that leads to it: then the
/// engine does not look whether they are.
pub(super) fn is_two_phase(header: &[u8; HEADER_BYTES]) -> bool {
    header
        .get(GOD_BYTE)
        .is_some_and(|flags| flags & TWO_PHASE != 0)
}

/// The header that says so.
pub(super) fn with_two_phase(header: &[u8; HEADER_BYTES]) -> [u8; HEADER_BYTES] {
    flagged(header, |flags| flags | TWO_PHASE)
}

/// The header that does not.
pub(super) fn without_two_phase(header: &[u8; HEADER_BYTES]) -> [u8; HEADER_BYTES] {
    flagged(header, |flags| flags & !TWO_PHASE)
}

fn flagged(header: &[u8; HEADER_BYTES], change: impl Fn(u8) -> u8) -> [u8; HEADER_BYTES] {
    let mut flagged = *header;
    if let Some(flags) = flagged.get_mut(GOD_BYTE) {
        *flags = change(*flags);
    }
    flagged
}
