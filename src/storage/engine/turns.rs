//! Turns to write, between handles of several processes.

use std::sync::PoisonError;
use std::time::Duration;

use super::super::handle::Handle;
use super::{Engine, noted};
use crate::error::Result;

impl Engine {
    /// Waits until this handle may write, and nobody else. Whether others have since it last might:
    /// what is known of the store may not be so any more. The caller is the only thread that does.
    ///
    /// # Errors
    /// [`Error::Busy`] if that takes longer than the options say.
    pub(crate) fn begin_turn(&self) -> Result<bool> {
        self.check_process()?;
        self.begin_turn_within(self.options.wait)
    }

    pub(super) fn begin_turn_within(&self, wait: Duration) -> Result<bool> {
        self.share.begin_write(wait)?;
        let slot = self.handle.read().unwrap_or_else(PoisonError::into_inner);
        let may_write = |handle: &Handle| {
            let condition = &handle.context.condition;
            handle.is_current() && condition.has_known_len().unwrap_or(false)
        };
        if self.share.is_held() || slot.as_ref().is_some_and(may_write) {
            self.share.hold();
            return Ok(false);
        }
        // Who reads it is told before anybody believes that nothing can change.
        if let Some(handle) = slot.as_ref() {
            handle.context.condition.overtake();
        }
        drop(slot);
        let mut slot = self.handle.write().unwrap_or_else(PoisonError::into_inner);
        self.set_aside(&mut slot);
        self.share.hold();
        Ok(true)
    }

    /// Lets others write, unless another thread of this process goes on (`keep`) and nobody else
    /// waits. Everything that was staged is then on the disk.
    pub(crate) fn end_turn(&self, keep: bool) {
        if !self.share.is_shared() || (keep && !self.share.is_awaited()) {
            return;
        }
        self.settle_staged();
        let turn = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        if self.undurable() > 0 {
            // It could not be brought to the disk, and nobody may do so after another's turn.
            let mut slot = self.handle.write().unwrap_or_else(PoisonError::into_inner);
            self.set_aside(&mut slot);
            self.ledger.reopened();
        }
        self.share.end_write(|| {
            let slot = self.handle.read().unwrap_or_else(PoisonError::into_inner);
            if let Some(handle) = slot.as_ref() {
                handle.context.condition.overtake();
            }
        });
        drop(turn);
    }

    /// Whether another process waits to write.
    pub(crate) fn is_awaited(&self) -> bool {
        self.share.is_awaited()
    }

    /// Drops a handle that others have made useless, without writing anything.
    pub(super) fn set_aside(&self, slot: &mut Option<Handle>) {
        if let Some(handle) = slot.as_ref() {
            handle.context.condition.seal();
        }
        noted(self.discard(slot));
    }
}
