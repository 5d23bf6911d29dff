//! Where a job's checkpoints come from: its line, what rollbacks left behind, and forks.

use std::collections::{BTreeMap, BTreeSet};

use ckptdb::name::printable;
use ckptdb::{Checkpoint, CheckpointId, Store};

use super::known::{Fork, Known};
use super::lanes::{Lane, Node, lanes};
use super::mark::Mark;
use super::page::{Table, figure};
use super::thin::thinned;
use super::tree::{Branch, Kind, Point, Tree};
use crate::commands::marks::{Marks, events, notes};
use crate::failure::Failure;
use crate::output::{Style, human};

/// Lanes beside the job's own, at most: those with most checkpoints.
const LANES: usize = 24;
/// Marks on the job's own lane, and on all others together, at most.
const MARKS: usize = 240;
/// Rows of the table, and of these the ones that are there for more than their age.
const ROWS: usize = 60;
const NOTABLE: usize = 20;
/// Branches that the description names.
const NAMED: usize = 5;
/// Letters of a job's name beside its lane.
const LETTERS: usize = 16;

/// A job's checkpoints in the order of their commits, and the lanes they are on.
struct Lineage<'k> {
    known: &'k Known<'k>,
    found: Vec<&'k Checkpoint>,
    places: BTreeMap<CheckpointId, usize>,
    lanes: Vec<Lane>,
    /// The jobs that began with a checkpoint, by its place.
    forks: Vec<(usize, &'k Fork)>,
    /// Best by some metric.
    best: BTreeSet<CheckpointId>,
}

/// The lineage of a job, drawn and in words; nothing where nothing was saved.
pub(super) fn figure_of(
    store: &Store,
    known: &Known<'_>,
    number: usize,
) -> Result<String, Failure> {
    let lineage = Lineage::of(store, known)?;
    if lineage.found.is_empty() {
        return Ok(String::new());
    }
    let (tree, left_out) = lineage.tree(format!("j{number}line"));
    let mut drawing = tree.svg();
    if left_out > 0 {
        let lines = human::count(left_out as u64, "line is", "lines are");
        drawing += &format!("<p class=\"soft\">{lines} left out.</p>");
    }
    let table = lineage.table(store)?;
    Ok(figure("Lineage", &drawing, &table))
}

impl<'k> Lineage<'k> {
    fn of(store: &Store, known: &'k Known<'k>) -> Result<Self, Failure> {
        let fates = [known.line, known.abandoned, known.deleted];
        let mut found: Vec<&Checkpoint> = fates.into_iter().flatten().collect();
        found.sort_by_key(|one| one.id);
        let nodes: Vec<Node> = found.iter().map(|one| node(one)).collect();
        let before = |place: usize| Some(before(store, found.get(place)?.id)?.id.get());
        let lanes = lanes(&nodes, &before);
        let forks = found.iter().enumerate().flat_map(|(place, one)| {
            let forks = known.gathered.forks(one.id);
            forks.iter().map(move |fork| (place, fork))
        });
        let mut best = BTreeSet::new();
        for metric in known.info.metrics.keys() {
            best.extend(known.job.best(metric)?.map(|best| best.id));
        }
        Ok(Self {
            known,
            forks: forks.collect(),
            places: found
                .iter()
                .enumerate()
                .map(|(at, one)| (one.id, at))
                .collect(),
            found,
            lanes,
            best,
        })
    }

    fn iteration(&self, place: usize) -> u64 {
        self.found.get(place).map_or(0, |found| found.iteration)
    }

    fn own(&self) -> &[usize] {
        self.lanes.first().map_or(&[], |lane| lane.nodes.as_slice())
    }

    fn behind(&self) -> &[Lane] {
        self.lanes.get(1..).unwrap_or_default()
    }

    /// What the job began with, in words, if another job had it.
    fn source(&self) -> Option<String> {
        let from = self.found.iter().find_map(|found| found.forked_from)?;
        Some(match self.known.gathered.origin(from) {
            Some((job, iteration)) => format!("{}@{iteration}", printable(job)),
            None => from.to_string(),
        })
    }

    /// What is drawn, and how many lanes are not.
    fn tree(&self, id: String) -> (Tree, usize) {
        let mut branches: Vec<(usize, Branch)> = Vec::new();
        let each = (MARKS / self.behind().len().clamp(1, LANES)).max(2);
        for (lane, behind) in self.behind().iter().enumerate() {
            let branch = Branch {
                kind: Kind::Behind,
                label: String::new(),
                lane: lane + 1,
                from: behind.from.map(|from| self.point(from)),
                points: self.points(&behind.nodes, each),
                marks: self.marks(&behind.nodes, each),
            };
            branches.push((behind.nodes.len(), branch));
        }
        for (place, fork) in &self.forks {
            let (first, last) = fork.iterations;
            let mut marks = vec![(first, Mark::Fork)];
            marks.extend((last > first).then_some((last, Mark::Saved)));
            let branch = Branch {
                kind: Kind::Fork,
                label: shortened(&fork.job),
                lane: usize::MAX,
                from: Some(self.point(*place)),
                points: vec![first, last],
                marks,
            };
            branches.push((fork.checkpoints, branch));
        }
        branches.sort_by_key(|(checkpoints, _)| std::cmp::Reverse(*checkpoints));
        let left_out = branches.len().saturating_sub(LANES);
        branches.truncate(LANES);
        let tree = Tree {
            id,
            description: self.described(),
            source: self.source(),
            own: self.points(self.own(), MARKS),
            marks: self.marks(self.own(), MARKS),
            branches: branches.into_iter().map(|(_, branch)| branch).collect(),
        };
        (tree, left_out)
    }

    /// Where something begins.
    fn point(&self, place: usize) -> Point {
        let lane = |lane: &Lane| lane.nodes.binary_search(&place).is_ok();
        Point {
            lane: self.lanes.iter().position(lane).unwrap_or(0),
            iteration: self.iteration(place),
        }
    }

    fn points(&self, nodes: &[usize], most: usize) -> Vec<u64> {
        let all: Vec<u64> = nodes.iter().map(|place| self.iteration(*place)).collect();
        thinned(&all, most)
    }

    /// A mark for each, or for some of many; the best and the forked always.
    fn marks(&self, nodes: &[usize], most: usize) -> Vec<(u64, Mark)> {
        let found = nodes.iter().filter_map(|place| self.found.get(*place));
        let (gone, there): (Vec<_>, Vec<_>) = found.partition(|one| one.deleted_at.is_some());
        let plain = |one: &&Checkpoint| {
            let mark = match (one.deleted_at, one.abandoned) {
                (Some(_), _) => Mark::Deleted,
                (None, true) => Mark::Abandoned,
                (None, false) => Mark::Saved,
            };
            (one.iteration, mark)
        };
        let some = [thinned(&there, most), thinned(&gone, most / 2)].concat();
        let mut marks: Vec<_> = some.iter().copied().map(plain).collect();
        for one in there.into_iter().chain(gone) {
            let best = self.best.contains(&one.id).then_some(Mark::Best);
            let fork = one.forked_from.map(|_| Mark::Fork);
            let also = [best, fork].into_iter().flatten();
            marks.extend(also.map(|mark| (one.iteration, mark)));
        }
        marks
    }

    /// What the drawing shows, for whoever does not see it.
    fn described(&self) -> String {
        let own = self.own();
        let mut text = match (own.first(), own.last()) {
            (Some(first), Some(last)) => format!(
                "The job's line has {}, from iteration {} to {}.",
                human::checkpoints(own.len() as u64),
                human::thousands(self.iteration(*first)),
                human::thousands(self.iteration(*last)),
            ),
            _ => "The job's line is empty.".to_owned(),
        };
        let deleted = self.known.deleted.len() as u64;
        if deleted > 0 {
            let deleted = human::count(deleted, "checkpoint is", "checkpoints are");
            text += &format!(" {deleted} deleted.");
        }
        if let Some(source) = self.source() {
            text += &format!(" It began as a fork of {source}.");
        }
        for behind in self.behind().iter().take(NAMED) {
            let count = human::checkpoints(behind.nodes.len() as u64);
            text += &match behind.from {
                Some(from) => format!(
                    " A rollback to iteration {} left {count} behind.",
                    human::thousands(self.iteration(from))
                ),
                None => format!(" A rollback left {count} behind."),
            };
        }
        for (place, fork) in self.forks.iter().take(NAMED) {
            let iteration = human::thousands(self.iteration(*place));
            text += &format!(
                " {} forked from iteration {iteration}.",
                printable(&fork.job)
            );
        }
        let named = self.behind().len().min(NAMED) + self.forks.len().min(NAMED);
        let more = self.behind().len() + self.forks.len() - named;
        if more > 0 {
            text += &format!(
                " {} not named here.",
                human::count(more as u64, "line is", "lines are")
            );
        }
        text
    }

    /// The newest, and those at which something began or ended.
    fn table(&self, store: &Store) -> Result<Table, Failure> {
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
        let mut shown: BTreeSet<usize> = notable.into_iter().rev().take(NOTABLE).collect();
        for place in (0..self.found.len()).rev() {
            if shown.len() == ROWS {
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
            "{} of {} checkpoints, the newest first",
            shown.len(),
            self.found.len()
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
                human::metrics(one.metrics.iter()),
                notes.join(", "),
            ]
        });
        Ok(Table::new(caption, &columns, rows))
    }

    /// What a checkpoint continues, in words.
    fn continued(&self, store: &Store, one: &Checkpoint) -> String {
        if one.forked_from.is_some() {
            return self.source().unwrap_or_default();
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

fn node(found: &Checkpoint) -> Node {
    Node {
        id: found.id.get(),
        parent: found.parent.map(CheckpointId::get),
        is_behind: found.abandoned,
    }
}

/// The nearest of those that are there which a checkpoint continues.
fn before(store: &Store, id: CheckpointId) -> Option<Checkpoint> {
    store.resolve(&format!("{id}~1")).ok()
}

/// A name that fits beside a lane.
fn shortened(name: &str) -> String {
    let name = printable(name);
    if name.chars().count() <= LETTERS {
        return name;
    }
    let head: String = name.chars().take(LETTERS - 3).collect();
    head + "..."
}
