//! Signals that end a command: the first at a safe point, the second at once.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::flag;

/// Whether the user wants an end.
#[derive(Debug)]
pub(crate) struct Interrupt(Arc<AtomicBool>);

impl Interrupt {
    /// Listens from now on, until the program ends. Where no handler is to be had, a signal ends
    /// the program at once, as it does by itself; nothing that was saved is lost by that either.
    pub(crate) fn listen() -> Self {
        let came = Arc::new(AtomicBool::new(false));
        for signal in [SIGINT, SIGTERM] {
            // In this order: the first finds the default off, and puts it on.
            let registered = flag::register_conditional_default(signal, Arc::clone(&came))
                .and_then(|_| flag::register(signal, Arc::clone(&came)));
            if let Err(error) = registered {
                tracing::debug!(%error, "no handler for a signal");
            }
        }
        Self(came)
    }

    /// Whether one came.
    pub(crate) fn came(&self) -> bool {
        self.0.load(Ordering::SeqCst)
    }
}
