//! Every call of every operation fails, once or for a while: nothing acknowledged is lost, and
//! once the fault is gone the store works on.

use std::collections::BTreeMap;
use std::sync::Arc;

use ckptdb::{Error, ManualClock, Store, Timestamp};

use crate::disk::Disk;
use crate::fault::{Call, Kind, Lasting, Plan};
use crate::image::Image;
use crate::model::Recipe;
use crate::op::{KINDS, Op};
use crate::oracle::{Allowed, Checked, Wrong, matched, open_and_match, options, verify};
use crate::quiet::caught;
use crate::run::{Run, perform};
use crate::work::{JOBS, plain};

/// What is wrong with the disk.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Fault {
    Call(Plan),
    /// It is full, but for so many blocks.
    Full(usize),
}

/// Who goes on after the fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Heir {
    SameHandle,
    FreshHandle,
}

/// An operation that meets faults.
pub(crate) struct Scene<'r> {
    image: Image,
    before: Allowed,
    op: &'r Op,
    at: i64,
    /// A save before it, through the same handle: its caches are warm, and there is something to
    /// close.
    is_warm: bool,
    /// A save that finds no room ends the undo windows: what is deleted is gone before it, so that
    /// every fault has the same states around it.
    is_swept: bool,
    through: Vec<Allowed>,
    calls: BTreeMap<Call, usize>,
    clock: Arc<ManualClock>,
}

/// How often an operation ended how, by kind of operation.
#[derive(Debug, Default)]
pub(crate) struct Ends {
    pub(crate) counts: BTreeMap<(&'static str, &'static str), usize>,
    pub(crate) points: BTreeMap<&'static str, usize>,
    pub(crate) found: Vec<String>,
}

const BLOCKS: usize = 10;

/// The name of an error's kind, if it is one that a fault of the disk may have.
fn kind_of(error: &Error) -> Option<&'static str> {
    match error {
        Error::Full { .. } => Some("Full"),
        Error::Io { .. } => Some("Io"),
        Error::SyncFailed { .. } => Some("SyncFailed"),
        Error::Interrupted { .. } => Some("Interrupted"),
        _ => None,
    }
}

impl<'r> Scene<'r> {
    /// The scene of a run's operation of this number, the first being 0.
    pub(crate) fn of(run: &'r Run, number: usize, is_warm: bool) -> Checked<Self> {
        let (image, at) = run.before[number].clone();
        let mut scene = Self {
            image,
            before: run.acked[number].clone(),
            op: &run.ops[number],
            at,
            is_warm,
            is_swept: matches!(run.ops[number], Op::Save(_))
                && !run.acked[number].model.due(None).is_empty(),
            through: Vec::new(),
            calls: BTreeMap::new(),
            clock: Arc::clone(&run.clock),
        };
        let (disk, store, before) = scene.open()?;
        disk.faults(|faults| faults.set(None));
        scene.through = perform(&store, scene.op, &before.model, at)?;
        scene.calls = disk.faults(|faults| faults.calls.clone());
        scene.before = before;
        Ok(scene)
    }

    /// The store as it is before the operation, and what it holds.
    fn open(&self) -> Checked<(Disk, Store, Allowed)> {
        let disk = Disk::new(self.image.clone());
        self.clock.set(Timestamp::from_millis(self.at));
        let store = Store::open_in(Arc::new(disk.clone()), options(&self.clock))?;
        let mut before = self.before.clone();
        // When the scene is set, what is before has the warm save already.
        let is_set = !self.through.is_empty();
        if self.is_swept {
            let sweep = Op::Reclaim { now: true };
            if is_set {
                sweep.run(&store)?;
            } else {
                let through = perform(&store, &sweep, &before.model, self.at)?;
                before = through[through.len() - 1].clone();
            }
        }
        if self.is_warm {
            let mut save = plain(&before.model, "warm", Recipe::Tiny(250));
            if is_set {
                save.iteration = 0;
                save.run(&store)?;
            } else {
                let through = perform(&store, &Op::Save(save), &before.model, self.at)?;
                before = through[0].clone();
            }
        }
        Ok((disk, store, before))
    }

    /// All faults of this operation.
    pub(crate) fn faults(&self) -> Vec<Fault> {
        let mut out = Vec::new();
        for (call, count) in &self.calls {
            let kinds: &[Kind] = match call {
                Call::Read => &[Kind::Broken],
                Call::Write => &[Kind::NoSpace, Kind::Broken, Kind::Short],
                Call::SetLen | Call::Sync | Call::Reserve => &[Kind::NoSpace, Kind::Broken],
            };
            for at in 0..*count {
                for kind in kinds {
                    for lasting in [Lasting::Once, Lasting::UntilFreed] {
                        out.push(Fault::Call(Plan {
                            call: *call,
                            at,
                            kind: *kind,
                            lasting,
                        }));
                    }
                }
            }
        }
        out.extend((0..BLOCKS).map(Fault::Full));
        out
    }

    /// Lets the operation meet one fault. Returns how it ended.
    pub(crate) fn meet(&self, fault: Fault, heir: Heir) -> Checked<&'static str> {
        let (disk, store, _) = self.open()?;
        match fault {
            Fault::Call(plan) => disk.faults(|faults| faults.set(Some(plan))),
            Fault::Full(quota) => {
                disk.faults(|faults| faults.set(None));
                disk.fill_up(quota);
            }
        }
        let result = self.op.run(&store);
        let end = match &result {
            Ok(_) => "done",
            Err(error) => kind_of(error)
                .ok_or_else(|| Wrong::Answer(format!("this is no error of a fault: {error:?}")))?,
        };
        let (hits, sync_hit) = disk.faults(|faults| (faults.hits, faults.sync_hit));
        let mut allowed = self.through.clone();
        if result.is_ok() {
            allowed.drain(..allowed.len() - 1);
        } else if hits == 0 {
            return Err(Wrong::Answer(format!("nothing failed, but {result:?}")));
        } else {
            allowed.insert(0, self.before.clone());
        }
        let is_of_reads = matches!(fault, Fault::Call(plan) if plan.call == Call::Read);
        let mut store = Some(store);
        if heir == Heir::FreshHandle {
            store = None;
        } else if !is_of_reads && let Some(store) = &store {
            // Readable while the fault lasts.
            matched(store, &allowed)?;
        }
        disk.faults(|faults| faults.set(None));
        // What a reopening fails to sync is the closing of what was acknowledged, and durable, long
        // before: the handle that it opens is a fresh one.
        let is_closed = sync_hit && !matches!(self.op, Op::Reopen);
        if let Some(store) = store.take_if(|_| is_closed) {
            refused_for_good(&store)?;
        }
        let store = match store {
            Some(store) => store,
            None => Store::open_in(Arc::new(disk.clone()), options(&self.clock))?,
        };
        let now = self.again(&store, &allowed)?;
        drop(store);
        let now = std::slice::from_ref(&now);
        let (store, _) = open_and_match(Arc::new(disk), &self.clock, now)?;
        verify(&store)?;
        Ok(end)
    }

    /// Repeats the operation if it is not done, and works on.
    fn again(&self, store: &Store, allowed: &[Allowed]) -> Checked<Allowed> {
        let mut done = self.through[self.through.len() - 1].clone();
        let found = matched(store, allowed)?;
        if allowed[found].answers != done.answers {
            let id = self.op.run(store)?.map(|(id, _)| id);
            let steps = self.op.apply(&allowed[found].model, id, self.at);
            let now = Allowed::new(steps[steps.len() - 1].clone());
            if matches!(self.op, Op::Reclaim { .. }) {
                // What the first one recorded is a later commit, after which more is due.
                done = now;
            } else if now.answers != done.answers {
                return Err(Wrong::Answer(format!(
                    "repeated, it does {:?}",
                    now.answers
                )));
            }
        } else if let Op::Save(save) = self.op {
            // What is there already is not saved twice.
            let (_, merged) = save.run(store)?;
            if !merged {
                return Err(Wrong::Answer(
                    "the save was repeated, and not merged".into(),
                ));
            }
        }
        matched(store, std::slice::from_ref(&done))?;
        let save = Op::Save(plain(&done.model, JOBS[0], Recipe::Packs(251)));
        let through = perform(store, &save, &done.model, self.at)?;
        matched(store, &through)?;
        Ok(through[0].clone())
    }

    /// Meets all faults.
    pub(crate) fn play(&self, ends: &mut Ends) {
        let kind = self.op.kind();
        for fault in self.faults() {
            for heir in [Heir::SameHandle, Heir::FreshHandle] {
                *ends.points.entry(kind).or_default() += 1;
                match caught(|| self.meet(fault, heir)) {
                    Ok(end) => *ends.counts.entry((kind, end)).or_default() += 1,
                    Err(wrong) => ends.found.push(format!(
                        "{:?} (warm: {}), {fault:?}, {heir:?}: {wrong:?}",
                        self.op, self.is_warm
                    )),
                }
            }
        }
    }
}

/// After a failed sync its handle reports no success any more.
fn refused_for_good(store: &Store) -> Checked<()> {
    for _ in 0..2 {
        let refused = store.job("x")?.save(1).bytes("s", b"x").commit();
        if !matches!(refused, Err(Error::SyncFailed { .. })) {
            let what = format!(
                "after a failed sync: {:?}",
                refused.map(|saved| saved.merged)
            );
            return Err(Wrong::Answer(what));
        }
    }
    Ok(())
}

impl Ends {
    pub(crate) fn add(&mut self, other: Self) {
        for (kind, count) in other.points {
            *self.points.entry(kind).or_default() += count;
        }
        for (end, count) in other.counts {
            *self.counts.entry(end).or_default() += count;
        }
        self.found.extend(other.found);
    }

    /// Whether operations of this kind have met faults.
    pub(crate) fn has(&self, kind: &str) -> bool {
        self.points.contains_key(kind)
    }

    pub(crate) fn points(&self) -> usize {
        self.points.values().sum()
    }

    pub(crate) fn print(&self) {
        const ENDS: [&str; 5] = ["done", "Full", "Io", "SyncFailed", "Interrupted"];
        let line = |kind: &str, points: usize, counts: [usize; 5]| {
            let counts = counts.map(|count| format!("{count:>11}")).concat();
            println!("{kind:<15} {points:>7}{counts}");
        };
        println!(
            "{:<15} {:>7}{}",
            "operation",
            "points",
            ENDS.map(|end| format!("{end:>11}")).concat()
        );
        for kind in KINDS {
            let of = |end| self.counts.get(&(*kind, end)).copied().unwrap_or_default();
            line(
                kind,
                self.points.get(kind).copied().unwrap_or_default(),
                ENDS.map(of),
            );
        }
        let sum = |end| {
            self.counts
                .iter()
                .filter(|((_, its), _)| *its == end)
                .map(|(_, c)| c)
                .sum()
        };
        line("all", self.points(), ENDS.map(sum));
    }
}
