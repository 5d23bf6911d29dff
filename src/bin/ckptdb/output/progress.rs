//! Progress on stderr, of what takes a while: a bar on a terminal, elsewhere a line now and then.

use std::io::{self, IsTerminal, Write};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use ckptdb::Monitor;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::human;

/// What is done sooner shows no progress.
const DELAY: Duration = Duration::from_millis(500);
/// Where there is no terminal, a line is written every so often.
const LINES: Duration = Duration::from_secs(10);
const TICK: Duration = Duration::from_millis(100);
const WITH_LENGTH: &str = "{msg} {wide_bar} {binary_bytes} of {binary_total_bytes}, \
                           {binary_bytes_per_sec}, {eta} left";
const WITHOUT_LENGTH: &str = "{spinner} {msg} {elapsed}";

/// A bar or spinner that appears after half a second and is gone when this is dropped; or lines for
/// a log.
pub(crate) struct Progress {
    bar: ProgressBar,
    /// They end when their channel does.
    threads: Vec<(Sender<()>, JoinHandle<()>)>,
}

impl Progress {
    /// Starts to wait. `message` says what is being done.
    pub(crate) fn start(message: &'static str) -> Self {
        let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::hidden());
        bar.set_style(template(WITHOUT_LENGTH));
        bar.set_message(message);
        let (stop, stopped) = channel();
        let watched = bar.clone();
        let thread = if io::stderr().is_terminal() {
            thread::spawn(move || show(&watched, &stopped))
        } else {
            thread::spawn(move || log(&watched, message, &stopped))
        };
        Self {
            bar,
            threads: vec![(stop, thread)],
        }
    }

    /// Starts to wait for so many bytes, of which the monitor tells how many are done.
    pub(crate) fn follow(message: &'static str, monitor: &Monitor, total: u64) -> Self {
        let begun = monitor.bytes();
        let mut progress = Self::start(message);
        progress.set(0, total);
        let (monitor, bar) = (monitor.clone(), progress.bar.clone());
        let (stop, stopped) = channel();
        let thread = thread::spawn(move || {
            while stopped.recv_timeout(TICK) == Err(RecvTimeoutError::Timeout) {
                bar.set_position(monitor.bytes().saturating_sub(begun).min(total));
            }
        });
        progress.threads.push((stop, thread));
        progress
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
        for (stop, thread) in self.threads.drain(..) {
            drop(stop);
            // The thread can't fail; were it to, there would be nobody to tell.
            let _ = thread.join();
        }
        self.bar.finish_and_clear();
    }
}

/// Shows the bar once the delay is over, unless the work is done by then.
fn show(bar: &ProgressBar, stopped: &Receiver<()>) {
    if stopped.recv_timeout(DELAY) == Err(RecvTimeoutError::Timeout) {
        bar.set_draw_target(ProgressDrawTarget::stderr());
        bar.enable_steady_tick(TICK);
    }
}

/// Writes lines until the work is done.
fn log(bar: &ProgressBar, message: &str, stopped: &Receiver<()>) {
    while stopped.recv_timeout(LINES) == Err(RecvTimeoutError::Timeout) {
        let far = (bar.position(), bar.length());
        let line = line(message, bar.elapsed(), far);
        // A log that can't be written to is no reason to fail.
        let _ = writeln!(anstream::stderr().lock(), "{line}");
    }
}

/// How far it is after this time: bytes, of how many.
fn line(message: &str, elapsed: Duration, (done, total): (u64, Option<u64>)) -> String {
    let so_far = i64::try_from(elapsed.as_millis()).unwrap_or(i64::MAX);
    let Some(total) = total.filter(|total| *total > 0 && done > 0) else {
        return format!("{message}: {} so far", human::duration(so_far));
    };
    let millis = elapsed.as_millis().max(1);
    let rate = u128::from(done) * 1000 / millis;
    let left = u128::from(total.saturating_sub(done)) * millis / u128::from(done);
    format!(
        "{message}: {} of {} ({}), {}/s, {} left",
        human::size(done),
        human::size(total),
        human::percent(done, total),
        human::size(u64::try_from(rate).unwrap_or(u64::MAX)),
        human::duration(i64::try_from(left).unwrap_or(i64::MAX)),
    )
}

fn template(text: &str) -> ProgressStyle {
    ProgressStyle::with_template(text).unwrap_or_else(|_| ProgressStyle::default_bar())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_says_how_far_it_is_how_fast_and_how_long_it_will_take() {
        let after = |seconds, far| line("importing", Duration::from_secs(seconds), far);
        let gib = 1 << 30;
        assert_eq!(
            after(10, (gib, Some(4 * gib))),
            "importing: 1.00 GiB of 4.00 GiB (25.0 %), 102.4 MiB/s, 30s left"
        );
        assert_eq!(after(120, (0, Some(gib))), "importing: 2m so far");
        assert_eq!(after(20, (0, None)), "importing: 20s so far");
        assert_eq!(
            after(0, (5, Some(5))),
            "importing: 5 B of 5 B (100.0 %), 4.88 KiB/s, 0s left"
        );
    }
}
