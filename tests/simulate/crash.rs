//! Power failures at any moment of seeded work, and at any moment of the recoveries from them.

use std::collections::HashMap;
use std::sync::Arc;

use ckptdb::{CheckpointId, Error, ManualClock, MemoryMedium, Store, Timestamp};

use crate::disk::{Disk, Step};
use crate::fault::{Call, Kind, Lasting, Plan};
use crate::image::{Image, ImageId};
use crate::model::{Answers, Recipe};
use crate::op::{KINDS, Op};
use crate::oracle::{Allowed, Checked, Wrong, look, open_and_match, options, verify};
use crate::quiet::caught;
use crate::random::Random;
use crate::run::{Run, Settings, last, perform};
use crate::states::{Choice, Lengths, Point, points};
use crate::tally::{Count, Tally};
use crate::work::{JOBS, Theme, draw, plain};

/// How deep recoveries are crashed again.
const DEPTH: usize = 3;
/// One in so many states is worked on with, and its recovery crashed again.
const ONE_IN: usize = 4;
/// Random subsets, torn states and states with garbage at a point after a failed sync.
const AFTER_FAILED_SYNC: (usize, usize, usize) = (8, 8, 0);

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
            for choice in self.choices(&point, self.settings.each) {
                self.state(&point, &choice, &allowed, &mut Vec::new());
                if self.tally.found.len() >= enough {
                    return;
                }
            }
        }
    }

    /// Power failures after a sync of an operation failed: at once, and after a save by a fresh
    /// handle, which sees what the disk may have lost.
    pub(crate) fn failed_sync(&mut self, number: usize, sync: usize) -> Checked<()> {
        let run = self.run;
        let (image, at) = &run.before[number];
        self.kind = run.ops[number].kind();
        run.clock.set(Timestamp::from_millis(*at));
        let disk = Disk::new(image.clone());
        disk.start_log();
        let store = Store::open_in(Arc::new(disk.clone()), options(&run.clock))?;
        let plan = Plan {
            call: Call::Sync,
            at: sync,
            kind: Kind::Broken,
            lasting: Lasting::Once,
        };
        disk.faults(|faults| faults.set(Some(plan)));
        let result = run.ops[number].run(&store);
        drop(store);
        // It may need fewer syncs.
        if !disk.faults(|faults| faults.sync_hit) {
            return Ok(());
        }
        disk.faults(|faults| faults.set(None));
        // What says that it is done though a sync failed has acknowledged its state.
        let mut allowed = match result {
            Ok(_) => Vec::new(),
            Err(_) => vec![run.acked[number].clone()],
        };
        allowed.extend(run.through[number].iter().cloned());
        let (store, found) = open_and_match(Arc::new(disk.clone()), &run.clock, &allowed)?;
        let before = &allowed[found].model;
        let save = Op::Save(plain(before, JOBS[0], Recipe::Packs(240)));
        let saved = perform(&store, &save, before, *at)?;
        disk.acknowledge(1);
        drop(store);
        allowed.extend(saved.iter().cloned());
        for point in points(image.clone(), &disk.log(), Lengths::Modelled) {
            self.count().points += 1;
            let allowed = if point.acked == 0 { &allowed } else { &saved };
            for choice in self.choices(&point, AFTER_FAILED_SYNC) {
                self.state(&point, &choice, allowed, &mut Vec::new());
            }
        }
        Ok(())
    }

    fn choices(&mut self, point: &Point, each: (usize, usize, usize)) -> Vec<Choice> {
        let mut choices = Vec::new();
        point.each(&mut self.random, each, &mut |choice| choices.push(choice));
        choices
    }

    /// Looks at one state; `trail` says how it came about.
    pub(crate) fn state(
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
                if let Err(wrong) = caught(|| salvaged(&image, &self.run.clock, allowed)) {
                    self.violation(point, choice, trail, &format!("salvaged: {wrong:?}"));
                }
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
        let op = draw(&mut random, &state.model, Theme::Small, fresh);
        let lived = caught(|| life(&disk, &self.run.clock, state, &op, &mut random, fresh));
        let through = match lived {
            Ok(through) => through,
            Err(wrong) => {
                self.report(trail, &format!("going on with {op:?}: {wrong:?}"));
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

/// What a power failure left that garbled a sector, and that does not open any more: a salvage
/// brings back every checkpoint that was acknowledged, as it was.
fn salvaged(image: &Image, clock: &Arc<ManualClock>, allowed: &[Allowed]) -> Checked<()> {
    let old = Arc::new(Disk::new(image.clone()));
    let new = Arc::new(MemoryMedium::default());
    let (store, _) = Store::salvage_in(old, new, options(clock), &mut |_, _| {})?;
    let views = |id: &u64| {
        let states = allowed.iter().map(|state| &state.answers.checkpoints);
        states
            .filter_map(|all| all.get(id))
            .filter(|view| !view.deleted)
            .collect::<Vec<_>>()
    };
    for id in allowed[0].answers.checkpoints.keys() {
        let views = views(id);
        if views.len() < allowed.len() {
            // It may have been deleted.
            continue;
        }
        let found = store.resolve(&CheckpointId::new(*id).to_string())?;
        let found = look(&found, false, allowed)?;
        if !views.contains(&&found) {
            return Err(Wrong::Answer(format!("{found:?} for {views:?}")));
        }
    }
    verify(&store)
}

/// Something, then a save, a delete, a reclaim, and a close: all as if there had been no crash.
/// Returns what the first operation went through.
fn life(
    disk: &Disk,
    clock: &Arc<ManualClock>,
    state: &Allowed,
    op: &Op,
    random: &mut Random,
    fresh: u8,
) -> Checked<Vec<Allowed>> {
    let at = state.model.commits.last().copied().unwrap_or_default() + 1_000;
    clock.set(Timestamp::from_millis(at));
    let store = Store::open_in(Arc::new(disk.clone()), options(clock))?;
    let through = perform(&store, op, &state.model, at)?;
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
