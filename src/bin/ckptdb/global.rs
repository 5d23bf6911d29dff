//! Options that every command has.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

/// Options of every command.
#[derive(Debug, Args)]
pub(crate) struct Global {
    /// The store [default: `CKPTDB_STORE`, else the one *.ckptdb in this folder or above].
    #[arg(
        short,
        long,
        global = true,
        value_name = "PATH",
        help_heading = "Global options"
    )]
    pub(crate) store: Option<PathBuf>,
    /// Print one JSON document instead of text.
    #[arg(long, global = true, help_heading = "Global options")]
    pub(crate) json: bool,
    /// When to colour; `NO_COLOR` is respected too.
    #[arg(long, global = true, value_name = "WHEN", default_value = "auto")]
    #[arg(hide_possible_values = false, help_heading = "Global options")]
    pub(crate) color: ColorWhen,
}

/// When to colour.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum ColorWhen {
    /// On a terminal.
    Auto,
    /// Even when piped.
    Always,
    /// Not at all.
    Never,
}
