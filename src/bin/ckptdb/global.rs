//! Options that every command has.

use std::path::PathBuf;
use std::time::Duration;

use ckptdb::{Monitor, Options, Sharing};
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
    /// How long to wait for another process that writes to the store: `90s`, `5m`, `0s`.
    #[arg(
        long,
        global = true,
        value_name = "TIME",
        default_value = "60s",
        value_parser = ckptdb::config::duration,
        help_heading = "Global options"
    )]
    pub(crate) wait: Duration,
    /// Use a store on a network file system: no other machine may have it open.
    #[arg(long, global = true, help_heading = "Global options")]
    pub(crate) force_network: bool,
    /// Print one JSON document instead of text.
    #[arg(long, global = true, help_heading = "Global options")]
    pub(crate) json: bool,
    /// When to colour; `NO_COLOR` is respected too.
    #[arg(long, global = true, value_name = "WHEN", default_value = "auto")]
    #[arg(hide_possible_values = false, help_heading = "Global options")]
    pub(crate) color: ColorWhen,
    /// Looks on what the command does with its stores.
    #[arg(skip)]
    pub(crate) monitor: Monitor,
}

impl Global {
    /// How stores are opened.
    pub(crate) fn options(&self) -> Options {
        Options {
            wait: self.wait,
            sharing: if self.force_network {
                Sharing::Anywhere
            } else {
                Sharing::default()
            },
            monitor: self.monitor.clone(),
            ..Options::default()
        }
    }
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
