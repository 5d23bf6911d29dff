//! The training process as the demo sees it: started, listened to, killed.

use std::env;
use std::io::{BufRead, BufReader, Lines};
use std::process::{self, ChildStdout, Command, Stdio};

use ckptdb::Sharing;

use super::message::Message;
use super::plan::Plan;
use crate::failure::{Exit, Failure};

/// A running training process. It is killed if this is dropped.
#[derive(Debug)]
pub(super) struct Child {
    process: process::Child,
    lines: Option<Lines<BufReader<ChildStdout>>>,
}

impl Child {
    /// Starts this very program once more, to train. What it has to complain about goes to
    /// stderr, where the user sees it.
    pub(super) fn start(plan: &Plan) -> Result<Self, Failure> {
        let failed = |error| Failure::new(Exit::Failed, format!("can't start a process: {error}"));
        let mut command = Command::new(env::current_exe().map_err(failed)?);
        command
            .args(["demo", "--worker", "--store"])
            .arg(&plan.store);
        for (option, number) in [
            ("--iterations", plan.iterations),
            ("--every", plan.every),
            ("--seed", plan.seed),
        ] {
            command.arg(option).arg(number.to_string());
        }
        if plan.options.sharing == Sharing::Anywhere {
            command.arg("--force-network");
        }
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut process = command.spawn().map_err(failed)?;
        let lines = process
            .stdout
            .take()
            .map(|stdout| BufReader::new(stdout).lines());
        Ok(Self { process, lines })
    }

    /// Lets it end when it is done. Until then it waits at its end, so that a kill never comes too
    /// late, however busy the machine is.
    pub(super) fn let_end(&mut self) {
        drop(self.process.stdin.take());
    }

    /// Its process id.
    pub(super) fn id(&self) -> u32 {
        self.process.id()
    }

    /// Waits for its next message. None at the end of its output; what was cut off by a kill is
    /// no message either.
    pub(super) fn next(&mut self) -> Option<Message> {
        let line = self.lines.as_mut()?.next()?.ok()?;
        Message::parse(&line)
    }

    /// Kills it (SIGKILL: it gets no say), and waits until it is gone.
    pub(super) fn kill(&mut self) -> Result<(), Failure> {
        let failed = |error| Failure::new(Exit::Failed, format!("can't kill a process: {error}"));
        self.process.kill().map_err(failed)?;
        let status = self.process.wait().map_err(failed)?;
        if status.code().is_none() || cfg!(not(unix)) {
            return Ok(());
        }
        Err(self.ended_early())
    }

    /// Waits until it has ended by itself, which has to be a success.
    pub(super) fn finish(&mut self) -> Result<(), Failure> {
        match self.process.wait() {
            Ok(status) if status.success() => Ok(()),
            _ => Err(self.ended_early()),
        }
    }

    /// The failure of a process that ended before its time.
    pub(super) fn ended_early(&mut self) -> Failure {
        let how = match self.process.wait() {
            Ok(status) => status.to_string(),
            Err(error) => error.to_string(),
        };
        Failure::new(
            Exit::Failed,
            format!("the training process ended early: {how}"),
        )
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        // Both fail only if it is gone already, which is what is wanted.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
