//! What the command line accepts at its top; each command's own options stand in its file.

use std::ffi::OsString;

use clap::{Args, Parser, Subcommand};

use crate::global::Global;
use crate::{commands, demo, report};

const EXIT_CODES: &str = "\
References:
  vit@latest  vit@25000  vit@best:val_loss  vit@tag:NAME  vit@event:final  vit@latest~2  id:12

Exit codes:
  0 ok, 1 failed, 2 usage, 3 verify found damage, 4 reference not found,
  10 no store, 11 store in use, 12 disk full, 130 interrupted";

/// A checkpoint store for single-node training: one file, no server.
#[derive(Debug, Parser)]
#[command(name = "ckptdb", version, after_help = EXIT_CODES, max_term_width = 100)]
#[command(subcommand_required = true, arg_required_else_help = true)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// The verbs.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Create an empty store.
    Init(commands::init::Args),
    /// Save files as a checkpoint.
    Save(commands::save::Args),
    /// Save a folder of checkpoints that other programs have left.
    Import(commands::import::Args),
    /// Write a checkpoint's entries to files.
    Export(commands::export::Args),
    /// List checkpoints, newest first.
    Ls(commands::ls::Args),
    /// Show where checkpoints came from: lines, forks, and what rollbacks left behind.
    Log(commands::log::Args),
    /// List jobs, or delete one.
    Jobs(JobsArgs),
    /// Show everything on a checkpoint.
    Show(commands::show::Args),
    /// Show the newest checkpoint of a job.
    Latest(commands::latest::Args),
    /// Show the best checkpoints of a job by a metric.
    Best(commands::best::Args),
    /// Show what differs between two checkpoints.
    Diff(commands::diff::Args),
    /// Name a checkpoint, or remove a name.
    Tag(commands::tag::Args),
    /// Protect checkpoints from every removal.
    Pin(commands::pin::Args),
    /// End the protection of a pin.
    Unpin(commands::pin::UnpinArgs),
    /// Add attributes to a saved checkpoint.
    Annotate(commands::annotate::Args),
    /// Delete checkpoints; they can be undeleted for a while.
    Delete(commands::delete::Args),
    /// Bring deleted checkpoints back.
    Undelete(commands::undelete::Args),
    /// Delete the checkpoints of a job that no rule keeps.
    #[command(override_usage = "ckptdb prune <JOB> [--keep-..] [OPTIONS]")]
    Prune(commands::prune::Args),
    /// Make an earlier checkpoint the one to go on from.
    Rollback(commands::rollback::Args),
    /// Begin a job with a checkpoint of another; the bytes are shared.
    Fork(commands::fork::Args),
    /// Show a job's time series.
    Telemetry(commands::telemetry::Args),
    /// Free the space of deleted checkpoints whose undo window is over.
    Reclaim(commands::reclaim::Args),
    /// Shrink the file to what it holds.
    Compact(commands::compact::Args),
    /// Check what is stored against its hashes; changes nothing.
    Verify(commands::verify::Args),
    /// Mend the store in place; names what can't be.
    Repair(commands::repair::Args),
    /// Rebuild a store from the bytes of a broken one.
    Salvage(commands::salvage::Args),
    /// Show the newest checkpoint that can be loaded, after reading all of it.
    Resume(commands::resume::Args),
    /// Show what the store holds and what it takes on the disk.
    Stats,
    /// Show how saving and resuming go, and when the disk is full.
    Doctor(commands::doctor::Args),
    /// Show how jobs go while other processes train them, again and again.
    Watch(commands::watch::Args),
    /// Write a page that shows how jobs went; it opens in a browser, offline.
    Report(report::Args),
    /// Declare metrics.
    Metric(MetricArgs),
    /// Show what is configured, and where.
    Config(ConfigArgs),
    /// Train something small and show what the store does.
    Demo(demo::Args),
    /// Print the completions of a shell.
    Completions(commands::completions::Args),
    /// Write the man pages into a folder.
    Man(commands::man::Args),
    /// Print the version.
    Version,
}

/// `jobs` alone lists them.
#[derive(Debug, Args)]
pub(crate) struct JobsArgs {
    #[command(subcommand)]
    pub(crate) action: Option<JobsAction>,
}

/// What can be done to a job.
#[derive(Debug, Subcommand)]
pub(crate) enum JobsAction {
    /// Delete a job with all its checkpoints; they can be undeleted for a while.
    Delete(commands::jobs_delete::Args),
    /// Give a job another name.
    Rename(commands::jobs_rename::Args),
}

/// `metric` does nothing by itself.
#[derive(Debug, Args)]
pub(crate) struct MetricArgs {
    #[command(subcommand)]
    pub(crate) action: MetricAction,
}

/// What can be done to a metric.
#[derive(Debug, Subcommand)]
pub(crate) enum MetricAction {
    /// Say which way a metric is better.
    Declare(commands::metric::DeclareArgs),
}

/// `config` does nothing by itself.
#[derive(Debug, Args)]
pub(crate) struct ConfigArgs {
    #[command(subcommand)]
    pub(crate) action: ConfigAction,
}

/// What can be asked of the configuration.
#[derive(Debug, Subcommand)]
pub(crate) enum ConfigAction {
    /// Print every key with its value.
    Show(commands::config::ShowArgs),
}

/// Commands whose first argument is a reference, and those of which every one is.
const OF_ONE: [&str; 7] = [
    "show", "export", "verify", "rollback", "fork", "annotate", "tag",
];
const OF_MANY: [&str; 4] = ["diff", "pin", "unpin", "delete"];

/// The arguments, with an age that stands where a reference does, as `-2h` of the only job, in the
/// form that is not taken for an option: no option is a digit. What stands behind an option may be
/// its value, and is left as it is.
pub(crate) fn with_ages(arguments: impl Iterator<Item = OsString>) -> Vec<OsString> {
    let mut arguments: Vec<OsString> = arguments.collect();
    let is = |word: &OsString, among: &[&str]| among.iter().any(|verb| word == *verb);
    let is_verb = |word: &OsString| is(word, &OF_ONE) || is(word, &OF_MANY);
    let Some(verb) = arguments.iter().skip(1).position(is_verb) else {
        return arguments;
    };
    let verb = verb + 1;
    let takes_many = is(&arguments[verb], &OF_MANY);
    for at in verb + 1..arguments.len() {
        let is_first = at == verb + 1;
        let is_option = arguments[at - 1].as_encoded_bytes().starts_with(b"-");
        let is_many = takes_many && !is_option;
        let age = arguments[at].to_str().filter(|text| is_age(text));
        if let Some(age) = age.filter(|_| is_first || is_many) {
            arguments[at] = format!("@{age}").into();
        }
    }
    arguments
}

/// Whether the text is `-2h`, perhaps with `~1` behind it.
fn is_age(text: &str) -> bool {
    let Some(age) = text.strip_prefix('-') else {
        return false;
    };
    let age = age.split_once('~').map_or(age, |(age, _)| age);
    let digits = age.trim_end_matches(['s', 'm', 'h', 'd', 'w']);
    let is_number = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    is_number && digits.len() + 1 == age.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_age_is_a_reference_where_one_is_meant_and_nowhere_else() {
        let cases = [
            ("ckptdb show -2h", "ckptdb show @-2h"),
            (
                "ckptdb -s x show -1d~2 --entries",
                "ckptdb -s x show @-1d~2 --entries",
            ),
            ("ckptdb diff -2h -15m", "ckptdb diff @-2h @-15m"),
            ("ckptdb pin NQ -3s", "ckptdb pin NQ @-3s"),
        ];
        let split = |text: &str| text.split(' ').map(OsString::from).collect::<Vec<_>>();
        for (typed, meant) in cases {
            assert_eq!(with_ages(split(typed).into_iter()), split(meant));
        }
        for other in [
            "ckptdb save f -j x -i 1 -t -2h",
            "ckptdb tag NQ@1 -2h",
            "ckptdb rollback NQ@1 --reason -2h",
            "ckptdb save -j x -i 1 -- -2h",
            "ckptdb pin -n -2h",
            "ckptdb show -n",
            "ckptdb show -2",
            "ckptdb show -2hh",
            "ckptdb watch --interval -2s",
            "ckptdb",
        ] {
            assert_eq!(with_ages(split(other).into_iter()), split(other));
        }
    }
}
