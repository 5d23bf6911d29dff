//! Listings that are longer than the screen go through a pager, if a person looks at them.

use std::fs::File;
use std::io::{self, Read, Seek, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use anstream::ColorChoice;
use signal_hook::consts::SIGINT;

use super::Style;

/// The variables that name it, the first that is set. An empty one, or `cat`, is for none.
const VARIABLES: [&str; 2] = ["CKPTDB_PAGER", "PAGER"];
const DEFAULT: &str = "less";
/// What `less` is told if the user tells it nothing: show colours, leave on the screen what was
/// shown, end at once if all of it fits after all.
const LESS: &str = "FRX";

/// What a command prints, until it has ended: then it is known whether it fits the screen. As long
/// as the command runs there is no pager, and an interrupt ends it as ever.
#[derive(Debug)]
pub(crate) struct Pager {
    command: String,
    /// What is printed goes here, which is memory.
    held: File,
    /// Where it would go.
    terminal: OwnedFd,
}

impl Pager {
    /// Holds back what is printed from now on, if stdout is a terminal and there is a pager.
    pub(crate) fn start(style: &Style) -> Option<Self> {
        let is_smart = |terminal: &String| !matches!(&**terminal, "" | "dumb");
        let terminal = std::env::var("TERM").ok().filter(is_smart);
        if !style.is_terminal() || style.json || terminal.is_none() {
            return None;
        }
        let set = VARIABLES.iter().find_map(|name| std::env::var(name).ok());
        let command = set.unwrap_or_else(|| DEFAULT.to_owned());
        if matches!(command.trim(), "" | "cat") || !is_there(&command) {
            return None;
        }
        let terminal = io::stdout().as_fd().try_clone_to_owned().ok()?;
        let held = rustix::fs::memfd_create("ckptdb", rustix::fs::MemfdFlags::CLOEXEC).ok()?;
        rustix::stdio::dup2_stdout(&held).ok()?;
        if style.is_coloured() {
            // Stdout is no terminal any more.
            ColorChoice::Always.write_global();
        }
        Some(Self {
            command,
            held: File::from(held),
            terminal,
        })
    }

    /// Nothing more comes: shows it, and waits until the user has seen enough of what is longer
    /// than the screen.
    pub(crate) fn end(mut self) {
        let mut text = Vec::new();
        let read = self.held.rewind();
        let read = read.and_then(|()| self.held.read_to_end(&mut text));
        if rustix::stdio::dup2_stdout(&self.terminal).is_err() || read.is_err() {
            return;
        }
        if self.is_long(&text) && self.page(&text).is_ok() {
            return;
        }
        let mut out = io::stdout().lock();
        // A terminal that is gone is no reason to fail.
        let _ = out.write_all(&text).and_then(|()| out.flush());
    }

    fn is_long(&self, text: &[u8]) -> bool {
        let Ok(size) = rustix::termios::tcgetwinsize(&self.terminal) else {
            return false;
        };
        let (rows, columns) = (usize::from(size.ws_row), usize::from(size.ws_col).max(1));
        let lines = String::from_utf8_lossy(text);
        let taken = lines.lines().map(|line| {
            let shown = anstream::adapter::strip_str(line).to_string();
            shown.chars().count().div_ceil(columns).max(1)
        });
        // The shell's prompt takes one.
        rows > 0 && taken.sum::<usize>() >= rows
    }

    fn page(&self, text: &[u8]) -> io::Result<()> {
        let mut shell = Command::new("sh");
        shell.args(["-c", &self.command]).stdin(Stdio::piped());
        if std::env::var_os("LESS").is_none() {
            shell.env("LESS", LESS);
        }
        // The pager ends when its user says so. An interrupt, which it gets too, must not leave it
        // alone with the terminal.
        let came = Arc::new(AtomicBool::new(false));
        signal_hook::flag::register(SIGINT, came)?;
        let mut child = shell.spawn()?;
        if let Some(mut input) = child.stdin.take() {
            // One that has seen enough is no error.
            let _ = input.write_all(text);
        }
        child.wait().map(drop)
    }
}

/// Whether the first word of a command is a program that can be found.
fn is_there(command: &str) -> bool {
    let is_end = |letter: char| letter.is_whitespace() || ";|&<>()".contains(letter);
    let program = command.trim_start().split(is_end).next();
    let program = program.unwrap_or_default();
    let folders = std::env::var_os("PATH").unwrap_or_default();
    let mut places = std::env::split_paths(&folders).map(|folder| folder.join(program));
    // An absolute path replaces the folder.
    places.any(|place| place.is_file())
}
