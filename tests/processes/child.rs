//! The same program again as another process, and the lines that it tells its parent.

use std::io::{self, BufRead, BufReader, Write};
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};
use std::str::FromStr;

use crate::{
    durable, exits, forbidden, forked, mounted, newfiles, quota, sharing, signals, stories, sweep,
    worker,
};

/// Says which of the roles below the process has. Without it, it is nobody's child.
const ROLE: &str = "CKPTDB_TEST_ROLE";

/// What stands before a line that is meant for the parent: the test harness prints others.
const MARK: &str = "@ ";

/// What a child can be.
const ROLES: &[(&str, fn())] = &[
    ("worker", worker::run),
    ("sweep", sweep::run),
    ("create", newfiles::run_create),
    ("export", newfiles::run_export),
    ("filler", mounted::run_filler),
    ("full", mounted::run_full),
    ("room-from-inside", mounted::run_room_from_inside),
    ("read-only", mounted::run_read_only),
    ("unclean-full", mounted::run_unclean_full),
    ("saver", mounted::run_saver),
    ("watched", durable::run_watched),
    ("slow", durable::run_slow),
    ("forbidden", forbidden::run),
    ("forked", forked::run),
    ("inodes", mounted::run_inodes),
    ("growing", quota::run_growing),
    ("rotation", quota::run_rotation),
    ("trainer", stories::run_trainer),
    ("market", signals::run_market),
    ("after", signals::run_after),
    ("deaf", signals::run_deaf),
    ("exiter", exits::run),
    ("sharer", sharing::run_sharer),
    ("onlooker", sharing::run_onlooker),
    ("pruner", sharing::run_pruner),
    ("lingerer", sharing::run_lingerer),
];

/// The command that runs this program in a role.
pub(crate) fn command(role: &str) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command
        .args(harness_arguments())
        .env(ROLE, role)
        .stdin(Stdio::null())
        .stdout(Stdio::piped());
    command
}

/// Chooses the one test that is the way into a role.
fn harness_arguments() -> [&'static str; 4] {
    [
        "child::a_process_without_a_role_does_nothing",
        "--exact",
        "--nocapture",
        "--test-threads=1",
    ]
}

/// The way into a role, for a process that was given one.
#[test]
fn a_process_without_a_role_does_nothing() {
    let Ok(role) = std::env::var(ROLE) else {
        return;
    };
    // The harness has begun a line with the test's name.
    io::stdout().write_all(b"\n").unwrap();
    let (_, run) = ROLES.iter().find(|(name, _)| *name == role).unwrap();
    run();
}

/// An argument from the environment.
pub(crate) fn argument<T: FromStr>(name: &str) -> T {
    let text = std::env::var(name).unwrap_or_else(|_| panic!("the role needs {name}"));
    text.parse()
        .unwrap_or_else(|_| panic!("{name} can't be {text}"))
}

/// Tells the parent a line, in one write. A child without a parent ends here.
pub(crate) fn tell(line: &str) {
    let line = format!("{MARK}{line}\n");
    io::stdout().write_all(line.as_bytes()).unwrap();
}

/// A running child, killed if it is dropped.
pub(crate) struct Process {
    child: Child,
    lines: BufReader<ChildStdout>,
}

impl Process {
    pub(crate) fn start(command: &mut Command) -> Self {
        let mut child = command.spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap());
        Self { child, lines }
    }

    /// The next line that it tells; none after the last.
    pub(crate) fn line(&mut self) -> Option<String> {
        let mut line = String::new();
        loop {
            line.clear();
            if self.lines.read_line(&mut line).unwrap() == 0 {
                return None;
            }
            // A line without its end was cut off by the kill.
            if let Some(told) = line.strip_prefix(MARK)
                && let Some(told) = told.strip_suffix('\n')
            {
                return Some(told.to_owned());
            }
        }
    }

    /// The lines that are still to come, to the last.
    pub(crate) fn rest(&mut self) -> Vec<String> {
        std::iter::from_fn(|| self.line()).collect()
    }

    /// Its number.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Whether it has not ended yet.
    pub(crate) fn is_running(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    /// SIGKILL.
    pub(crate) fn kill(&mut self) {
        self.child.kill().unwrap();
    }

    /// Waits for its end.
    pub(crate) fn wait(&mut self) -> ExitStatus {
        self.child.wait().unwrap()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended long ago; both are harmless then.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// Runs a child to its end, which must be a good one, and returns what it told.
pub(crate) fn finish(command: &mut Command) -> Vec<String> {
    let mut process = Process::start(command);
    let lines = process.rest();
    let status = process.wait();
    assert!(status.success(), "{status}, after {lines:#?}");
    lines
}
