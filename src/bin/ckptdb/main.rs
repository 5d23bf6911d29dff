//! The command line of ckptdb: parse, dispatch, report, exit.

mod args;
mod commands;
mod complete;
mod confirm;
mod demo;
mod failure;
mod forecast;
mod global;
mod interrupt;
mod layers;
mod lookup;
mod output;
mod report;
mod settings;
mod store_path;

use std::process::ExitCode;

use ckptdb::Store;
use clap::{CommandFactory, Parser};

use crate::args::{Cli, Command, ConfigAction, JobsAction, MetricAction};
use crate::failure::Failure;
#[cfg(target_os = "linux")]
use crate::output::Pager;
use crate::output::Style;

/// The engine may panic on damaged bytes; the library makes an error of that, which is reported
/// like any other. Only a panic of our own is a story to tell.
fn report_no_engine_panics() {
    let default = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        let of_engine = |place: &std::panic::Location<'_>| place.file().contains("redb-");
        if !panic.location().is_some_and(of_engine) {
            default(panic);
        }
    }));
}

fn main() -> ExitCode {
    report_no_engine_panics();
    complete::answer(Cli::command);
    let cli = match Cli::try_parse_from(args::with_ages(std::env::args_os())) {
        Ok(cli) => cli,
        Err(error) => {
            // Help and the version arrive here too. If they can't be printed, nobody reads them.
            let _ = error.print();
            return u8::try_from(error.exit_code()).map_or(ExitCode::FAILURE, ExitCode::from);
        }
    };
    if ends_safely(&cli.command) {
        interrupt::cancels(&cli.global.monitor);
    }
    let style = Style::detect(cli.global.json, cli.global.color);
    match run_paged(&cli, &style) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(),
    }
}

/// Whether a command that is interrupted has something to put right: files half written, what to
/// say of what was done. Others are ended by a signal at once; no store is the worse for that.
const fn ends_safely(command: &Command) -> bool {
    matches!(
        command,
        Command::Save(_) | Command::Import(_) | Command::Export(_) | Command::Verify(_)
    )
}

/// Runs a command, and shows through a pager what is more than a screen.
fn run_paged(cli: &Cli, style: &Style) -> Result<(), Failure> {
    #[cfg(target_os = "linux")]
    {
        let pager = is_long(&cli.command).then(|| Pager::start(style)).flatten();
        let result = run(cli, style);
        if let Some(pager) = pager {
            pager.end();
        }
        result
    }
    #[cfg(not(target_os = "linux"))]
    run(cli, style)
}

/// Whether a command lists what may be long, and does not ask.
#[cfg(target_os = "linux")]
const fn is_long(command: &Command) -> bool {
    match command {
        Command::Ls(_)
        | Command::Log(_)
        | Command::Show(_)
        | Command::Telemetry(_)
        | Command::Best(_)
        | Command::Latest(_)
        | Command::Diff(_)
        | Command::Stats
        | Command::Doctor(_)
        | Command::Config(_) => true,
        Command::Jobs(args) => args.action.is_none(),
        Command::Prune(args) => args.dry_run,
        Command::Delete(args) => args.dry_run,
        Command::Import(args) => args.dry_run,
        _ => false,
    }
}

/// Runs the commands that open no store, or open it in their own way; hands the others a store.
fn run(cli: &Cli, style: &Style) -> Result<(), Failure> {
    match &cli.command {
        Command::Init(args) => commands::init::run(args, &cli.global, style),
        Command::Save(args) => commands::save::run(args, &cli.global, style),
        Command::Import(args) => commands::import::run(args, &cli.global, style),
        Command::Demo(args) => demo::run(args, &cli.global, style),
        Command::Version => commands::version::run(style),
        Command::Completions(args) => commands::completions::run(args, style),
        Command::Man(args) => commands::man::run(args, Cli::command(), style),
        Command::Salvage(args) => commands::salvage::run(args, style),
        Command::Config(args) => match &args.action {
            ConfigAction::Show(args) => commands::config::show(args, style),
        },
        command => {
            let store = store_path::open_for(&cli.global, reference_of(command));
            let store = store.map_err(|failure| match command {
                Command::Verify(_) => commands::verify::unopened(failure, style),
                _ => failure,
            })?;
            let result = if is_rehearsed(command) {
                rehearse(&store, cli, style)
            } else {
                run_on(&store, cli, style)
            };
            store.close();
            result
        }
    }
}

/// The reference that a command is about: it may name its store.
fn reference_of(command: &Command) -> Option<&str> {
    match command {
        Command::Export(args) => Some(&args.reference),
        Command::Show(args) => Some(&args.reference),
        Command::Diff(args) => Some(&args.before),
        Command::Tag(args) => Some(&args.reference),
        Command::Annotate(args) => Some(&args.reference),
        Command::Rollback(args) => Some(&args.reference),
        Command::Fork(args) => Some(&args.reference),
        Command::Verify(args) => args.reference.as_deref(),
        Command::Pin(args) => args.references.first().map(String::as_str),
        Command::Unpin(args) => args.references.first().map(String::as_str),
        Command::Delete(args) => args.references.first().map(String::as_str),
        _ => None,
    }
}

/// Whether a command is to be run on what is no more than a likeness of the store. Some look for
/// themselves what they would do.
fn is_rehearsed(command: &Command) -> bool {
    match command {
        Command::Tag(args) => args.dry_run,
        Command::Pin(args) => args.dry_run,
        Command::Unpin(args) => args.dry_run,
        Command::Annotate(args) => args.dry_run,
        Command::Fork(args) => args.dry_run,
        Command::Undelete(args) => args.dry_run,
        Command::Compact(args) => args.dry_run,
        Command::Repair(args) => args.dry_run,
        Command::Metric(args) => match &args.action {
            MetricAction::Declare(args) => args.dry_run,
        },
        _ => false,
    }
}

/// Runs a command on a likeness of the store.
fn rehearse(store: &Store, cli: &Cli, style: &Style) -> Result<(), Failure> {
    let style = style.rehearsing();
    let result = store.rehearse(&std::env::temp_dir(), |store| {
        Ok(run_on(store, cli, &style))
    })?;
    style.note("nothing was changed (dry run)");
    result
}

/// Runs a command that needs an open store.
fn run_on(store: &Store, cli: &Cli, style: &Style) -> Result<(), Failure> {
    match &cli.command {
        Command::Init(_)
        | Command::Save(_)
        | Command::Import(_)
        | Command::Salvage(_)
        | Command::Demo(_)
        | Command::Config(_)
        | Command::Completions(_)
        | Command::Man(_)
        | Command::Version => Ok(()),
        Command::Export(args) => commands::export::run(args, &cli.global, store, style),
        Command::Ls(args) => commands::ls::run(args, store, style),
        Command::Report(args) => report::run(args, store, style),
        Command::Log(args) => commands::log::run(args, store, style),
        Command::Jobs(args) => match &args.action {
            None => commands::jobs::run(store, style),
            Some(JobsAction::Delete(args)) => commands::jobs_delete::run(args, store, style),
            Some(JobsAction::Rename(args)) => commands::jobs_rename::run(args, store, style),
        },
        Command::Show(args) => commands::show::run(args, store, style),
        // It may open another one.
        Command::Diff(args) => commands::diff::run(args, &cli.global, store, style),
        Command::Latest(args) => commands::latest::run(args, store, style),
        Command::Best(args) => commands::best::run(args, store, style),
        Command::Tag(args) => commands::tag::run(args, store, style),
        Command::Pin(args) => commands::pin::run(args, !args.remove, store, style),
        Command::Unpin(args) => commands::pin::run_unpin(args, store, style),
        Command::Annotate(args) => commands::annotate::run(args, store, style),
        Command::Delete(args) => commands::delete::run(args, store, style),
        Command::Undelete(args) => commands::undelete::run(args, store, style),
        Command::Prune(args) => commands::prune::run(args, store, style),
        Command::Rollback(args) => commands::rollback::run(args, store, style),
        Command::Fork(args) => commands::fork::run(args, store, style),
        Command::Telemetry(args) => commands::telemetry::run(args, store, style),
        Command::Doctor(args) => commands::doctor::run(args, store, style),
        Command::Watch(args) => commands::watch::run(args, store, style),
        Command::Reclaim(args) => commands::reclaim::run(args, store, style),
        Command::Compact(args) => commands::compact::run(args, store, style),
        Command::Verify(args) => commands::verify::run(args, &cli.global, store, style),
        Command::Repair(_) => commands::repair::run(store, style),
        Command::Resume(args) => commands::resume::run(args, store, style),
        Command::Stats => commands::stats::run(store, style),
        Command::Metric(args) => match &args.action {
            MetricAction::Declare(args) => commands::metric::declare(args, store, style),
        },
    }
}
