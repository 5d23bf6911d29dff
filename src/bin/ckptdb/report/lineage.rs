//! The lineage of a job as a figure: its line, what rollbacks left behind, and forks.

use std::fmt::Write;

use ckptdb::name::printable;
use ckptdb::{Checkpoint, Store};

use super::descent::Lineage;
use super::known::{Fork, Known};
use super::lanes::Lane;
use super::mark::Mark;
use super::page::figure;
use super::thin::{Detail, thinned};
use super::tree::{Branch, Kind, Point, Tree};
use crate::failure::Failure;
use crate::output::human;

/// Lanes beside the job's own, at most: those with most checkpoints.
const LANES: usize = 24;
/// Marks on the job's own lane, and on all others together, at most.
const MARKS: usize = 240;
/// Letters of a job's name beside its lane.
const LETTERS: usize = 16;

/// The lineage of a job, drawn and in words; nothing where nothing was saved.
pub(super) fn figure_of(
    store: &Store,
    known: &Known<'_>,
    number: usize,
    detail: Detail,
) -> Result<String, Failure> {
    let lineage = Lineage::of(store, known)?;
    if lineage.found.is_empty() {
        return Ok(String::new());
    }
    let (tree, left_out) = lineage.tree(format!("j{number}line"), detail);
    let mut drawing = tree.svg();
    if left_out > 0 {
        let lines = human::count(left_out as u64, "line is", "lines are");
        let _ = write!(drawing, "<p class=\"soft\">{lines} left out.</p>");
    }
    let table = lineage.table(store, detail)?;
    Ok(figure("Lineage", &drawing, &table))
}

/// A lane that is drawn: its number, or where it parts.
#[derive(Clone, Copy)]
enum Chosen<'l> {
    Behind(usize, &'l Lane),
    Fork(usize, &'l Fork),
}

impl Lineage<'_> {
    /// What is drawn, and how many lanes are not.
    fn tree(&self, id: String, detail: Detail) -> (Tree, usize) {
        let behind = self.behind().iter().enumerate();
        let behind = behind.map(|(lane, one)| (one.nodes.len(), Chosen::Behind(lane + 1, one)));
        let forks = self.forks.iter();
        let forks = forks.map(|(place, fork)| (fork.checkpoints, Chosen::Fork(*place, fork)));
        let mut chosen: Vec<_> = behind.chain(forks).collect();
        chosen.sort_by_key(|(checkpoints, _)| std::cmp::Reverse(*checkpoints));
        let left_out = chosen.len().saturating_sub(detail.most(LANES));
        chosen.truncate(detail.most(LANES));
        let marks = detail.most(MARKS);
        let each = (marks / chosen.len().max(1)).max(2);
        let branches = chosen.iter().map(|(_, one)| self.branch(one, each));
        let tree = Tree {
            id,
            description: self.described(),
            source: self.source(),
            branches: branches.collect(),
            own: self.points(self.own(), 2),
            marks: self.marks(self.own(), marks),
        };
        (tree, left_out)
    }

    /// A lane beside the job's own.
    fn branch(&self, chosen: &Chosen<'_>, most: usize) -> Branch {
        match *chosen {
            Chosen::Behind(lane, behind) => Branch {
                kind: Kind::Behind,
                label: String::new(),
                lane,
                from: behind.from.map(|from| self.point(from)),
                points: self.points(&behind.nodes, 2),
                marks: self.marks(&behind.nodes, most),
            },
            Chosen::Fork(place, fork) => {
                let (first, last) = fork.iterations;
                let mut marks = vec![(first, Mark::Fork)];
                marks.extend((last > first).then_some((last, Mark::Saved)));
                Branch {
                    kind: Kind::Fork,
                    label: shortened(&fork.job),
                    lane: usize::MAX,
                    from: Some(self.point(place)),
                    points: vec![first, last],
                    marks,
                }
            }
        }
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
