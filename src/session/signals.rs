//! Signals that ask a training to stop. The first one is remembered until a step looks; a second
//! one does what it does in any program.

use std::io;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use signal_hook::consts::{SIGINT, SIGTERM, SIGUSR1};
use signal_hook::flag;

/// The handlers, registered once: what a signal does in any program can't be put back by taking a
/// handler away, so that they do it themselves while nobody listens.
static HANDLERS: Mutex<Option<Arc<Handlers>>> = Mutex::new(None);

#[derive(Debug, Default)]
struct Handlers {
    listeners: AtomicUsize,
    /// The signal that came.
    signal: Arc<AtomicUsize>,
    /// Whether SIGINT and SIGTERM do what they do in any program: nobody listens, or one came.
    is_default: Arc<AtomicBool>,
    /// Whether nobody listens.
    is_idle: Arc<AtomicBool>,
}

/// Listens until it is dropped.
#[derive(Debug)]
pub(super) struct Signals {
    handlers: Arc<Handlers>,
}

impl Signals {
    pub(super) fn listen() -> io::Result<Self> {
        let mut known = HANDLERS.lock().unwrap_or_else(PoisonError::into_inner);
        let handlers = if let Some(handlers) = known.as_ref() {
            Arc::clone(handlers)
        } else {
            let handlers = Arc::new(Handlers::default());
            handlers.register()?;
            *known = Some(Arc::clone(&handlers));
            handlers
        };
        if handlers.listeners.fetch_add(1, Ordering::SeqCst) == 0 {
            handlers.signal.store(0, Ordering::SeqCst);
            handlers.is_default.store(false, Ordering::SeqCst);
            handlers.is_idle.store(false, Ordering::SeqCst);
        }
        Ok(Self { handlers })
    }

    /// The signal that came, if one did. It is the same for all sessions of the process.
    pub(super) fn pending(&self) -> Option<&'static str> {
        let came = self.handlers.signal.load(Ordering::SeqCst);
        match i32::try_from(came).ok()? {
            SIGINT => Some("SIGINT"),
            SIGTERM => Some("SIGTERM"),
            SIGUSR1 => Some("SIGUSR1"),
            _ => None,
        }
    }
}

impl Handlers {
    /// In the order in which they are called: a first signal finds the default off, notes itself,
    /// and, since somebody who asks twice does not want to wait, puts the default on.
    fn register(&self) -> io::Result<()> {
        for signal in [SIGINT, SIGTERM, SIGUSR1] {
            // Of SIGUSR1 a second one is no more than the first.
            let idle = if signal == SIGUSR1 {
                &self.is_idle
            } else {
                &self.is_default
            };
            flag::register_conditional_default(signal, Arc::clone(idle))?;
            let number = usize::try_from(signal).unwrap_or_default();
            flag::register_usize(signal, Arc::clone(&self.signal), number)?;
            if signal != SIGUSR1 {
                flag::register(signal, Arc::clone(&self.is_default))?;
            }
        }
        Ok(())
    }
}

impl Drop for Signals {
    fn drop(&mut self) {
        let _one_at_a_time = HANDLERS.lock().unwrap_or_else(PoisonError::into_inner);
        if self.handlers.listeners.fetch_sub(1, Ordering::SeqCst) == 1 {
            self.handlers.is_default.store(true, Ordering::SeqCst);
            self.handlers.is_idle.store(true, Ordering::SeqCst);
        }
    }
}
