//! The lineage in words: for whoever does not see the drawing, and in a table.

use std::collections::BTreeSet;

use ckptdb::name::printable;
use ckptdb::{Checkpoint, Store};

use super::descent::{Lineage, before};
use super::page::Table;
use super::thin::Detail;
use crate::commands::marks::{Marks, events, notes};
use crate::failure::Failure;
use crate::output::{Style, human};

/// Rows of the table, and of these the ones that are there for more than their age.
const ROWS: usize = 60;
const NOTABLE: usize = 20;
/// Metrics of a row.
const METRICS: usize = 6;
/// Branches that the description names.
const NAMED: usize = 5;

impl Lineage<'_> {
    /// What the drawing shows, for whoever does not see it.
    pub(super) fn described(&self) -> String {
        let is_there = |place: &&usize| {
            let found = self.found.get(**place);
            found.is_some_and(|found| found.deleted_at.is_none())
        };
        let own: Vec<&usize> = self.own().iter().filter(is_there).collect();
        let mut told = vec![match (own.first(), own.last()) {
            (Some(first), Some(last)) => format!(
                "The job's line has {}, from iteration {} to {}.",
                human::checkpoints(own.len() as u64),
                human::thousands(self.iteration(**first)),
                human::thousands(self.iteration(**last)),
            ),
            _ => "The job's line is empty.".to_owned(),
        }];
        let deleted = self.known.deleted.len() as u64;
        if deleted > 0 {
            let deleted = human::count(deleted, "checkpoint is", "checkpoints are");
            told.push(format!("{deleted} deleted."));
        }
        let source = self.source();
        told.extend(source.map(|source| format!("It began as a fork of {source}.")));
        told.extend(self.behind().iter().take(NAMED).map(|behind| {
            let count = human::checkpoints(behind.nodes.len() as u64);
            match behind
                .from
                .map(|from| human::thousands(self.iteration(from)))
            {
                Some(from) => format!("A rollback to iteration {from} left {count} behind."),
                None => format!("A rollback left {count} behind."),
            }
        }));
        told.extend(self.forks.iter().take(NAMED).map(|(place, fork)| {
            let iteration = human::thousands(self.iteration(*place));
            format!(
                "{} forked from iteration {iteration}.",
                printable(&fork.job)
            )
        }));
        let named = self.behind().len().min(NAMED) + self.forks.len().min(NAMED);
        let more = (self.behind().len() + self.forks.len() - named) as u64;
        if more > 0 {
            let lines = human::count(more, "line is", "lines are");
            told.push(format!("{lines} not named here."));
        }
        told.join(" ")
    }

    /// The newest, and those at which something began or ended.
    pub(super) fn table(&self, store: &Store, detail: Detail) -> Result<Table, Failure> {
        let mut notable: BTreeSet<usize> =
            self.behind().iter().filter_map(|one| one.from).collect();
        notable.extend(
            self.behind()
                .iter()
                .filter_map(|one| one.nodes.last().copied()),
        );
        notable.extend(self.forks.iter().map(|(place, _)| *place));
        notable.extend(
            self.best
                .iter()
                .filter_map(|id| self.places.get(id).copied()),
        );
        notable.extend(self.own().first());
        let mut shown: BTreeSet<usize> = notable
            .into_iter()
            .rev()
            .take(detail.most(NOTABLE))
            .collect();
        for place in (0..self.found.len()).rev() {
            if shown.len() >= detail.most(ROWS) {
                break;
            }
            shown.insert(place);
        }
        let marks = Marks::read(store, std::slice::from_ref(self.known.info))?;
        let shown: Vec<&Checkpoint> = shown
            .iter()
            .rev()
            .filter_map(|place| self.found.get(*place).copied())
            .collect();
        let caption = format!(
            "{} of {}, the newest first",
            shown.len(),
            human::checkpoints(self.found.len() as u64)
        );
        let headings = [
            "iteration",
            "continues",
            "saved",
            "events",
            "metrics",
            "notes",
        ];
        let columns = headings.map(|heading| (heading, heading == "iteration"));
        let rows = shown.into_iter().map(|one| {
            let mut notes = vec![notes(one, &marks, &Style::page()).text().to_owned()];
            notes.extend(self.best.contains(&one.id).then(|| "best".to_owned()));
            let forks = self.known.gathered.forks(one.id).iter();
            notes.extend(forks.map(|fork| format!("forked to {}", printable(&fork.job))));
            notes.retain(|note| !note.is_empty());
            vec![
                human::thousands(one.iteration),
                self.continued(store, one),
                human::rfc3339_seconds(one.saved_at),
                events(one),
                metrics(one),
                notes.join(", "),
            ]
        });
        Ok(Table::new(caption, &columns, rows))
    }

    /// What a checkpoint continues, in words.
    fn continued(&self, store: &Store, one: &Checkpoint) -> String {
        if let Some(origin) = self.origin(one) {
            return origin;
        }
        let Some(parent) = one.parent else {
            return "-".to_owned();
        };
        match self.places.get(&parent) {
            Some(place) => human::thousands(self.iteration(*place)),
            None => before(store, one.id).map_or_else(
                || format!("{parent}, which is gone"),
                |before| {
                    format!(
                        "{}; {parent} between is gone",
                        human::thousands(before.iteration)
                    )
                },
            ),
        }
    }
}

/// Some metrics of a checkpoint, and how many more there are.
fn metrics(found: &Checkpoint) -> String {
    let some = human::metrics(found.metrics.iter().take(METRICS));
    match found.metrics.len().saturating_sub(METRICS) {
        0 => some,
        more => format!("{some} and {more} more"),
    }
}
