//! The child of the kill storm: works on a store until it is killed, and tells each operation
//! before it begins and after it is done.

use std::collections::BTreeMap;
use std::path::PathBuf;

use ckptdb::{Filter, Store};

use crate::child::{argument, tell};
use crate::content::{Random, Size, State};
use crate::model::logged;
use crate::operation::{FORK, Operation};

/// Jobs that a worker saves to.
pub(crate) const JOBS: u8 = 2;
/// Checkpoints that it keeps; the more there are, the longer takes each check.
const KEPT: usize = 12;
/// Operations after which it stops by itself, should nobody kill it.
const MOST: usize = 20_000;

/// What a worker knows of its store.
struct Worker {
    store: Store,
    random: Random,
    next_iteration: u64,
    live: Vec<(u64, u8, u64)>,
    deleted: Vec<(u64, u8, u64)>,
    /// The heads that it saved itself: their states can be saved once more.
    heads: BTreeMap<u8, (u64, State)>,
    /// The last iteration with telemetry.
    logged: u64,
}

/// The role: `CKPTDB_TEST_STORE`, `CKPTDB_TEST_SEED`, and the first iteration that no state has
/// yet, `CKPTDB_TEST_NEXT`.
pub(crate) fn run() {
    let path: PathBuf = argument("CKPTDB_TEST_STORE");
    tell(&format!("> {}", Operation::Open));
    let mut worker = Worker {
        store: Store::open(path).unwrap(),
        random: Random::new(argument("CKPTDB_TEST_SEED")),
        next_iteration: argument("CKPTDB_TEST_NEXT"),
        live: Vec::new(),
        deleted: Vec::new(),
        heads: BTreeMap::new(),
        logged: 0,
    };
    worker.look();
    tell("< 0");
    for _ in 0..MOST {
        let operation = worker.choose();
        tell(&format!("> {operation}"));
        match operation.run(&worker.store) {
            Ok(id) => {
                tell(&format!("< {id}"));
                worker.note(operation, id);
            }
            Err(error) => panic!("{operation}: {error:?}"),
        }
    }
}

impl Worker {
    /// Finds what there is.
    fn look(&mut self) {
        self.logged = logged(&self.store);
        (self.live, self.deleted) = (Vec::new(), Vec::new());
        for deleted in [false, true] {
            let filter = Filter {
                abandoned: true,
                deleted,
                ..Filter::default()
            };
            for found in self.store.list(&filter).unwrap() {
                let found = found.unwrap();
                let job = found.job.rsplit('/').next().unwrap().parse().unwrap();
                let row = (found.id.get(), job, found.iteration);
                if deleted {
                    self.deleted.push(row);
                } else {
                    self.live.push(row);
                }
            }
        }
    }

    fn choose(&mut self) -> Operation {
        let draw = self.random.below(1000);
        let job = u8::try_from(self.random.below(u64::from(JOBS))).unwrap();
        let head = self.heads.get(&job).copied();
        let chosen = match draw {
            0..460 => None,
            460..480 => Some(self.log()),
            480..510 => self.forked(),
            510..530 => Some(Operation::Prune(job)).filter(|_| self.has(job)),
            530..560 => self.returns(),
            560..620 => head.map(|(id, state)| Operation::Merge(id, state)),
            620..680 => head.map(|(id, state)| {
                let revision = state.revision + 1;
                Operation::Overwrite(id, State { revision, ..state })
            }),
            680..800 => self
                .random
                .pick(&self.live)
                .map(|(id, ..)| Operation::Delete(id)),
            800..860 => self.comes_back().map(Operation::Undelete),
            860..920 => Some(Operation::Reclaim),
            920..940 => Some(Operation::Compact),
            940..960 => Some(Operation::Recompress),
            _ => Some(Operation::Reopen),
        };
        if self.live.len() > KEPT
            && let Some((id, ..)) = self.random.pick(&self.live)
        {
            return Operation::Delete(id);
        }
        chosen.unwrap_or_else(|| self.save(job))
    }

    fn has(&self, job: u8) -> bool {
        self.live.iter().any(|row| row.1 == job)
    }

    /// A batch that ends within a block, or takes several.
    fn log(&mut self) -> Operation {
        let magnitude = self.random.below(12);
        let count = 1 + self.random.below(1 << magnitude);
        Operation::Log(self.logged + 1, self.logged + count)
    }

    /// A fork of any checkpoint, or the end of the fork that there is.
    fn forked(&mut self) -> Option<Operation> {
        if self.has(FORK) {
            return Some(Operation::DeleteFork);
        }
        let source = self.random.pick(&self.live);
        source.map(|(id, ..)| Operation::Fork(id))
    }

    /// A rollback to any checkpoint, on the line or left behind.
    fn returns(&mut self) -> Option<Operation> {
        let to = self.random.pick(&self.live);
        to.filter(|row| row.1 != FORK)
            .map(|(id, ..)| Operation::Rollback(id))
    }

    fn save(&mut self, job: u8) -> Operation {
        let size = match self.random.below(400) {
            0 => Size::Huge,
            1..120 => Size::Large,
            120..280 => Size::Small,
            _ => Size::Tiny,
        };
        Operation::Save(State {
            job,
            iteration: self.next_iteration,
            revision: 0,
            size,
        })
    }

    /// A deleted checkpoint whose iteration was not saved anew.
    fn comes_back(&mut self) -> Option<u64> {
        let (id, job, iteration) = self.random.pick(&self.deleted)?;
        if job == FORK {
            // Its job is another one than that which has the name by now.
            return None;
        }
        let is_anew = |row: &(u64, u8, u64)| (row.1, row.2) == (job, iteration);
        (!self.live.iter().any(is_anew)).then_some(id)
    }

    fn note(&mut self, operation: Operation, id: u64) {
        match operation {
            Operation::Save(state) => {
                self.next_iteration += 1;
                self.live.push((id, state.job, state.iteration));
                self.heads.insert(state.job, (id, state));
            }
            Operation::Overwrite(old, state) => {
                self.bury(old);
                self.live.push((id, state.job, state.iteration));
                self.heads.insert(state.job, (id, state));
            }
            Operation::Delete(id) => self.bury(id),
            Operation::Undelete(id) => {
                if let Some(at) = self.deleted.iter().position(|row| row.0 == id) {
                    self.live.push(self.deleted.swap_remove(at));
                }
                // It may continue the head, and be the head again.
                self.heads.clear();
            }
            Operation::Rollback(_) => self.heads.clear(),
            Operation::Log(_, last) => self.logged = last,
            Operation::Fork(_) | Operation::DeleteFork | Operation::Prune(_) => self.look(),
            Operation::Reclaim => self.deleted.clear(),
            Operation::Open
            | Operation::Merge(..)
            | Operation::Compact
            | Operation::Recompress
            | Operation::Reopen => {}
        }
    }

    fn bury(&mut self, id: u64) {
        if let Some(at) = self.live.iter().position(|row| row.0 == id) {
            self.deleted.push(self.live.swap_remove(at));
        }
        self.heads.retain(|_, (head, _)| *head != id);
    }
}
