//! A disk that lies: a write that it acknowledged, synced and lost, or put somewhere else. What is
//! answered then is right or refused, or as it once was; and where it is as it once was, a
//! verification finds it, unless the whole store is an earlier one of itself.

use std::collections::BTreeSet;
use std::fmt::Debug;
use std::sync::Arc;

use ckptdb::{CheckpointId, Error, Filter, Job, Store, VerifyDepth};

use crate::disk::{Disk, Step};
use crate::image::{Image, PAGE};
use crate::model::{JobView, STEPS, View, canonical};
use crate::oracle::{Allowed, Checked, Wrong, look, matched, options, ranking};
use crate::quiet::caught;
use crate::random::Random;
use crate::run::{Run, Settings, record};

/// Operations whose writes are lied about; what is older has mostly been written over.
const LAST: usize = 6;

/// What came of it.
#[derive(Debug, Default)]
pub(crate) struct Lies {
    pub(crate) cases: usize,
    /// The store did not open, or refused some answers.
    pub(crate) refused: usize,
    /// Some answers were as they once had been, and a verification said so.
    pub(crate) found_stale: usize,
    /// All answers were those of one earlier state.
    pub(crate) earlier: usize,
    pub(crate) found: Vec<String>,
}

impl Lies {
    pub(crate) fn add(&mut self, other: Self) {
        self.cases += other.cases;
        self.refused += other.refused;
        self.found_stale += other.found_stale;
        self.earlier += other.earlier;
        self.found.extend(other.found);
    }
}

/// The file at the end, had the write at this place of the log been lost, or gone to `elsewhere`.
fn without(run: &Run, write: usize, elsewhere: Option<usize>) -> Image {
    let mut image = run.start.clone();
    for (number, step) in run.log.iter().enumerate() {
        match step {
            Step::Write(_, data) if number == write => {
                if let Some(place) = elsewhere {
                    image.write(place, data);
                }
            }
            Step::Write(at, data) => image.write(*at, data),
            Step::SetLen(len) => image.set_len(*len),
            Step::Sync | Step::SyncFailed | Step::Ack(_) => {}
        }
    }
    image
}

/// What was asked, and how the answers were.
struct Questions<'r> {
    states: &'r [Allowed],
    refused: usize,
    stale: usize,
}

impl Questions<'_> {
    fn latest(&self) -> &Allowed {
        self.states.last().expect("there was a beginning")
    }

    /// An answer is refused, right, or was right once.
    fn hear<T: PartialEq + Debug>(
        &mut self,
        what: &str,
        answer: Checked<T>,
        of: impl Fn(&Allowed) -> Option<T>,
    ) -> Checked<()> {
        let answer = match answer {
            Ok(answer) => answer,
            Err(Wrong::Refused(_)) => {
                self.refused += 1;
                return Ok(());
            }
            Err(wrong) => return Err(wrong),
        };
        if of(self.latest()).is_some_and(|wanted| wanted == answer) {
            return Ok(());
        }
        let is_old = |state| of(state).is_some_and(|once| once == answer);
        if self.states.iter().any(is_old) {
            self.stale += 1;
            return Ok(());
        }
        Err(Wrong::Answer(format!("{what}: {answer:?} at no time")))
    }

    /// Each part of what is said of a checkpoint is of some time; what never changes is right.
    fn checkpoint(&mut self, store: &Store, id: u64) -> Checked<()> {
        let reference = CheckpointId::new(id).to_string();
        let mut deleted = false;
        let found = match store.resolve(&reference) {
            Err(Error::Deleted { .. }) => {
                deleted = true;
                store.resolve_deleted(&reference)
            }
            found => found,
        };
        let seen = found
            .map_err(Wrong::from)
            .and_then(|found| look(&found, deleted, self.states));
        let seen = match seen {
            Ok(seen) => seen,
            Err(Wrong::Refused(_)) => {
                self.refused += 1;
                return Ok(());
            }
            Err(wrong) => return Err(wrong),
        };
        let view = |state: &Allowed| state.answers.checkpoints.get(&id).cloned();
        let fixed = |view: &View| (view.job.clone(), view.iteration, view.parent, view.recipe);
        let known = view(self.latest()).expect("it is asked for");
        if fixed(&seen) != fixed(&known) {
            return Err(Wrong::Answer(format!("{seen:?} for {known:?}")));
        }
        let what = format!("checkpoint {id}");
        let marks = |view: &View| (view.pinned, view.abandoned, view.deleted);
        self.hear(&what, Ok(marks(&seen)), |s| view(s).as_ref().map(marks))?;
        self.hear(&what, Ok(seen.events), |s| view(s).map(|v| v.events))?;
        self.hear(&what, Ok(seen.loss), |s| view(s).map(|v| v.loss))?;
        self.hear(&what, Ok(seen.note), |s| view(s).map(|v| v.note))?;
        self.hear(&what, Ok(seen.tags), |s| view(s).map(|v| v.tags))?;
        self.hear(&what, Ok(seen.points), |s| view(s).map(|v| v.points))
    }

    fn list(&mut self, store: &Store, deleted: bool) -> Checked<()> {
        let filter = Filter {
            abandoned: true,
            deleted,
            ..Filter::default()
        };
        let listed = store.list(&filter).and_then(|all| {
            all.map(|found| found.map(|found| found.id.get()))
                .collect::<Result<BTreeSet<u64>, _>>()
        });
        self.hear("the list", listed.map_err(Wrong::from), |state| {
            let all = state.answers.checkpoints.iter();
            let of_kind = all.filter(|(_, view)| view.deleted == deleted);
            Some(of_kind.map(|(id, _)| *id).collect())
        })
    }

    fn job(&mut self, store: &Store, name: &str) -> Checked<()> {
        let job = store.job(name)?;
        let view = |state: &Allowed| state.answers.jobs.get(name).cloned();
        let latest = job.latest().map(|found| found.map(|found| found.id.get()));
        self.hear("latest", latest.map_err(Wrong::from), |state| {
            Some(view(state).and_then(|view: JobView| view.latest))
        })?;
        self.hear("the ranking", ranking(&job), |state| {
            Some(view(state).and_then(|view| view.ranking))
        })?;
        self.telemetry(&job)?;
        let info = job.info().map_err(Wrong::from);
        let counts = info.map(|info| info.map(|i| (i.checkpoints, i.abandoned, i.deleted)));
        self.hear("the counts", counts, |state| {
            Some(view(state).map(|view| view.counts))
        })
    }

    /// A block that is lost is a gap, which nothing tells; but no point is shown that never was.
    fn telemetry(&mut self, job: &Job) -> Checked<()> {
        let points = job
            .telemetry()
            .and_then(|telemetry| telemetry.points(STEPS, 0..=u64::MAX));
        let points = match points {
            Ok(points) => points,
            Err(Error::NotFound { .. }) => return Ok(()),
            Err(_) => {
                self.refused += 1;
                return Ok(());
            }
        };
        let of_job = |state: &Allowed| {
            let view = state.answers.jobs.get(job.name());
            view.map(|view| view.points.clone()).unwrap_or_default()
        };
        let known: BTreeSet<(u64, u64)> = self.states.iter().flat_map(of_job).collect();
        let mut shown = points.iter().map(|p| (p.iteration, canonical(p.value)));
        match shown.find(|point| !known.contains(point)) {
            Some(point) => Err(Wrong::Answer(format!("{point:?} was never logged"))),
            None => Ok(()),
        }
    }

    fn ask(&mut self, store: &Store) -> Checked<()> {
        let ids: Vec<u64> = self.latest().answers.checkpoints.keys().copied().collect();
        for id in ids {
            self.checkpoint(store, id)?;
        }
        self.list(store, false)?;
        self.list(store, true)?;
        let names: Vec<String> = self.latest().answers.jobs.keys().cloned().collect();
        names.iter().try_for_each(|name| self.job(store, name))
    }
}

/// Looks at one such file.
fn judge(run: &Run, states: &[Allowed], image: &Image, lies: &mut Lies) -> Checked<()> {
    let disk = Disk::new(image.clone());
    disk.start_log();
    let opened = Store::open_in(Arc::new(disk.clone()), options(&run.clock));
    let mut questions = Questions {
        states,
        refused: 0,
        stale: 0,
    };
    match &opened {
        Ok(store) => questions.ask(store)?,
        Err(_) => questions.refused += 1,
    }
    if !disk.log().is_empty() {
        return Err(Wrong::Answer("a file was written to by reading".into()));
    }
    lies.cases += 1;
    lies.refused += usize::from(questions.refused > 0);
    let Ok(store) = opened else {
        return Ok(());
    };
    if questions.stale == 0 {
        return Ok(());
    }
    match store.verify(VerifyDepth::Quick) {
        Ok(report) if report.is_clean() => {
            lies.earlier += 1;
            matched(&store, states).map(drop)
        }
        _ => {
            lies.found_stale += 1;
            Ok(())
        }
    }
}

/// All lies about the last writes of one run.
pub(crate) fn lie(seed: u64) -> Lies {
    let mut lies = Lies::default();
    let run = match record(&Settings::new(seed)) {
        Ok(run) => run,
        Err(wrong) => {
            lies.found.push(format!("seed {seed}: {wrong:?}"));
            return lies;
        }
    };
    let through = run.through.iter().flatten();
    let mut states: Vec<Allowed> = run.acked.iter().chain(through).cloned().collect();
    states.push(run.acked[run.ops.len()].clone());
    let from = run
        .log
        .iter()
        .position(|step| matches!(step, Step::Ack(op) if *op + LAST == run.ops.len()))
        .unwrap_or(0);
    let mut sound = Lies::default();
    let asked = judge(&run, &states, &run.end, &mut sound);
    assert!(
        asked.is_ok() && sound.refused + sound.earlier == 0,
        "{asked:?}"
    );
    let mut random = Random::new(seed);
    let pages: Vec<usize> = run.end.taken().into_iter().collect();
    for (number, step) in run.log.iter().enumerate().skip(from) {
        if !matches!(step, Step::Write(..)) {
            continue;
        }
        let place = *random.pick(&pages) * PAGE;
        for elsewhere in [None, Some(place)] {
            let image = without(&run, number, elsewhere);
            if image.id() == run.end.id() {
                continue;
            }
            let judged = caught(|| judge(&run, &states, &image, &mut lies));
            if let Err(wrong) = judged {
                let what = format!("seed {seed}, step {number} to {elsewhere:?}: {wrong:?}");
                lies.found.push(what);
            }
        }
    }
    lies
}
