//! `annotate`: attributes for a checkpoint that is saved already.

use ckptdb::Store;
use ckptdb::name::printable;
use clap_complete::engine::ArgValueCompleter;
use serde_json::{Value, json};

use crate::complete;
use crate::failure::Failure;
use crate::lookup;
use crate::output::{Style, human, json};

/// Options of `annotate`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The checkpoint.
    #[arg(value_name = "REF")]
    #[arg(add = ArgValueCompleter::new(complete::references))]
    pub(crate) reference: String,
    /// Attributes; a value that is not JSON is text.
    #[arg(value_name = "NAME=VALUE", required = true, value_parser = attribute)]
    attributes: Vec<(String, Value)>,
    /// Only say what would be done.
    #[arg(short = 'n', long)]
    pub(crate) dry_run: bool,
}

/// Adds the attributes.
pub(crate) fn run(args: &Args, store: &Store, style: &Style) -> Result<(), Failure> {
    let checkpoint = lookup::checkpoint(store, &args.reference)?;
    for (name, value) in &args.attributes {
        checkpoint.annotate(name, value)?;
    }
    if style.json {
        let checkpoint = checkpoint.refresh()?;
        let body = json!({ "checkpoint": json::checkpoint(&checkpoint) });
        return style.document("annotate", &body);
    }
    let names: Vec<_> = args
        .attributes
        .iter()
        .map(|(name, _)| printable(name))
        .collect();
    style.line(format_args!(
        "annotated {}: {}",
        human::labelled(&checkpoint),
        names.join(", ")
    ))
}

/// Reads `name=value`. JSON first, so that numbers stay numbers; what is no JSON is text, so
/// that text needs no quotes within quotes.
pub(crate) fn attribute(text: &str) -> Result<(String, Value), String> {
    let (name, value) = text
        .split_once('=')
        .ok_or("an attribute looks like seed=7")?;
    let value = serde_json::from_str(value).unwrap_or_else(|_| Value::from(value));
    Ok((name.to_owned(), value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_json_or_else_text() {
        let value = |text| attribute(text).unwrap().1;
        assert_eq!(value("seed=7"), json!(7));
        assert_eq!(value("market=NQ"), json!("NQ"));
        assert_eq!(value("flow={\"a\":[1]}"), json!({"a": [1]}));
        assert_eq!(value("note=a=b"), json!("a=b"));
        assert!(attribute("seed").is_err());
    }
}
