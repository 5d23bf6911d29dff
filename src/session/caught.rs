//! Panics of the user's own code (hooks, loops, views of tensors), caught at this one place.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// A panic that was caught.
pub(super) struct Panicked(pub(super) Box<dyn Any + Send>);

impl Panicked {
    /// What it said.
    pub(super) fn said(&self) -> &str {
        let text = self.0.downcast_ref::<&str>().copied();
        text.or_else(|| self.0.downcast_ref::<String>().map(String::as_str))
            .unwrap_or("a panic without a message")
    }
}

/// Runs what may panic. Whatever it was at is as it left it.
pub(super) fn caught<T>(run: impl FnOnce() -> T) -> Result<T, Panicked> {
    catch_unwind(AssertUnwindSafe(run)).map_err(Panicked)
}
