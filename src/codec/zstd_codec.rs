//! zstd, by the library.

use zstd::bulk::{compress, decompress_to_buffer};
use zstd::zstd_safe::{find_frame_compressed_size, get_frame_content_size};

/// Measured on agent states: 3 is where size stops falling faster than speed.
const LEVEL: i32 = 3;
/// Shorter input can't win back the frame's own bytes.
const SHORTEST: usize = 64;

/// One frame, if it is shorter than the input by a sixteenth at least.
pub(super) fn encode(raw: &[u8]) -> Option<Vec<u8>> {
    if raw.len() < SHORTEST {
        return None;
    }
    let stored = compress(raw, LEVEL).ok()?;
    (stored.len() <= raw.len() - raw.len() / 16).then_some(stored)
}

/// The frame's content, if it is exactly this long. The output buffer is all that is ever
/// allocated, whatever the frame says; one that says another length, or none, or that is not alone
/// was written by nobody who keeps to the format.
pub(super) fn decode(stored: &[u8], raw_len: usize) -> Option<Vec<u8>> {
    let said = get_frame_content_size(stored).ok()??;
    if said != raw_len as u64 || find_frame_compressed_size(stored).ok()? != stored.len() {
        return None;
    }
    let mut raw = vec![0; raw_len];
    let written = decompress_to_buffer(stored, &mut raw).ok()?;
    (written == raw_len).then_some(raw)
}
