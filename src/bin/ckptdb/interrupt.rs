//! Signals that end a command: the first at a safe point, the second at once.

use ckptdb::Monitor;
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::flag;

/// Has the first signal cancel what the monitor looks on, from now on. Where no handler is to be
/// had, a signal ends the program at once, as it does by itself; nothing that was saved is lost by
/// that either.
pub(crate) fn cancels(monitor: &Monitor) {
    for signal in [SIGINT, SIGTERM] {
        // In this order: the first finds the default off, and puts it on.
        let registered = flag::register_conditional_default(signal, monitor.flag())
            .and_then(|_| flag::register(signal, monitor.flag()));
        if let Err(error) = registered {
            tracing::debug!(%error, "no handler for a signal");
        }
    }
}
