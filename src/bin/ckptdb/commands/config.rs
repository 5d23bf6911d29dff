//! `config`: what is configured, and where.

use std::io::Write;

use ckptdb::config::{Origin, Setting};
use ckptdb::name::{check_job, printable};
use clap_complete::engine::ArgValueCompleter;
use serde_json::{Map, Value, json};

use crate::complete;
use crate::failure::Failure;
use crate::output::{Cell, Style, Table, Tone};
use crate::settings;

/// Options of `config show`.
#[derive(Debug, clap::Args)]
pub(crate) struct ShowArgs {
    /// The job that it is for: sections for jobs apply by its name.
    #[arg(add = ArgValueCompleter::new(complete::jobs))]
    job: Option<String>,
    /// Say where each setting comes from.
    #[arg(long)]
    origin: bool,
    /// Only what somebody set.
    #[arg(long)]
    changed: bool,
}

/// Prints every key with its value.
pub(crate) fn show(args: &ShowArgs, style: &Style) -> Result<(), Failure> {
    let job = args.job.as_deref().unwrap_or_default();
    if args.job.is_some() {
        check_job(job)?;
    }
    let settings = settings::load()?.settings(job);
    let is_shown = |setting: &Setting| !args.changed || setting.origin != Origin::Default;
    if style.json {
        let rows = settings.iter().filter(|(_, setting)| is_shown(setting));
        let rows: Map<String, Value> = rows
            .map(|(key, setting)| {
                let value = setting.value.to_string();
                let origin = setting.origin.to_string();
                (
                    key.name.to_owned(),
                    json!({ "value": value, "origin": origin }),
                )
            })
            .collect();
        let body = json!({ "job": args.job, "settings": rows });
        return style.document("config", &body);
    }
    let mut table = Table::new(0).left("KEY").left("VALUE");
    table = if args.origin {
        table.wrapped("FROM")
    } else {
        table.wrapped("WHAT IT SAYS")
    };
    for (key, setting) in settings.iter().filter(|(_, setting)| is_shown(setting)) {
        let is_default = setting.origin == Origin::Default;
        let value = setting.value.to_string();
        let last = if args.origin {
            setting.origin.to_string()
        } else {
            key.about.to_owned()
        };
        let value = if is_default {
            Cell::new(value, Tone::Faint)
        } else {
            Cell::new(value, Tone::Good)
        };
        table.row(vec![key.name.into(), value, printable(&last).into()]);
    }
    let mut out = style.out();
    table.write(&mut out, style)?;
    Ok(out.flush()?)
}
