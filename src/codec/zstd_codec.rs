//! zstd, by the library: whole chunks, alone or after a chunk that they resemble.

use std::cell::RefCell;

use zstd::zstd_safe::{
    CCtx, CParameter, DCtx, DParameter, compress_bound, find_frame_compressed_size,
    get_frame_content_size,
};

/// Measured on agent states: 3 is where size stops falling faster than speed.
pub(super) const LEVEL: i32 = 3;
/// After a base, most of the input is one match or another: the effort for what is left is small.
pub(super) const DELTA_LEVEL: i32 = 9;
/// Shorter input can't win back the frame's own bytes.
const SHORTEST: usize = 64;
/// The window that a chunk and its base fit in, as a power of two.
const WINDOW_LOG: u32 = 21;

thread_local! {
    static DECODER: RefCell<Option<DCtx<'static>>> = const { RefCell::new(None) };
}

/// A compressor, and its buffers.
#[derive(Default)]
pub(super) struct ZstdCoder {
    /// For frames without a base.
    alone: Option<CCtx<'static>>,
    out: Vec<u8>,
}

impl ZstdCoder {
    /// One frame, if it is shorter than the input by a sixteenth at least. What the base has
    /// already is referred to, not repeated.
    pub(super) fn encode(&mut self, raw: &[u8], base: Option<&[u8]>, level: i32) -> Option<&[u8]> {
        if raw.len() < SHORTEST {
            return None;
        }
        self.out.clear();
        self.out.reserve(compress_bound(raw.len()));
        self.frame(raw, base, level)?;
        let is_worth = self.out.len() <= raw.len() - raw.len() / 16;
        is_worth.then_some(&*self.out)
    }

    fn frame(&mut self, raw: &[u8], base: Option<&[u8]>, level: i32) -> Option<()> {
        let level = CParameter::CompressionLevel(level);
        let Some(base) = base else {
            if self.alone.is_none() {
                self.alone = CCtx::try_create();
            }
            let context = self.alone.as_mut()?;
            context.set_parameter(level).ok()?;
            return context.compress2(&mut self.out, raw).ok().map(drop);
        };
        // A context may not outlive what it refers to.
        let mut context = CCtx::try_create()?;
        context.set_parameter(level).ok()?;
        context
            .set_parameter(CParameter::WindowLog(WINDOW_LOG))
            .ok()?;
        // Where the two lie in memory would make a difference, if one followed the other.
        context
            .set_parameter(CParameter::DeterministicRefPrefix(true))
            .ok()?;
        context.ref_prefix(base).ok()?;
        context.compress2(&mut self.out, raw).ok().map(drop)
    }
}

/// Decodes a frame whose content is exactly as long as `raw`. One that says another length, or
/// none, or that is not alone was written by nobody who keeps to the format.
pub(super) fn decode_into(stored: &[u8], base: Option<&[u8]>, raw: &mut [u8]) -> Option<()> {
    let said = get_frame_content_size(stored).ok()??;
    if said != raw.len() as u64 || find_frame_compressed_size(stored).ok()? != stored.len() {
        return None;
    }
    let written = match base {
        Some(base) => {
            let mut context = DCtx::try_create()?;
            context
                .set_parameter(DParameter::WindowLogMax(WINDOW_LOG))
                .ok()?;
            context.ref_prefix(base).ok()?;
            context.decompress(raw, stored).ok()?
        }
        None => DECODER.with_borrow_mut(|context| {
            let context = match context {
                Some(context) => context,
                None => context.insert(DCtx::try_create()?),
            };
            context.decompress(raw, stored).ok()
        })?,
    };
    (written == raw.len()).then_some(())
}
