//! What a store must hold, by what was acknowledged, and the comparison with what it holds.

use std::collections::{BTreeMap, BTreeSet};

use ckptdb::{Checkpoint, CheckpointId, Filter, Store, VerifyDepth};

use crate::content::{State, job_name};
use crate::operation::Operation;
use crate::worker::JOBS;

/// What is known of a checkpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Row {
    pub(crate) state: State,
    deleted: bool,
    /// Saved once more, with the event `final`.
    merged: bool,
}

/// The checkpoints that were acknowledged, by id.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Model {
    rows: BTreeMap<u64, Row>,
    /// What a job's latest checkpoint must be, where the last change to the job was a save.
    latest: BTreeMap<u8, u64>,
}

/// What became of the operation that the kill cut off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    Nothing,
    Applied,
    Absent,
    /// A reclaim is one transaction for each checkpoint.
    Partly,
}

impl Model {
    /// An operation was done; `id` is what a save returned.
    pub(crate) fn apply(&mut self, operation: Operation, id: u64) {
        match operation {
            Operation::Save(state) => self.insert(id, state),
            Operation::Merge(head, state) => {
                assert_eq!(id, head, "{state} was merged into its own checkpoint");
                self.row(id).merged = true;
            }
            Operation::Overwrite(old, state) => {
                self.row(old).deleted = true;
                self.insert(id, state);
            }
            Operation::Delete(id) => {
                let row = self.row(id);
                row.deleted = true;
                let job = row.state.job;
                if self.latest.get(&job) == Some(&id) {
                    self.latest.remove(&job);
                }
            }
            Operation::Undelete(id) => {
                let row = self.row(id);
                row.deleted = false;
                let job = row.state.job;
                self.latest.remove(&job);
            }
            Operation::Reclaim => self.rows.retain(|_, row| !row.deleted),
            Operation::Open | Operation::Compact | Operation::Recompress | Operation::Reopen => {}
        }
    }

    fn insert(&mut self, id: u64, state: State) {
        let row = Row {
            state,
            deleted: false,
            merged: false,
        };
        assert_eq!(self.rows.insert(id, row), None, "{id} is a new id");
        self.latest.insert(state.job, id);
    }

    fn row(&mut self, id: u64) -> &mut Row {
        self.rows.get_mut(&id).unwrap()
    }

    /// Compares a store with this, where `cut` may be there wholly or not at all, and takes over
    /// what became of it.
    pub(crate) fn settle(&mut self, store: &Store, cut: Option<Operation>) -> Outcome {
        let found = list(store);
        let outcome = self.explain(&found, cut);
        for (id, row) in &self.rows {
            let checkpoint = &found[id];
            row.state.compare(checkpoint);
        }
        for job in 0..JOBS {
            let latest = store.job(&job_name(job)).unwrap().latest().unwrap();
            if let Some(id) = self.latest.get(&job) {
                assert_eq!(latest.unwrap().id.get(), *id, "the latest of job {job}");
            } else if let Some(latest) = latest {
                assert!(!self.rows[&latest.id.get()].deleted);
            }
        }
        let report = store.verify(VerifyDepth::Full).unwrap();
        assert!(report.is_clean(), "after {cut:?}: {:#?}", report.damage);
        assert_eq!(report.orphans, 0, "after {cut:?}");
        outcome
    }

    /// Whatever else: every acknowledged checkpoint can be read, but the one that `cut` removes.
    pub(crate) fn read_live(&self, store: &Store, cut: Operation) {
        let stays = |id: u64| cut.removes() != Some(id);
        let live = self.rows.iter().filter(|(_, row)| !row.deleted);
        for (id, row) in live.filter(|(id, _)| stays(**id)) {
            let found = store.resolve(&CheckpointId::new(*id).to_string());
            row.state.compare(&found.unwrap());
        }
    }

    /// This is the checkpoint that was acknowledged last, and all of it is there.
    pub(crate) fn latest_is(&self, found: &Checkpoint) {
        let (id, row) = self.rows.iter().rfind(|(_, row)| !row.deleted).unwrap();
        assert_eq!(found.id.get(), *id);
        row.state.compare(found);
    }

    fn explain(&mut self, found: &BTreeMap<u64, Checkpoint>, cut: Option<Operation>) -> Outcome {
        if self.agrees(found) {
            return if cut.is_some() {
                Outcome::Absent
            } else {
                Outcome::Nothing
            };
        }
        let Some(cut) = cut else {
            panic!("{}", self.difference(found));
        };
        if cut == Operation::Reclaim {
            return self.explain_reclaim(found);
        }
        // The id of a save that was not acknowledged is the one that nobody knows.
        let fresh = found.keys().find(|id| !self.rows.contains_key(id)).copied();
        let id = match cut {
            Operation::Merge(head, _) => head,
            _ => fresh.unwrap_or(0),
        };
        let before = self.difference(found);
        self.apply(cut, id);
        let after = self.difference(found);
        assert!(
            self.agrees(found),
            "neither without `{cut}`:\n{before}\nnor with it:\n{after}"
        );
        Outcome::Applied
    }

    fn explain_reclaim(&mut self, found: &BTreeMap<u64, Checkpoint>) -> Outcome {
        self.rows
            .retain(|id, row| !row.deleted || found.contains_key(id));
        assert!(self.agrees(found), "{}", self.difference(found));
        if self.rows.values().any(|row| row.deleted) {
            Outcome::Partly
        } else {
            Outcome::Applied
        }
    }

    fn agrees(&self, found: &BTreeMap<u64, Checkpoint>) -> bool {
        self.rows.keys().eq(found.keys())
            && self.rows.iter().all(|(id, row)| describes(row, &found[id]))
    }

    fn difference(&self, found: &BTreeMap<u64, Checkpoint>) -> String {
        let ids: BTreeSet<&u64> = self.rows.keys().chain(found.keys()).collect();
        let mut lines = Vec::new();
        for id in ids {
            match (self.rows.get(id), found.get(id)) {
                (Some(row), Some(checkpoint)) if describes(row, checkpoint) => {}
                (row, checkpoint) => lines.push(format!(
                    "  {id}: acknowledged {row:?}, found {:?}",
                    checkpoint.map(|found| &**found)
                )),
            }
        }
        lines.join("\n")
    }
}

/// Whether a checkpoint is this one, its entries' bytes aside.
fn describes(row: &Row, found: &Checkpoint) -> bool {
    let last = found.events.contains(&ckptdb::Event::Final);
    (found.job.as_str(), found.iteration) == (job_name(row.state.job).as_str(), row.state.iteration)
        && found.deleted_at.is_some() == row.deleted
        && last == row.merged
}

/// Everything in a store, by id, deleted checkpoints included.
fn list(store: &Store) -> BTreeMap<u64, Checkpoint> {
    let mut all = BTreeMap::new();
    for deleted in [false, true] {
        let filter = Filter {
            abandoned: true,
            deleted,
            ..Filter::default()
        };
        for found in store.list(&filter).unwrap() {
            let found = found.unwrap();
            assert!(all.insert(found.id.get(), found).is_none(), "listed twice");
        }
    }
    all
}
