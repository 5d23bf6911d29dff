//! `man`: the manual, a page for each command.

use std::path::PathBuf;

use ckptdb::interop::write_bytes;
use clap_mangen::Man;
use serde_json::json;

use crate::failure::Failure;
use crate::output::{Style, human};

/// Options of `man`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// A folder that is there, as ~/.local/share/man/man1.
    #[arg(value_name = "DIR")]
    folder: PathBuf,
}

/// Writes `ckptdb.1`, and `ckptdb-VERB.1` for each verb.
pub(crate) fn run(args: &Args, mut cli: clap::Command, style: &Style) -> Result<(), Failure> {
    // Each verb has the options that all have.
    cli.build();
    let mut pages = vec![(cli.get_name().to_owned(), cli.clone())];
    let verbs = cli.get_subcommands().filter(|verb| !verb.is_hide_set());
    pages.extend(verbs.map(|verb| {
        let name = format!("{}-{}", cli.get_name(), verb.get_name());
        (name.clone(), verb.clone().name(name))
    }));
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
