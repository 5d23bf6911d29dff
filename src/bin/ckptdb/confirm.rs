//! Asking before something is removed.

use std::io::{self, IsTerminal, Write};

use crate::failure::{Exit, Failure};

/// Asks on a terminal and fails unless the answer is yes. Scripts are not asked: they can't
/// answer, and `--yes` in every script would protect nobody.
pub(crate) fn ask(question: &str, yes: bool) -> Result<(), Failure> {
    if yes || !io::stdin().is_terminal() || !io::stderr().is_terminal() {
        return Ok(());
    }
    let mut err = io::stderr().lock();
    write!(err, "{question} [y/N] ")?;
    err.flush()?;
    let mut answer = String::new();
    io::stdin().read_line(&mut answer)?;
    match answer.trim() {
        "y" | "Y" | "yes" => Ok(()),
        _ => Err(Failure::new(
            Exit::Failed,
            "not confirmed; nothing was changed",
        )),
    }
}
