//! `completions`: what a shell needs to complete commands and options.

use std::io::Write;

use clap_complete::Shell;
use serde_json::json;

use crate::failure::Failure;
use crate::output::Style;

/// Options of `completions`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The shell.
    #[arg(value_name = "SHELL")]
    shell: Shell,
}

/// Prints the script.
pub(crate) fn run(args: &Args, mut cli: clap::Command, style: &Style) -> Result<(), Failure> {
    let name = cli.get_name().to_owned();
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut cli, name, &mut script);
    if style.json {
        let script = String::from_utf8_lossy(&script);
        return style.document("completions", &json!({ "script": script }));
    }
    let mut out = style.out();
    out.write_all(&script)?;
    Ok(out.flush()?)
}
