//! Progress on stderr: only on a terminal, and only of what takes a while.

use std::io::{self, IsTerminal};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// What is done sooner shows no progress.
const DELAY: Duration = Duration::from_millis(500);
const TICK: Duration = Duration::from_millis(100);
const WITH_LENGTH: &str = "{msg} {wide_bar} {binary_bytes} of {binary_total_bytes}, \
                           {binary_bytes_per_sec}, {eta} left";
const WITHOUT_LENGTH: &str = "{spinner} {msg} {elapsed}";

/// A bar or spinner that appears after half a second and is gone when this is dropped.
pub(crate) struct Progress {
    bar: ProgressBar,
    watcher: Option<(Sender<()>, JoinHandle<()>)>,
}

impl Progress {
    /// Starts to wait. `message` says what is being done.
    pub(crate) fn start(message: &'static str) -> Self {
        let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::hidden());
        bar.set_style(template(WITHOUT_LENGTH));
        bar.set_message(message);
        let watcher = io::stderr().is_terminal().then(|| watch(bar.clone()));
        Self { bar, watcher }
    }

    /// Tells how far it has come, in bytes.
    pub(crate) fn set(&self, done: u64, total: u64) {
        if self.bar.length() != Some(total) {
            self.bar.set_style(template(WITH_LENGTH));
            self.bar.set_length(total);
        }
        self.bar.set_position(done);
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Some((stop, thread)) = self.watcher.take() {
            drop(stop);
            // The thread can't fail; were it to, there would be nobody to tell.
            let _ = thread.join();
        }
        self.bar.finish_and_clear();
    }
}

/// Shows the bar once the delay is over, unless the work is done by then.
fn watch(bar: ProgressBar) -> (Sender<()>, JoinHandle<()>) {
    let (stop, stopped) = channel();
    let thread = thread::spawn(move || {
        if stopped.recv_timeout(DELAY) == Err(RecvTimeoutError::Timeout) {
            bar.set_draw_target(ProgressDrawTarget::stderr());
            bar.enable_steady_tick(TICK);
        }
    });
    (stop, thread)
}

fn template(text: &str) -> ProgressStyle {
    ProgressStyle::with_template(text).unwrap_or_else(|_| ProgressStyle::default_bar())
}
