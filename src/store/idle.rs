//! An encoder between two saves: what its compressors work in costs a small save more to make than
//! the chunk to encode.

use std::sync::PoisonError;

use crate::codec::{Compression, Encoder};
use crate::sync::Mutex;

/// The encoder that the next save may have. If a save has several threads, all but one make their
/// own.
#[derive(Debug, Default)]
pub(super) struct Idle(Mutex<Option<Encoder>>);

impl Idle {
    /// An encoder of this effort.
    pub(super) fn take(&self, effort: Compression) -> Encoder {
        let idle = self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
        idle.filter(|idle| idle.effort() == effort)
            .unwrap_or_else(|| Encoder::new(effort))
    }

    /// Keeps an encoder, unless it is one that takes much memory.
    pub(super) fn give(&self, encoder: Encoder) {
        if encoder.effort() < Compression::Max {
            *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(encoder);
        }
    }
}
