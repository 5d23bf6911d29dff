//! Configuration in layers, and what a job's settings are in the end.

use std::collections::BTreeMap;
use std::fmt;

use super::keys::{KEYS, Key, find};
use super::parse::{Parsed, parse, parse_value};
use super::value::Value;
use crate::error::{Error, Result};
use crate::name::{matches_pattern, nearest};

/// Before the names of variables in the environment.
const VARIABLE: &str = "CKPTDB_";

/// Where a setting comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// Nobody set it.
    Default,
    /// A file: its name, line and column.
    File(String, usize, usize),
    /// A file's section for jobs of a pattern.
    Section(String, String, usize, usize),
    /// A variable in the environment.
    Environment(String),
    /// The code.
    Code,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::File(file, line, column) => write!(f, "{file}:{line}:{column}"),
            Self::Section(pattern, file, line, column) => {
                write!(f, "{file}:{line}:{column}, for jobs {pattern:?}")
            }
            Self::Environment(name) => write!(f, "environment {name}"),
            Self::Code => f.write_str("code"),
        }
    }
}

/// A setting.
#[derive(Clone, Debug, PartialEq)]
pub struct Setting {
    /// Its value.
    pub value: Value,
    /// Where it comes from.
    pub origin: Origin,
}

/// The settings of a job, every key among them.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings(BTreeMap<&'static str, Setting>);

impl Settings {
    /// A key's setting.
    pub fn get(&self, key: &str) -> Option<&Setting> {
        self.0.get(key)
    }

    /// All of them, in the order of [`KEYS`].
    pub fn iter(&self) -> impl Iterator<Item = (&'static Key, &Setting)> {
        KEYS.iter()
            .filter_map(|key| Some((key, self.0.get(key.name)?)))
    }

    pub(crate) fn value(&self, key: &str) -> &Value {
        self.0
            .get(key)
            .map_or(&Value::Off, |setting| &setting.value)
    }
}

/// What was configured, before it is asked for a job.
///
/// ```
/// use ckptdb::config::{Config, Value};
/// let file = "
///     [triggers]
///     iterations = 1000
///     [keep]
///     latest = 8
///     best = { sharpe = 3 }
///     [job.\"phase3/*\".triggers]
///     iterations = 250
/// ";
/// let config = Config::parse(file, "ckptdb.toml")?;
/// let settings = config.settings("phase3/NQ");
/// let iterations = settings.get("triggers.iterations").unwrap();
/// assert_eq!(iterations.value, Value::Count(250));
/// assert_eq!(iterations.origin.to_string(), "ckptdb.toml:8:18, for jobs \"phase3/*\"");
/// let wrong = Config::parse("[keep]\nlastest = 8", "ckptdb.toml").unwrap_err();
/// assert!(wrong.to_string().contains("ckptdb.toml:2:1: unknown key `keep.lastest`"));
/// # Ok::<(), ckptdb::Error>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Config {
    source: String,
    file: Parsed,
    environment: Vec<(&'static Key, Value, String)>,
    code: Vec<(&'static Key, Value)>,
}

impl Config {
    /// Reads the text of a `ckptdb.toml`; `source` is what messages call it.
    ///
    /// # Errors
    /// [`Error::Invalid`] with the line and column of what is wrong, and what may have been meant.
    pub fn parse(text: &str, source: &str) -> Result<Self> {
        Ok(Self {
            source: source.to_owned(),
            file: parse(text, source, false)?,
            ..Self::default()
        })
    }

    /// Reads the table `[tool.ckptdb]` of a `pyproject.toml`, if it has one.
    ///
    /// # Errors
    /// As [`Config::parse`].
    pub fn parse_pyproject(text: &str, source: &str) -> Result<Self> {
        Ok(Self {
            source: source.to_owned(),
            file: parse(text, source, true)?,
            ..Self::default()
        })
    }

    /// Takes variables of the environment in: `CKPTDB_KEEP_LATEST=8` sets `keep.latest`. The value
    /// is written as in the file; quotes may be left out. Variables that begin otherwise are left
    /// alone.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a variable that begins like a key's and is none, or whose value is
    /// wrong.
    pub fn with_environment(
        mut self,
        variables: impl IntoIterator<Item = (String, String)>,
    ) -> Result<Self> {
        for (name, text) in variables {
            let Some(rest) = name.strip_prefix(VARIABLE) else {
                continue;
            };
            let known = KEYS.iter().find(|key| variable_of(key) == rest);
            let Some(key) = known else {
                let table = rest.split('_').next().unwrap_or_default();
                let is_ours = |key: &&Key| variable_of(key).split('_').next() == Some(table);
                if !KEYS.iter().any(|key| is_ours(&key)) {
                    continue;
                }
                let names: Vec<String> = KEYS.iter().map(variable_of).collect();
                let why = match nearest(rest, names.iter().map(String::as_str)) {
                    Some(near) => format!("did you mean {VARIABLE}{near}?"),
                    None => "no key has this name".to_owned(),
                };
                return Err(Error::invalid(format!("environment variable {name}"), why));
            };
            let value = parse_value(key, &text).map_err(|why| {
                Error::invalid(format!("environment variable {name}={text}"), why)
            })?;
            self.environment.push((key, value, name));
        }
        Ok(self)
    }

    /// Sets a key, before all that is configured elsewhere; the value is written as in the file.
    ///
    /// # Errors
    /// [`Error::Invalid`] for an unknown key or a wrong value.
    pub fn set(&mut self, key: &str, value: &str) -> Result<()> {
        let Some(known) = find(key) else {
            let why = match nearest(key, KEYS.iter().map(|key| key.name)) {
                Some(near) => format!("did you mean `{near}`?"),
                None => "no key has this name".to_owned(),
            };
            return Err(Error::invalid(format!("key `{key}`"), why));
        };
        let value = parse_value(known, value)
            .map_err(|why| Error::invalid(format!("the value of `{key}`"), why))?;
        self.code.push((known, value));
        Ok(())
    }

    /// The settings of a job.
    pub fn settings(&self, job: &str) -> Settings {
        let mut settings = BTreeMap::new();
        for key in KEYS {
            let value = parse_value(key, key.default).unwrap_or(Value::Off);
            let origin = Origin::Default;
            settings.insert(key.name, Setting { value, origin });
        }
        let mut put = |key: &Key, value: &Value, origin: Origin| {
            let value = value.clone();
            settings.insert(key.name, Setting { value, origin });
        };
        for entry in &self.file.all {
            let origin = Origin::File(self.source.clone(), entry.line, entry.column);
            put(entry.key, &entry.value, origin);
        }
        for (pattern, entries) in &self.file.jobs {
            if !matches_pattern(pattern, job) {
                continue;
            }
            for entry in entries {
                let (source, pattern) = (self.source.clone(), pattern.clone());
                let origin = Origin::Section(pattern, source, entry.line, entry.column);
                put(entry.key, &entry.value, origin);
            }
        }
        for (key, value, name) in &self.environment {
            put(key, value, Origin::Environment(name.clone()));
        }
        for (key, value) in &self.code {
            put(key, value, Origin::Code);
        }
        Settings(settings)
    }
}

/// The name of a key's variable, without what all begin with.
fn variable_of(key: &Key) -> String {
    key.name.replace('.', "_").to_uppercase()
}

#[cfg(test)]
mod tests;
