//! What a store must hold, by what was acknowledged, and the comparison with what it holds.

use std::collections::{BTreeMap, BTreeSet};

use ckptdb::{Checkpoint, CheckpointId, Error, Filter, Store, VerifyDepth};

use crate::content::{State, job_name};
use crate::operation::{FORK, LATEST, LOGGED, METRIC, Operation, value};

/// What is known of a checkpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Row {
    pub(crate) state: State,
    /// The state's own job, or that of forks.
    job: u8,
    parent: Option<u64>,
    deleted: bool,
    /// A rollback left its line behind.
    abandoned: bool,
    /// Saved once more, with the event `final`.
    merged: bool,
}

/// The checkpoints that were acknowledged, by id.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Model {
    rows: BTreeMap<u64, Row>,
    /// The parents of all, reclaimed ones included.
    parents: BTreeMap<u64, Option<u64>>,
    /// The last iteration that was logged: each before it was too.
    logged: u64,
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

/// What a store holds.
struct Found {
    rows: BTreeMap<u64, Checkpoint>,
    logged: u64,
}

impl Model {
    /// An operation was done; `id` is what a save returned.
    pub(crate) fn apply(&mut self, operation: Operation, id: u64) {
        match operation {
            Operation::Save(state) => {
                let parent = self.head(state.job);
                self.insert(id, state, state.job, parent);
            }
            Operation::Merge(head, state) => {
                assert_eq!(id, head, "{state} was merged into its own checkpoint");
                self.row(id).merged = true;
            }
            Operation::Overwrite(old, state) => {
                self.row(old).deleted = true;
                self.insert(id, state, state.job, self.parents[&old]);
            }
            Operation::Delete(id) => self.row(id).deleted = true,
            Operation::Undelete(id) => self.undelete(id),
            Operation::Rollback(to) => self.roll_back(to),
            Operation::Fork(source) => {
                let state = self.row(source).state;
                self.insert(id, state, FORK, None);
            }
            Operation::DeleteFork => {
                let of_it = self.rows.values_mut().filter(|row| row.job == FORK);
                of_it.for_each(|row| row.deleted = true);
            }
            Operation::Prune(job) => self.prune(job),
            Operation::Log(_, last) => self.logged = last,
            Operation::Reclaim => self.rows.retain(|_, row| !row.deleted),
            Operation::Open | Operation::Compact | Operation::Recompress | Operation::Reopen => {}
        }
    }

    fn insert(&mut self, id: u64, state: State, job: u8, parent: Option<u64>) {
        let row = Row {
            state,
            job,
            parent,
            deleted: false,
            abandoned: false,
            merged: false,
        };
        assert_eq!(self.rows.insert(id, row), None, "{id} is a new id");
        self.parents.insert(id, parent);
    }

    fn row(&mut self, id: u64) -> &mut Row {
        self.rows.get_mut(&id).unwrap()
    }

    /// The ids of a job's current line, the newest first.
    fn line(&self, job: u8) -> impl Iterator<Item = u64> {
        let rows = self.rows.iter().rev();
        let of_line = move |row: &Row| row.job == job && !row.deleted && !row.abandoned;
        rows.filter(move |(_, row)| of_line(row)).map(|(id, _)| *id)
    }

    fn head(&self, job: u8) -> Option<u64> {
        self.line(job).next()
    }

    /// What is on the way from the root to `to` is the line, and all else is not.
    fn roll_back(&mut self, to: u64) {
        let job = self.row(to).job;
        let line: BTreeSet<u64> = std::iter::successors(Some(to), |id| self.parents[id]).collect();
        let of_job = self.rows.iter_mut().filter(|(_, row)| row.job == job);
        of_job.for_each(|(id, row)| row.abandoned = !line.contains(id));
    }

    /// It is on the line if it continues the head, or the head continues it; unless a rollback has
    /// left it behind.
    fn undelete(&mut self, id: u64) {
        let head = self.head(self.rows[&id].job);
        if let Some(head) = head {
            let (older, newer) = (id.min(head), id.max(head));
            let mut way = std::iter::successors(Some(newer), |id| self.parents[id]);
            let is_line = way.any(|id| id == older);
            let row = self.row(id);
            row.abandoned = (newer == id && row.abandoned) || !is_line;
        }
        self.row(id).deleted = false;
    }

    fn prune(&mut self, job: u8) {
        let most = usize::try_from(LATEST).unwrap();
        let kept: BTreeSet<u64> = self.line(job).take(most).collect();
        let of_job = self.rows.iter_mut().filter(|(_, row)| row.job == job);
        for (_, row) in of_job.filter(|(id, _)| !kept.contains(id)) {
            row.deleted = true;
        }
    }

    /// Compares a store with this, where `cut` may be there wholly or not at all, and takes over
    /// what became of it.
    pub(crate) fn settle(&mut self, store: &Store, cut: Option<Operation>) -> Outcome {
        let found = Found {
            rows: list(store),
            logged: logged(store),
        };
        let outcome = self.explain(&found, cut);
        for (id, row) in &self.rows {
            row.state.compare(&found.rows[id]);
        }
        for job in 0..=FORK {
            let latest = store.job(&job_name(job)).unwrap().latest().unwrap();
            let latest = latest.map(|found| found.id.get());
            assert_eq!(latest, self.head(job), "the latest of job {job}, {cut:?}");
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

    fn explain(&mut self, found: &Found, cut: Option<Operation>) -> Outcome {
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
        let fresh = found
            .rows
            .keys()
            .find(|id| !self.rows.contains_key(id))
            .copied();
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

    fn explain_reclaim(&mut self, found: &Found) -> Outcome {
        self.rows
            .retain(|id, row| !row.deleted || found.rows.contains_key(id));
        assert!(self.agrees(found), "{}", self.difference(found));
        if self.rows.values().any(|row| row.deleted) {
            Outcome::Partly
        } else {
            Outcome::Applied
        }
    }

    fn agrees(&self, found: &Found) -> bool {
        self.logged == found.logged
            && self.rows.keys().eq(found.rows.keys())
            && self
                .rows
                .iter()
                .all(|(id, row)| describes(row, &found.rows[id]))
    }

    fn difference(&self, found: &Found) -> String {
        let ids: BTreeSet<&u64> = self.rows.keys().chain(found.rows.keys()).collect();
        let mut lines = vec![format!("  logged: {}, {}", self.logged, found.logged)];
        for id in ids {
            match (self.rows.get(id), found.rows.get(id)) {
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
    (found.job.as_str(), found.iteration) == (job_name(row.job).as_str(), row.state.iteration)
        && found.parent.map(CheckpointId::get) == row.parent
        && found.abandoned == row.abandoned
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

/// The last iteration that was logged. All before it were, each with its value.
pub(crate) fn logged(store: &Store) -> u64 {
    let job = store.job(&job_name(LOGGED)).unwrap();
    let telemetry = match job.telemetry() {
        Err(Error::NotFound { .. }) => return 0,
        telemetry => telemetry.unwrap(),
    };
    let summary = &telemetry.summaries().unwrap()[METRIC];
    let points = telemetry.points(METRIC, 0..=u64::MAX).unwrap();
    assert_eq!(points.len() as u64, summary.count);
    for (point, iteration) in points.iter().zip(1..) {
        let expected = value(iteration);
        assert_eq!(
            (point.iteration, point.value.to_bits()),
            (iteration, expected.to_bits())
        );
    }
    summary.count
}
