//! zstd, by the library.

use zstd::bulk::{compress, decompress_to_buffer};

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
/// allocated, whatever the frame says.
pub(super) fn decode(stored: &[u8], raw_len: usize) -> Option<Vec<u8>> {
    let mut raw = vec![0; raw_len];
    let written = decompress_to_buffer(stored, &mut raw).ok()?;
    (written == raw_len).then_some(raw)
}
