//! From a file's text to the keys that it sets, each with its place.

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::keys::{KEYS, Key, find};
use super::value::Value;
use crate::error::{Error, Result};
use crate::name::nearest;

/// A key that is set somewhere.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Entry {
    pub(super) key: &'static Key,
    pub(super) value: Value,
    pub(super) line: usize,
    pub(super) column: usize,
}

/// What a file sets: for all jobs, and by pattern in the order of the file.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Parsed {
    pub(super) all: Vec<Entry>,
    pub(super) jobs: Vec<(String, Vec<Entry>)>,
}

/// A text and what it is called in messages.
struct Text<'t> {
    text: &'t str,
    source: &'t str,
}

impl Text<'_> {
    /// Line and column of a byte, from 1; columns count characters.
    fn place(&self, at: usize) -> (usize, usize) {
        let before = self.text.get(..at).unwrap_or(self.text);
        let line = before.matches('\n').count() + 1;
        let start = before.rfind('\n').map_or(0, |newline| newline + 1);
        let column = before.get(start..).unwrap_or_default().chars().count() + 1;
        (line, column)
    }

    fn fault(&self, at: usize, what: &str, why: impl Into<String>) -> Error {
        let (line, column) = self.place(at);
        Error::invalid(format!("{}:{line}:{column}: {what}", self.source), why)
    }
}

/// Reads a configuration file; of a `pyproject.toml`, its table `[tool.ckptdb]`.
pub(super) fn parse(text: &str, source: &str, is_pyproject: bool) -> Result<Parsed> {
    let text = Text { text, source };
    let document = DeTable::parse(text.text).map_err(|error| {
        let at = error.span().map_or(0, |span| span.start);
        text.fault(at, "this is no TOML", error.message())
    })?;
    let mut parsed = Parsed::default();
    let table = document.get_ref();
    if !is_pyproject {
        read_tables(&text, table, "", &mut parsed.all, Some(&mut parsed.jobs))?;
        return Ok(parsed);
    }
    let ours = table
        .get("tool")
        .and_then(|tool| tool.get_ref().get("ckptdb"));
    if let Some(ours) = ours.and_then(|ours| ours.get_ref().as_table()) {
        read_tables(&text, ours, "", &mut parsed.all, Some(&mut parsed.jobs))?;
    }
    Ok(parsed)
}

/// Reads one value, as a file would have it; what is no TOML is a text.
pub(super) fn parse_value(key: &'static Key, text: &str) -> std::result::Result<Value, String> {
    match DeValue::parse(text) {
        Ok(value) => key.kind.read(value.get_ref()),
        Err(_) => {
            let value = DeValue::String(text.into());
            key.kind.read(&value)
        }
    }
}

fn read_tables(
    text: &Text<'_>,
    table: &DeTable<'_>,
    above: &str,
    out: &mut Vec<Entry>,
    mut jobs: Option<&mut Vec<(String, Vec<Entry>)>>,
) -> Result<()> {
    let mut rows: Vec<_> = table.iter().collect();
    rows.sort_by_key(|(name, _)| name.span().start);
    for (name, value) in rows {
        let word: &str = name.get_ref();
        if above.is_empty() && word == "job" && jobs.is_some() {
            if let Some(jobs) = jobs.as_deref_mut() {
                read_jobs(text, value, jobs)?;
            }
            continue;
        }
        let full = if above.is_empty() {
            word.to_owned()
        } else {
            format!("{above}.{word}")
        };
        let below = value.get_ref().as_table();
        match (find(&full), below) {
            (Some(key), _) => out.push(read_entry(text, key, value)?),
            (None, Some(below)) if is_table(&full) => {
                read_tables(text, below, &full, out, None)?;
            }
            _ => {
                let what = format!("unknown key `{full}`");
                return Err(text.fault(name.span().start, &what, suggestion(above, word)));
            }
        }
    }
    Ok(())
}

fn read_entry(text: &Text<'_>, key: &'static Key, value: &Spanned<DeValue<'_>>) -> Result<Entry> {
    let at = value.span().start;
    let (line, column) = text.place(at);
    let value = key
        .kind
        .read(value.get_ref())
        .map_err(|why| text.fault(at, &format!("the value of `{}`", key.name), why))?;
    Ok(Entry {
        key,
        value,
        line,
        column,
    })
}

/// `[job."phase3/*"]`: the same tables for the jobs whose names match.
fn read_jobs(
    text: &Text<'_>,
    value: &Spanned<DeValue<'_>>,
    jobs: &mut Vec<(String, Vec<Entry>)>,
) -> Result<()> {
    let wrong = "it is a table by name pattern: [job.\"phase3/*\"]";
    let Some(table) = value.get_ref().as_table() else {
        return Err(text.fault(value.span().start, "`job`", wrong));
    };
    let mut rows: Vec<_> = table.iter().collect();
    rows.sort_by_key(|(name, _)| name.span().start);
    for (pattern, below) in rows {
        let Some(tables) = below.get_ref().as_table() else {
            return Err(text.fault(below.span().start, "`job`", wrong));
        };
        let mut entries = Vec::new();
        read_tables(text, tables, "", &mut entries, None)?;
        jobs.push((pattern.get_ref().to_string(), entries));
    }
    Ok(())
}

/// Whether keys stand below this.
fn is_table(name: &str) -> bool {
    let below = |key: &&Key| {
        key.name
            .strip_prefix(name)
            .is_some_and(|rest| rest.starts_with('.'))
    };
    KEYS.iter().any(|key| below(&key))
}

/// What may have been meant.
fn suggestion(above: &str, word: &str) -> String {
    let prefix = if above.is_empty() {
        String::new()
    } else {
        format!("{above}.")
    };
    let mut here: Vec<&str> = KEYS
        .iter()
        .filter_map(|key| key.name.strip_prefix(&prefix))
        .filter_map(|rest| rest.split('.').next())
        .collect();
    if above.is_empty() {
        here.push("job");
    }
    here.dedup();
    if let Some(near) = nearest(word, here.iter().copied()) {
        return format!("did you mean `{prefix}{near}`?");
    }
    // Perhaps it stands in another table.
    let elsewhere = KEYS
        .iter()
        .find(|key| key.name.ends_with(&format!(".{word}")));
    match elsewhere {
        Some(key) => format!("did you mean `{}`?", key.name),
        None => format!("there are {}", here.join(", ")),
    }
}
