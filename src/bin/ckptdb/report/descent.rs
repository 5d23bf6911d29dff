//! Which checkpoints of a job there are, and what each of them continues.

use std::collections::{BTreeMap, BTreeSet};

use ckptdb::name::printable;
use ckptdb::{Checkpoint, CheckpointId, Store};

use super::known::{Fork, Known};
use super::lanes::{Lane, Node, lanes};
use crate::failure::Failure;

/// A job's checkpoints in the order of their commits, and the lanes they are on.
pub(super) struct Lineage<'k> {
    pub(super) known: &'k Known<'k>,
    pub(super) found: Vec<&'k Checkpoint>,
    pub(super) places: BTreeMap<CheckpointId, usize>,
    pub(super) lanes: Vec<Lane>,
    /// The jobs that began with a checkpoint, by its place.
    pub(super) forks: Vec<(usize, &'k Fork)>,
    /// Best by some metric.
    pub(super) best: BTreeSet<CheckpointId>,
}

impl<'k> Lineage<'k> {
    pub(super) fn of(store: &Store, known: &'k Known<'k>) -> Result<Self, Failure> {
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

    pub(super) fn iteration(&self, place: usize) -> u64 {
        self.found.get(place).map_or(0, |found| found.iteration)
    }

    pub(super) fn own(&self) -> &[usize] {
        self.lanes.first().map_or(&[], |lane| lane.nodes.as_slice())
    }

    pub(super) fn behind(&self) -> &[Lane] {
        self.lanes.get(1..).unwrap_or_default()
    }

    /// What the job began with, in words, if another job had it.
    pub(super) fn source(&self) -> Option<String> {
        let line = self.own().iter().filter_map(|place| self.found.get(*place));
        let there = line.clone().filter(|found| found.deleted_at.is_none());
        there.chain(line).find_map(|found| self.origin(found))
    }

    /// The checkpoint of another job that one is a copy of, in words.
    pub(super) fn origin(&self, found: &Checkpoint) -> Option<String> {
        let from = found.forked_from?;
        Some(match self.known.gathered.origin(from) {
            Some((job, iteration)) => format!("{}@{iteration}", printable(job)),
            None => from.to_string(),
        })
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
pub(super) fn before(store: &Store, id: CheckpointId) -> Option<Checkpoint> {
    store.resolve(&format!("{id}~1")).ok()
}
