//! Power failures at any moment of seeded work, and at any moment of the recoveries from them.

use std::cell::Cell;
use std::collections::{BTreeMap, HashMap};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Once};

use ckptdb::{Error, ManualClock, Store, Timestamp};

use crate::disk::{Disk, Step};
use crate::image::{Image, ImageId};
use crate::model::{Answers, Model, Recipe};
use crate::op::{KINDS, Op};
use crate::oracle::{Allowed, Checked, Wrong, clock_at, matched, open_and_match, options, verify};
use crate::random::Random;
use crate::states::{Choice, Lengths, Point, points};
use crate::work::{JOBS, Theme, draw, plain};

/// How deep recoveries are crashed again.
const DEPTH: usize = 3;
/// One in so many states is worked on with, and its recovery crashed again.
const ONE_IN: usize = 4;

/// What a run is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Settings {
    pub(crate) seed: u64,
    pub(crate) theme: Theme,
    pub(crate) ops: usize,
    pub(crate) early_ack: bool,
    /// Random subsets, torn states and states with garbage at each point.
    pub(crate) each: (usize, usize, usize),
    /// States of a recovery's crash.
    pub(crate) nested: usize,
}

impl Settings {
    pub(crate) const fn new(seed: u64) -> Self {
        Self {
            seed,
            theme: if seed % 5 == 4 {
                Theme::Growing
            } else {
                Theme::Small
            },
            ops: 14,
            early_ack: false,
            each: (16, 32, 3),
            nested: 3,
        }
    }
}

/// States of one kind of operation.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Count {
    pub(crate) points: usize,
    /// Distinct states of the first crash.
    pub(crate) states: usize,
    /// Distinct states of crashes in recoveries.
    pub(crate) nested: usize,
    /// States that were worked on with.
    pub(crate) lived: usize,
    pub(crate) garbled: usize,
    pub(crate) garbled_refused: usize,
    pub(crate) violations: usize,
}

/// Counts by kind of operation, and what went wrong.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    pub(crate) kinds: BTreeMap<&'static str, Count>,
    /// The first few violations, in full.
    pub(crate) found: Vec<String>,
    /// Distinct states before the first violation.
    pub(crate) states_to_first: Option<usize>,
}

impl Tally {
    fn add_counts(&mut self, other: &BTreeMap<&'static str, Count>) {
        for (kind, count) in other {
            let mine = self.kinds.entry(kind).or_default();
            mine.points += count.points;
            mine.states += count.states;
            mine.nested += count.nested;
            mine.lived += count.lived;
            mine.garbled += count.garbled;
            mine.garbled_refused += count.garbled_refused;
            mine.violations += count.violations;
        }
    }

    pub(crate) fn add(&mut self, other: Self) {
        self.add_counts(&other.kinds);
        self.found.extend(other.found);
    }

    pub(crate) fn sum(&self) -> Count {
        let mut all = Self::default();
        for count in self.kinds.values() {
            all.add_counts(&BTreeMap::from([("", *count)]));
        }
        all.kinds.get("").copied().unwrap_or_default()
    }

    pub(crate) fn print(&self) {
        let line = |kind: &str, c: &Count| {
            println!(
                "{kind:<15} {:>7} {:>9} {:>9} {:>8} {:>9} {:>8} {:>10}",
                c.points, c.states, c.nested, c.lived, c.garbled, c.garbled_refused, c.violations
            );
        };
        println!(
            "{:<15} {:>7} {:>9} {:>9} {:>8} {:>9} {:>8} {:>10}",
            "operation", "points", "states", "nested", "lived", "garbage", "refused", "violations"
        );
        for kind in KINDS {
            if let Some(count) = self.kinds.get(kind) {
                line(kind, count);
            }
        }
        line("all", &self.sum());
    }
}

/// Work that was done on a disk, and what the store may answer after each part of it.
pub(crate) struct Run {
    pub(crate) start: Image,
    pub(crate) log: Vec<Step>,
    pub(crate) ops: Vec<Op>,
    /// After so many operations.
    pub(crate) acked: Vec<Allowed>,
    /// What each operation goes through, its result included.
    pub(crate) through: Vec<Vec<Allowed>>,
    /// What was on the disk before each operation, and when it was.
    pub(crate) before: Vec<(Image, i64)>,
    /// And after the store was closed.
    pub(crate) end: Image,
    pub(crate) clock: Arc<ManualClock>,
}

impl Run {
    /// Makes the disk one that skipped a sync and said that it did it: the last but `back` before
    /// an operation returned. None if the operation needed no such sync.
    pub(crate) fn skip_sync(&mut self, op: usize, back: usize) -> Option<()> {
        let place = |number: usize| {
            let mut steps = self.log.iter();
            steps.position(|step| matches!(step, Step::Ack(its) if *its == number))
        };
        let begun = if op == 1 { 0 } else { place(op - 1)? };
        let end = place(op)?;
        let is_sync = |at: &usize| matches!(self.log[*at], Step::Sync);
        let at = (begun..end).rev().filter(is_sync).nth(back)?;
        self.log.remove(at);
        Some(())
    }
}

/// Does one operation and returns the states that it goes through.
pub(crate) fn perform(store: &Store, op: &Op, before: &Model, at: i64) -> Checked<Vec<Allowed>> {
    let id = op.run(store)?.map(|(id, _)| id);
    let steps = op.apply(before, id, at);
    Ok(steps.into_iter().map(Allowed::new).collect())
}

fn last(through: &[Allowed]) -> &Allowed {
    through.last().expect("an operation ends in a state")
}

/// Works on a fresh store as the seed says, and checks every answer on the way.
pub(crate) fn record(settings: &Settings) -> Checked<Run> {
    let mut random = Random::new(settings.seed);
    let clock = clock_at(0);
    let disk = Disk::default();
    let store = Store::create_in(Arc::new(disk.clone()), options(&clock))?;
    let mut model = Model::default();
    model.commits.push(0);
    let mut run = Run {
        start: disk.image(),
        log: Vec::new(),
        ops: Vec::new(),
        acked: vec![Allowed::new(model)],
        through: Vec::new(),
        before: Vec::new(),
        end: Image::default(),
        clock: Arc::clone(&clock),
    };
    disk.start_log();
    let mut now = 0;
    for number in 1..=settings.ops {
        now += 60_000 * random.below(60) as i64;
        clock.set(Timestamp::from_millis(now));
        let before = run.acked[number - 1].clone();
        let fresh = u8::try_from(number).expect("work is short");
        let op = draw(&mut random, &before.model, settings.theme, fresh);
        run.before.push((disk.image(), now));
        if settings.early_ack {
            disk.acknowledge(number);
        }
        let through = perform(&store, &op, &before.model, now)?;
        if !settings.early_ack {
            disk.acknowledge(number);
        }
        matched(&store, std::slice::from_ref(last(&through)))?;
        run.acked.push(last(&through).clone());
        run.through.push(through);
        run.ops.push(op);
    }
    drop(store);
    (run.log, run.end) = (disk.log(), disk.image());
    Ok(run)
}

/// Looks at the states of one run.
pub(crate) struct Explorer<'r> {
    run: &'r Run,
    settings: Settings,
    random: Random,
    /// What each state that was met answers; none if it was wrong.
    seen: HashMap<ImageId, Option<Arc<Answers>>>,
    kind: &'static str,
    pub(crate) tally: Tally,
}

impl<'r> Explorer<'r> {
    pub(crate) fn new(run: &'r Run, settings: Settings) -> Self {
        Self {
            run,
            settings,
            random: Random::new(settings.seed.wrapping_mul(31)),
            seen: HashMap::new(),
            kind: KINDS[0],
            tally: Tally::default(),
        }
    }

    fn count(&mut self) -> &mut Count {
        self.tally.kinds.entry(self.kind).or_default()
    }

    /// All points of the run, until `enough` violations are found.
    pub(crate) fn explore(&mut self, lengths: Lengths, enough: usize) {
        let run = self.run;
        for point in points(run.start.clone(), &run.log, lengths) {
            let mut allowed = vec![run.acked[point.acked].clone()];
            // When all had returned, closing is what was under way.
            let op = point.acked.min(run.ops.len() - 1);
            self.kind = run.ops[op].kind();
            allowed.extend(run.through.get(point.acked).into_iter().flatten().cloned());
            self.count().points += 1;
            let mut choices = Vec::new();
            let mut random = self.random.clone();
            point.each(&mut random, self.settings.each, &mut |choice| {
                choices.push(choice)
            });
            self.random = random;
            for choice in choices {
                self.state(&point, &choice, &allowed, &mut Vec::new());
                if self.tally.found.len() >= enough {
                    return;
                }
            }
        }
    }

    /// Looks at one state; `trail` says how it came about.
    fn state(
        &mut self,
        point: &Point,
        choice: &Choice,
        allowed: &[Allowed],
        trail: &mut Vec<String>,
    ) {
        let image = point.image(choice);
        let id = image.id();
        if let Some(known) = self.seen.get(&id) {
            let fits = |known: &Arc<Answers>| allowed.iter().any(|state| state.answers == *known);
            let is_wrong = known.as_ref().is_some_and(|known| !fits(known));
            if is_wrong && choice.garbage.is_none() {
                let why = "what was acknowledged since is not there".to_owned();
                self.violation(point, choice, trail, &why);
            }
            return;
        }
        trail.push(format!(
            "point {} ({} acked): {choice}",
            point.at, point.acked
        ));
        self.seen.insert(id, None);
        let depth = trail.len();
        let count = self.count();
        match (choice.garbage.is_some(), depth) {
            (true, _) => count.garbled += 1,
            (false, 1) => count.states += 1,
            (false, _) => count.nested += 1,
        }
        let checked = caught(|| {
            let disk = Arc::new(Disk::new(image.clone()));
            open_and_match(disk, &self.run.clock, allowed).map(|(_, found)| found)
        });
        match checked {
            Ok(found) => {
                self.seen
                    .insert(id, Some(Arc::clone(&allowed[found].answers)));
                if choice.garbage.is_none() && self.random.one_in(ONE_IN) {
                    self.live_on(&image, &allowed[found], trail);
                }
            }
            // A sector that holds anything may be noticed, by an error that says so.
            Err(Wrong::Refused(Error::Corrupt { .. } | Error::NotAStore { .. }))
                if choice.garbage.is_some() =>
            {
                self.count().garbled_refused += 1;
            }
            Err(wrong) => self.violation(point, choice, trail, &format!("{wrong:?}")),
        }
        trail.pop();
    }

    fn violation(&mut self, point: &Point, choice: &Choice, trail: &[String], why: &str) {
        self.report(trail, &format!("point {}: {choice}: {why}", point.at));
    }

    fn report(&mut self, trail: &[String], what: &str) {
        if self.tally.states_to_first.is_none() {
            let sum = self.tally.sum();
            self.tally.states_to_first = Some(sum.states + sum.nested);
        }
        self.count().violations += 1;
        let text = format!(
            "seed {}, in `{}`, {trail:?}, {what}",
            self.settings.seed, self.kind
        );
        self.tally.found.push(text);
    }

    /// Goes on with a store after a crash, and lets the power fail once more in its first write.
    fn live_on(&mut self, image: &Image, state: &Allowed, trail: &mut Vec<String>) {
        self.count().lived += 1;
        let disk = Disk::new(image.clone());
        disk.start_log();
        let mut random = Random::new(self.random.word());
        // Codes that neither the run nor the lives before this one used.
        let fresh = 200 + 2 * u8::try_from(trail.len()).expect("trails are short");
        let lived = caught(|| life(&disk, &self.run.clock, state, &mut random, fresh));
        let through = match lived {
            Ok(through) => through,
            Err(wrong) => {
                self.report(trail, &format!("going on: {wrong:?}"));
                return;
            }
        };
        if trail.len() > DEPTH - 1 {
            return;
        }
        let log = disk.log();
        let end = log.iter().position(|step| matches!(step, Step::Ack(1)));
        let points = points(image.clone(), &log[..end.unwrap_or(0)], Lengths::Modelled);
        let mut allowed = vec![state.clone()];
        allowed.extend(through);
        for _ in 0..self.settings.nested {
            let point = self.random.pick(&points).clone();
            let choice = point.some(&mut self.random);
            self.state(&point, &choice, &allowed, trail);
        }
    }
}

/// Something, then a save, a delete, a reclaim, and a close: all as if there had been no crash.
/// Returns what the first operation went through.
fn life(
    disk: &Disk,
    clock: &Arc<ManualClock>,
    state: &Allowed,
    random: &mut Random,
    fresh: u8,
) -> Checked<Vec<Allowed>> {
    let at = state.model.commits.last().copied().unwrap_or_default() + 1_000;
    clock.set(Timestamp::from_millis(at));
    let store = Store::open_in(Arc::new(disk.clone()), options(clock))?;
    let op = draw(random, &state.model, Theme::Small, fresh);
    let through = perform(&store, &op, &state.model, at)?;
    disk.acknowledge(1);
    let mut now = last(&through).clone();
    let job = *random.pick(&JOBS);
    let save = Op::Save(plain(&now.model, job, Recipe::Packs(fresh + 1)));
    let id = save.run(&store)?.map(|(id, _)| id);
    let steps = save.apply(&now.model, id, at);
    now = Allowed::new(steps[steps.len() - 1].clone());
    let id = id.expect("a save has an id");
    for op in [Op::Delete { id, force: true }, Op::Reclaim { now: true }] {
        now = last(&perform(&store, &op, &now.model, at)?).clone();
    }
    store.close();
    let now = std::slice::from_ref(&now);
    let (store, _) = open_and_match(Arc::new(disk.clone()), clock, now)?;
    verify(&store)?;
    Ok(through)
}

thread_local! {
    /// Whether panics of this thread are caught and told by whoever catches them.
    static QUIET: Cell<bool> = const { Cell::new(false) };
}

/// A panic is a wrong answer.
pub(crate) fn caught<T>(run: impl FnOnce() -> Checked<T>) -> Checked<T> {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let shown = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            if !QUIET.get() {
                shown(panic);
            }
        }));
    });
    let before = QUIET.replace(true);
    let result = catch_unwind(AssertUnwindSafe(run));
    QUIET.set(before);
    result.unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().cloned();
        let text = text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
        let text = text.unwrap_or_default();
        Err(Wrong::Answer(format!("a panic: {text}")))
    })
}
