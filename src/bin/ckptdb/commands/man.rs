//! `man`: the manual, a page for each command.

use std::path::PathBuf;

use ckptdb::interop::write_bytes;
use clap_mangen::Man;
use serde_json::json;

use crate::failure::{Exit, Failure};
use crate::output::{Style, human};

/// Options of `man`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// A folder, as ~/.local/share/man/man1; made if it is not there.
    #[arg(value_name = "DIR")]
    folder: PathBuf,
}

/// Writes `ckptdb.1`, `ckptdb-VERB.1` for each verb, and `ckptdb-VERB-ACTION.1` for its actions.
pub(crate) fn run(args: &Args, mut cli: clap::Command, style: &Style) -> Result<(), Failure> {
    // Each verb has the options that all have.
    cli.build();
    let mut pages = Vec::new();
    pages_of(cli.get_name(), &cli, &mut pages);
    std::fs::create_dir_all(&args.folder).map_err(|error| {
        let message = format!("`{}` can't be made: {error}", args.folder.display());
        Failure::new(Exit::Failed, message)
    })?;
    for (name, command) in &pages {
        let mut page = Vec::new();
        Man::new(command.clone()).render(&mut page)?;
        write_bytes(&args.folder.join(format!("{name}.1")), &page)?;
    }
    let count = pages.len() as u64;
    if style.json {
        let path = args.folder.display().to_string();
        return style.document("man", &json!({ "path": path, "pages": count }));
    }
    style.line(format_args!(
        "wrote {} to {}",
        human::count(count, "page", "pages"),
        args.folder.display()
    ))
}

/// A command's page, and those of what it can be told to do.
fn pages_of(name: &str, command: &clap::Command, pages: &mut Vec<(String, clap::Command)>) {
    pages.push((name.to_owned(), command.clone().name(name.to_owned())));
    let verbs = command.get_subcommands();
    for verb in verbs.filter(|verb| !verb.is_hide_set() && verb.get_name() != "help") {
        pages_of(&format!("{name}-{}", verb.get_name()), verb, pages);
    }
}
