//! Signals that ask a training to stop. The first one is remembered until a step looks; a second
//! one does what it does in any program.

use std::io;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use signal_hook::consts::{SIGINT, SIGTERM, SIGUSR1};
use signal_hook::{SigId, flag, low_level};

/// Whoever listens; the handlers are there while anybody does.
static LISTENERS: Mutex<Option<Handlers>> = Mutex::new(None);

struct Handlers {
    count: usize,
    ids: Vec<SigId>,
    signal: Arc<AtomicUsize>,
}

/// Listens until it is dropped.
#[derive(Debug)]
pub(super) struct Signals {
    signal: Arc<AtomicUsize>,
}

impl Signals {
    pub(super) fn listen() -> io::Result<Self> {
        let mut listeners = LISTENERS.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(handlers) = listeners.as_mut() {
            handlers.count += 1;
            let signal = Arc::clone(&handlers.signal);
            return Ok(Self { signal });
        }
        let mut handlers = Handlers {
            count: 1,
            ids: Vec::new(),
            signal: Arc::new(AtomicUsize::new(0)),
        };
        let registered = handlers.register();
        if let Err(error) = registered {
            handlers.unregister();
            return Err(error);
        }
        let signal = Arc::clone(&handlers.signal);
        *listeners = Some(handlers);
        Ok(Self { signal })
    }

    /// The signal that came, if one did. It is the same for all sessions of the process.
    pub(super) fn pending(&self) -> Option<&'static str> {
        match i32::try_from(self.signal.load(Ordering::SeqCst)).ok()? {
            SIGINT => Some("SIGINT"),
            SIGTERM => Some("SIGTERM"),
            SIGUSR1 => Some("SIGUSR1"),
            _ => None,
        }
    }
}

impl Handlers {
    fn register(&mut self) -> io::Result<()> {
        for signal in [SIGINT, SIGTERM, SIGUSR1] {
            if signal != SIGUSR1 {
                // Somebody who asks twice does not want to wait. Asked before the flag is set, so
                // that the first signal only sets it.
                let came = Arc::new(AtomicBool::new(false));
                let twice = flag::register_conditional_default(signal, Arc::clone(&came))?;
                self.ids.push(twice);
                self.ids.push(flag::register(signal, came)?);
            }
            let number = usize::try_from(signal).unwrap_or_default();
            let its = Arc::clone(&self.signal);
            self.ids.push(flag::register_usize(signal, its, number)?);
        }
        Ok(())
    }

    fn unregister(&mut self) {
        for id in self.ids.drain(..) {
            low_level::unregister(id);
        }
    }
}

impl Drop for Signals {
    fn drop(&mut self) {
        let mut listeners = LISTENERS.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(handlers) = listeners.as_mut() {
            handlers.count -= 1;
            if handlers.count == 0 {
                handlers.unregister();
                *listeners = None;
            }
        }
    }
}
