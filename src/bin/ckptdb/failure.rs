//! Why a command failed: the message, what caused it, what to do, and the exit code.

use std::error::Error as StdError;
use std::fmt::Display;
use std::io::{self, ErrorKind, Write};
use std::process::ExitCode;

use anstyle::{AnsiColor, Style};
use ckptdb::Error;

const ERROR: Style = AnsiColor::Red.on_default().bold();
const HINT: Style = AnsiColor::Cyan.on_default();

/// The documented exit codes of failures.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Exit {
    /// Whoever read the output went away: nothing failed.
    Quiet = 0,
    Failed = 1,
    Usage = 2,
    Damage = 3,
    NotFound = 4,
    NoStore = 10,
    Busy = 11,
    Full = 12,
    Interrupted = 130,
}

/// Why a command failed.
#[derive(Debug)]
pub(crate) struct Failure {
    exit: Exit,
    message: String,
    causes: Vec<String>,
    hint: Option<String>,
    /// Whether what is stored is damaged.
    is_damage: bool,
}

impl Failure {
    /// What is wrong with a store that does not open because it is damaged.
    pub(crate) fn damage(&self) -> Option<&str> {
        self.is_damage.then_some(self.message.as_str())
    }

    /// The same failure with another exit code.
    pub(crate) fn exit_with(self, exit: Exit) -> Self {
        Self { exit, ..self }
    }

    /// A failure with this exit code and message.
    pub(crate) fn new(exit: Exit, message: impl Display) -> Self {
        Self {
            exit,
            message: message.to_string(),
            causes: Vec::new(),
            hint: None,
            is_damage: false,
        }
    }

    /// The command line asks for something that makes no sense.
    pub(crate) fn usage(message: impl Display) -> Self {
        Self::new(Exit::Usage, message)
    }

    /// The same failure with a way out of it.
    pub(crate) fn hint(self, hint: impl Display) -> Self {
        Self {
            hint: Some(hint.to_string()),
            ..self
        }
    }

    /// Whether there is no store.
    pub(crate) fn is_no_store(&self) -> bool {
        self.exit == Exit::NoStore
    }

    /// The same failure with another hint, made of the one that it has.
    pub(crate) fn and(self, hint: impl FnOnce(String) -> String) -> Self {
        Self {
            hint: self.hint.map(hint),
            ..self
        }
    }

    /// Prints the failure on stderr and gives the process its exit code.
    pub(crate) fn report(&self) -> ExitCode {
        if self.exit != Exit::Quiet {
            // Without a stderr only the exit code is left to tell.
            let _ = self.write(&mut anstream::stderr().lock());
        }
        ExitCode::from(self.exit as u8)
    }

    fn write(&self, out: &mut impl Write) -> io::Result<()> {
        writeln!(out, "{ERROR}error:{ERROR:#} {}", self.message)?;
        for cause in &self.causes {
            writeln!(out, "  {cause}")?;
        }
        for (number, line) in self.hint.iter().flat_map(|hint| hint.lines()).enumerate() {
            let label = if number == 0 { "hint:" } else { "     " };
            writeln!(out, "  {HINT}{label}{HINT:#} {line}")?;
        }
        Ok(())
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        let is_damage = matches!(error, Error::Corrupt { .. });
        let exit = match &error {
            Error::NoStore { .. } => Exit::NoStore,
            Error::Busy { .. } => Exit::Busy,
            Error::Full { .. } => Exit::Full,
            Error::NotFound { .. } | Error::Deleted { .. } => Exit::NotFound,
            Error::Invalid { .. } => Exit::Usage,
            Error::Cancelled { .. } => Exit::Interrupted,
            Error::Io { source, .. } if source.kind() == ErrorKind::BrokenPipe => Exit::Quiet,
            _ => Exit::Failed,
        };
        let mut failure = Self::new(exit, &error);
        failure.is_damage = is_damage;
        failure.hint = error.hint();
        let mut source = error.source();
        while let Some(cause) = source {
            failure.causes.push(cause.to_string());
            source = cause.source();
        }
        failure
    }
}

/// Only writing the output gives a bare I/O error; everything else goes through the library.
impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        let exit = match error.kind() {
            ErrorKind::BrokenPipe => Exit::Quiet,
            ErrorKind::StorageFull => Exit::Full,
            _ => Exit::Failed,
        };
        let mut failure = Self::new(exit, "the output could not be written");
        failure.causes.push(error.to_string());
        failure
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reader_that_went_away_is_no_failure() {
        let failure = Failure::from(io::Error::from(ErrorKind::BrokenPipe));
        assert_eq!(failure.exit, Exit::Quiet);
    }

    #[test]
    fn the_message_is_followed_by_causes_and_the_hint() {
        let mut failure = Failure::new(Exit::Failed, "it broke").hint("mend it\nor leave it");
        failure.causes.push("a crack".to_owned());
        let mut text = anstream::StripStream::new(Vec::new());
        failure.write(&mut text).unwrap();
        let text = String::from_utf8(text.into_inner()).unwrap();
        assert_eq!(
            text,
            "error: it broke\n  a crack\n  hint: mend it\n        or leave it\n"
        );
    }
}
