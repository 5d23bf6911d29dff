//! Long listings go through a pager, if a person looks at them.

use std::fs::File;
use std::process::{Child, Command, Stdio};

use anstream::ColorChoice;

use super::Style;
use crate::interrupt::Interrupt;

/// The variables that name it, the first that is set. An empty one, or `cat`, is for none.
const VARIABLES: [&str; 2] = ["CKPTDB_PAGER", "PAGER"];
const DEFAULT: &str = "less";
/// What `less` is told if the user tells it nothing: end at once if all fits the screen, show
/// colours, leave on the screen what was shown.
const LESS: &str = "FRX";

/// A pager that shows what is printed, until it is ended.
#[derive(Debug)]
pub(crate) struct Pager {
    child: Child,
    /// The pager ends when its user says so. An interrupt, which it gets too, must not leave it
    /// alone with the terminal.
    _interrupt: Interrupt,
}

impl Pager {
    /// Starts it, if stdout is a terminal and there is one; what is printed goes there from now on.
    pub(crate) fn start(style: &Style) -> Option<Self> {
        if !style.is_terminal() || style.json {
            return None;
        }
        let set = VARIABLES.iter().find_map(|name| std::env::var(name).ok());
        let command = set.unwrap_or_else(|| DEFAULT.to_owned());
        if matches!(command.trim(), "" | "cat") {
            return None;
        }
        let mut shell = Command::new("sh");
        shell.args(["-c", &command]).stdin(Stdio::piped());
        if std::env::var_os("LESS").is_none() {
            shell.env("LESS", LESS);
        }
        // A shell that has no such program says so by itself, too late to go without.
        if !is_there(&command) {
            return None;
        }
        let mut child = shell.spawn().ok()?;
        let input = child.stdin.take()?;
        if rustix::stdio::dup2_stdout(&input).is_err() {
            let _ = child.kill();
            let _ = child.wait();
            return None;
        }
        if style.is_coloured() {
            // Stdout is no terminal any more.
            ColorChoice::Always.write_global();
        }
        Some(Self {
            child,
            _interrupt: Interrupt::listen(),
        })
    }

    /// Nothing more comes: waits until the user has seen enough.
    pub(crate) fn end(mut self) {
        let ended = File::options().write(true).open("/dev/null");
        if ended.is_ok_and(|null| rustix::stdio::dup2_stdout(&null).is_ok()) {
            let _ = self.child.wait();
        }
    }
}

/// Whether the first word of a command is a program that can be found.
fn is_there(command: &str) -> bool {
    let program = command.split_whitespace().next().unwrap_or_default();
    let folders = std::env::var_os("PATH").unwrap_or_default();
    let mut places = std::env::split_paths(&folders).map(|folder| folder.join(program));
    // An absolute path replaces the folder.
    places.any(|place| place.is_file())
}
