//! The lines of a diff's table: entries, or layers.

use std::collections::BTreeMap;

use ckptdb::name::printable;
use ckptdb::{Change, Diff, EntryDiff, EntryInfo, EntryKind, ValueDiff};
use serde_json::{Value, json};

use crate::layers::layer_of;
use crate::output::{Cell, Tone, human};

/// A line of the table: an entry, or all of a layer.
pub(super) struct Row {
    name: String,
    pub(super) change: Change,
    /// Entries that it stands for, and how many of them are not identical.
    entries: [u64; 2],
    dtype: String,
    shape: String,
    bytes: u64,
    changed_bytes: u64,
    values: Option<ValueDiff>,
    notes: Vec<String>,
}

impl Row {
    pub(super) fn of(entry: &EntryDiff) -> Self {
        let info = entry.after.as_ref().or(entry.before.as_ref());
        let (dtype, shape) = info.map_or_else(Default::default, described);
        let mut notes = Vec::new();
        if let (Some(before), Some(after)) = (&entry.before, &entry.after)
            && before.kind != after.kind
        {
            let (dtype, shape) = described(before);
            notes.push(format!("was {dtype} {shape}").trim_end().to_owned());
        }
        if let (Some(before), true) = (&entry.before, entry.values.is_none())
            && let Some(after) = &entry.after
            && before.bytes != after.bytes
        {
            notes.push(format!("was {}", human::size(before.bytes)));
        }
        Self {
            name: entry.name.clone(),
            change: entry.change,
            entries: [1, u64::from(entry.change != Change::Identical)],
            dtype,
            shape,
            bytes: info.map_or(0, |info| info.bytes),
            changed_bytes: entry.changed_bytes,
            values: entry.values,
            notes,
        }
    }

    /// One for both.
    fn and(mut self, other: Self) -> Self {
        if self.change != other.change {
            self.change = Change::Changed;
        }
        self.entries[0] += other.entries[0];
        self.entries[1] += other.entries[1];
        if self.dtype != other.dtype {
            "mixed".clone_into(&mut self.dtype);
        }
        self.shape = format!("{} of {}", self.entries[1], self.entries[0]);
        self.bytes += other.bytes;
        self.changed_bytes += other.changed_bytes;
        self.values = match (self.values, other.values) {
            (Some(own), Some(other)) => Some(own.and(other)),
            (own, other) => own.or(other),
        };
        self.notes.extend(other.notes);
        self
    }

    /// How far it comes up: by what its values tell, else by its bytes.
    pub(super) fn weight(&self) -> (f64, u64) {
        let weight = |values: &ValueDiff| {
            let odd = |place: usize| values.nan[place] + values.infinite[place];
            // What has become no number is worse than any distance.
            let is_worse = odd(1) > odd(0) || values.relative_l2().is_nan();
            if is_worse {
                f64::INFINITY
            } else {
                values.relative_l2()
            }
        };
        (self.values.as_ref().map_or(0.0, weight), self.changed_bytes)
    }

    pub(super) fn cells(self) -> Vec<Cell> {
        let number =
            |value: Option<f64>| value.map_or("-".to_owned(), |value| format!("{value:.2e}"));
        let values = self.values.as_ref();
        let cosine = values.and_then(ValueDiff::cosine);
        let tone = match self.change {
            Change::Removed => Tone::Bad,
            Change::Added => Tone::Good,
            _ => Tone::Plain,
        };
        let mut notes = self.notes.clone();
        if matches!(self.change, Change::Added | Change::Removed) {
            notes.insert(0, self.change.to_string());
        }
        let mut counted = |name: &str, counts: Option<[u64; 2]>| {
            if let Some([before, after]) = counts.filter(|counts| *counts != [0, 0]) {
                notes.push(format!("{name} {before} -> {after}"));
            }
        };
        counted("NaN", values.map(|values| values.nan));
        counted("inf", values.map(|values| values.infinite));
        let percent = human::percent(self.changed_bytes, self.bytes);
        vec![
            Cell::new(printable(&self.name), tone),
            self.dtype.into(),
            self.shape.into(),
            format!("{} {percent:>5}", human::size(self.changed_bytes)).into(),
            number(values.map(ValueDiff::relative_l2)).into(),
            number(values.map(|values| values.max_abs)).into(),
            cosine
                .map_or("-".to_owned(), |cosine| format!("{cosine:.4}"))
                .into(),
            notes.join(", ").into(),
        ]
    }

    pub(super) fn document(&self) -> Value {
        let mut value = json!({
            "name": self.name,
            "change": self.change.name(),
            "bytes": self.bytes,
            "changed_bytes": self.changed_bytes,
        });
        if let Some(values) = &self.values {
            let finite = |value: f64| value.is_finite().then_some(value);
            value["values"] = json!({
                "compared": values.compared,
                "changed": values.changed,
                "relative_l2": finite(values.relative_l2()),
                "max_abs": finite(values.max_abs),
                "cosine": values.cosine().and_then(finite),
                "nan": values.nan,
                "infinite": values.infinite,
            });
        }
        value
    }
}

/// What its type and shape are, for a table.
fn described(info: &EntryInfo) -> (String, String) {
    match &info.kind {
        EntryKind::Tensor { dtype, shape } => (dtype.name().to_owned(), format!("{shape:?}")),
        other => (other.name().to_owned(), String::new()),
    }
}

/// Rows of the layers.
pub(super) fn grouped(diff: &Diff) -> Vec<Row> {
    let mut layers: BTreeMap<String, Row> = BTreeMap::new();
    for entry in &diff.entries {
        let layer = layer_of(&entry.name);
        let mut row = Row::of(entry);
        row.shape = format!("{} of {}", row.entries[1], row.entries[0]);
        row.name.clone_from(&layer);
        let row = match layers.remove(&layer) {
            Some(known) => known.and(row),
            None => row,
        };
        layers.insert(layer, row);
    }
    layers.into_values().collect()
}
