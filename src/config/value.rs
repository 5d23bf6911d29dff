//! What a key may be set to.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use toml::de::DeValue;

use super::units::{duration, part, size};
use crate::metric::Direction;

/// What kind of value a key takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// `true` or `false`.
    Bool,
    /// A whole number of at least 1.
    Count,
    /// A whole number of at least 1, or `false` for none.
    CountOrOff,
    /// A whole number from 0 to this.
    UpTo(u8),
    /// A number above 0.
    Number,
    /// A time (`"10m"`), or `false` for none.
    DurationOrOff,
    /// A time.
    Duration,
    /// Bytes (`"20GiB"`), or `false` for none.
    SizeOrOff,
    /// Bytes.
    Size,
    /// Bytes, or a part of the disk (`"5%"`), or `false` for none.
    MinFree,
    /// A part (`"1%"`), or `false` for none.
    PartOrOff,
    /// Whole numbers.
    Counts,
    /// Texts.
    Texts,
    /// A text, or `false` for none.
    TextOrOff,
    /// One of these words.
    Choice(&'static [&'static str]),
    /// Metrics with their directions: `loss = "min"`.
    Directions,
    /// Metrics with how many: `sharpe = 3`.
    BestCounts,
    /// Metrics with by how much: `sharpe = "2%"` of the best value, `loss = 0.05` absolutely.
    Thresholds,
}

/// How much of the disk is left alone.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum MinFreeValue {
    /// Bytes.
    Bytes(u64),
    /// A part of the disk, from 0 to 1.
    Part(f64),
}

/// A value.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// Nothing: what the key asks for is not done.
    Off,
    /// A yes or no.
    Bool(bool),
    /// A whole number.
    Count(u64),
    /// A number, or a part from 0 to 1.
    Number(f64),
    /// A time.
    Duration(Duration),
    /// Bytes.
    Size(u64),
    /// How much of the disk.
    MinFree(MinFreeValue),
    /// A text, or a word.
    Text(String),
    /// Whole numbers.
    Counts(Vec<u64>),
    /// Texts.
    Texts(Vec<String>),
    /// Directions by metric.
    Directions(BTreeMap<String, Direction>),
    /// Counts by metric.
    BestCounts(BTreeMap<String, u64>),
    /// Thresholds by metric: relative ones as a part, and whether they are.
    Thresholds(BTreeMap<String, (f64, bool)>),
}

impl Kind {
    /// What a value must look like, for messages.
    pub(super) fn form(self) -> String {
        let form = match self {
            Self::Bool => "true or false",
            Self::Count => "a whole number of at least 1",
            Self::CountOrOff => "a whole number of at least 1, or false",
            Self::UpTo(most) => return format!("a whole number from 0 to {most}"),
            Self::Number => "a number above 0",
            Self::DurationOrOff => "a time like \"10m\" or \"1d 6h\", or false",
            Self::Duration => "a time like \"10m\" or \"1d 6h\"",
            Self::SizeOrOff => "a size like \"20GiB\", or false",
            Self::Size => "a size like \"128MiB\"",
            Self::MinFree => "a size like \"5GiB\", a part of the disk like \"5%\", or false",
            Self::PartOrOff => "a part like \"1%\", or false",
            Self::Counts => "whole numbers: [1000, 5000]",
            Self::Texts => "texts: [\"phase_end\", \"phase_boundary\"]",
            Self::TextOrOff => "a text, or false",
            Self::Directions => "metrics with \"min\" or \"max\": { loss = \"min\" }",
            Self::BestCounts => "metrics with how many: { sharpe = 3 }",
            Self::Thresholds => {
                "metrics with by how much: { sharpe = \"2%\" }, or an amount: { loss = 0.05 }"
            }
            Self::Choice(words) => {
                let quoted: Vec<String> = words.iter().map(|word| format!("\"{word}\"")).collect();
                return quoted.join(" or ");
            }
        };
        form.to_owned()
    }

    /// Reads a value of this kind.
    pub(super) fn read(self, value: &DeValue<'_>) -> Result<Value, String> {
        let wrong = || format!("it is {}", self.form());
        if value.as_bool() == Some(false) && self.may_be_off() {
            return Ok(Value::Off);
        }
        let read = match self {
            Self::Bool => value.as_bool().map(Value::Bool),
            Self::Count | Self::CountOrOff => count(value).map(Value::Count),
            Self::UpTo(most) => whole(value)
                .filter(|number| *number <= most.into())
                .map(Value::Count),
            Self::Number => number(value).filter(|n| *n > 0.0).map(Value::Number),
            Self::Duration | Self::DurationOrOff => match value.as_str() {
                Some(text) => Some(Value::Duration(duration(text)?)),
                None => None,
            },
            Self::Size | Self::SizeOrOff => match (value.as_str(), count(value)) {
                (Some(text), _) => Some(Value::Size(size(text)?)),
                (None, bytes) => bytes.map(Value::Size),
            },
            Self::MinFree => min_free(value)?,
            Self::PartOrOff => match (value.as_str(), number(value)) {
                (Some(text), _) => Some(Value::Number(part(text)?)),
                (None, part) => part
                    .filter(|part| *part > 0.0 && *part <= 1.0)
                    .map(Value::Number),
            },
            Self::Counts => list(value, count).map(Value::Counts),
            Self::Texts => list(value, |v| v.as_str().map(str::to_owned)).map(Value::Texts),
            Self::TextOrOff => value.as_str().map(|text| Value::Text(text.to_owned())),
            Self::Choice(words) => value
                .as_str()
                .filter(|text| words.contains(text))
                .map(|text| Value::Text(text.to_owned())),
            Self::Directions => table(value, |v| v.as_str()?.parse().ok()).map(Value::Directions),
            Self::BestCounts => table(value, count).map(Value::BestCounts),
            Self::Thresholds => table(value, threshold).map(Value::Thresholds),
        };
        read.ok_or_else(wrong)
    }

    const fn may_be_off(self) -> bool {
        matches!(
            self,
            Self::CountOrOff
                | Self::DurationOrOff
                | Self::SizeOrOff
                | Self::MinFree
                | Self::PartOrOff
                | Self::TextOrOff
        )
    }
}

fn whole(value: &DeValue<'_>) -> Option<u64> {
    let integer = value.as_integer()?;
    u64::from_str_radix(integer.as_str(), integer.radix()).ok()
}

fn count(value: &DeValue<'_>) -> Option<u64> {
    whole(value).filter(|number| *number > 0)
}

fn number(value: &DeValue<'_>) -> Option<f64> {
    let text = value
        .as_float()
        .map(toml::de::DeFloat::as_str)
        .or_else(|| value.as_integer().map(toml::de::DeInteger::as_str))?;
    text.parse().ok().filter(|number: &f64| number.is_finite())
}

fn min_free(value: &DeValue<'_>) -> Result<Option<Value>, String> {
    let free = match (value.as_str(), count(value)) {
        (Some(text), _) if text.ends_with('%') => MinFreeValue::Part(part(text)?),
        (Some(text), _) => MinFreeValue::Bytes(size(text)?),
        (None, Some(bytes)) => MinFreeValue::Bytes(bytes),
        (None, None) => return Ok(None),
    };
    Ok(Some(Value::MinFree(free)))
}

fn threshold(value: &DeValue<'_>) -> Option<(f64, bool)> {
    match value.as_str() {
        Some(text) => Some((part(text).ok()?, true)),
        None => number(value).filter(|n| *n >= 0.0).map(|n| (n, false)),
    }
}

fn list<T>(value: &DeValue<'_>, read: impl Fn(&DeValue<'_>) -> Option<T>) -> Option<Vec<T>> {
    let items = value.as_array()?;
    items.iter().map(|item| read(item.get_ref())).collect()
}

fn table<T>(
    value: &DeValue<'_>,
    read: impl Fn(&DeValue<'_>) -> Option<T>,
) -> Option<BTreeMap<String, T>> {
    let table = value.as_table()?;
    let rows = table.iter();
    rows.map(|(name, item)| Some((name.get_ref().to_string(), read(item.get_ref())?)))
        .collect()
}

impl fmt::Display for Value {
    /// As it is written in the file.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Off => f.write_str("false"),
            Self::Bool(yes) => write!(f, "{yes}"),
            Self::Count(count) => write!(f, "{count}"),
            Self::Number(number) => write!(f, "{number}"),
            Self::Duration(time) => write!(f, "\"{}\"", written(*time)),
            Self::Size(bytes) | Self::MinFree(MinFreeValue::Bytes(bytes)) => {
                write!(f, "\"{}\"", sized(*bytes))
            }
            Self::MinFree(MinFreeValue::Part(part)) => write!(f, "\"{}%\"", part * 100.0),
            Self::Text(text) => write!(f, "{text:?}"),
            Self::Counts(counts) => write!(f, "{counts:?}"),
            Self::Texts(texts) => write!(f, "{texts:?}"),
            Self::Directions(rows) => pairs(f, rows, |direction| format!("\"{direction}\"")),
            Self::BestCounts(rows) => pairs(f, rows, u64::to_string),
            Self::Thresholds(rows) => pairs(f, rows, |(by, is_part)| {
                if *is_part {
                    format!("\"{}%\"", by * 100.0)
                } else {
                    by.to_string()
                }
            }),
        }
    }
}

fn pairs<T>(
    f: &mut fmt::Formatter<'_>,
    rows: &BTreeMap<String, T>,
    show: impl Fn(&T) -> String,
) -> fmt::Result {
    let rows = rows.iter();
    let shown: Vec<String> = rows
        .map(|(name, v)| format!("{name} = {}", show(v)))
        .collect();
    if shown.is_empty() {
        f.write_str("{}")
    } else {
        write!(f, "{{ {} }}", shown.join(", "))
    }
}

/// The largest unit that a size is whole in.
fn sized(bytes: u64) -> String {
    let units = [("TiB", 40), ("GiB", 30), ("MiB", 20), ("KiB", 10)];
    let whole = units
        .into_iter()
        .find(|(_, shift)| bytes > 0 && bytes.trailing_zeros() >= *shift);
    match whole {
        Some((unit, shift)) => format!("{}{unit}", bytes >> shift),
        None => format!("{bytes}B"),
    }
}

fn written(time: Duration) -> String {
    let span = jiff::SignedDuration::try_from(time).unwrap_or(jiff::SignedDuration::MAX);
    format!("{span:#}")
}
