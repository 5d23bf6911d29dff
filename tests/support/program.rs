//! The command line.

use std::path::Path;
use std::process::Command;

/// Runs it in a folder: its exit code, and what it wrote to stdout and stderr.
pub(crate) fn ckptdb(folder: &Path, arguments: &[&str]) -> (i32, String, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ckptdb"));
    command
        .args(arguments)
        .current_dir(folder)
        .env_remove("CKPTDB_STORE");
    let output = command.output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (
        output.status.code().unwrap(),
        text(output.stdout),
        text(output.stderr),
    )
}
