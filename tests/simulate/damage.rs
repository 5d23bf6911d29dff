//! Sectors lost, garbled or swapped, files cut or grown, and files that are none of ours: no wrong
//! answer, no panic, no hang, and a file that is refused stays as it is.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use ckptdb::{CheckpointId, Error, Filter, ManualClock, Medium, MemoryMedium, Store, VerifyDepth};

use crate::disk::Disk;
use crate::image::{Image, PAGE};
use crate::model::{JobView, LOSS, View};
use crate::oracle::{Allowed, Checked, Wrong, clock_at, look, options};
use crate::quiet::caught;
use crate::random::Random;
use crate::run::{Settings, record};

const SECTOR: usize = 512;
/// What any case may take.
const LIMIT: Duration = Duration::from_secs(1);
/// One in so many damaged stores is verified and saved to.
const ONE_IN: usize = 16;
/// The job that is saved to then. A save that failed in its last step may be there or not.
const NEW: &str = "new";

/// What happens to a piece of the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Harm {
    Zeroed,
    Ones,
    Garbage,
    Swapped,
    Cut,
    Extended,
    Foreign,
}

/// What came of the cases of one kind.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Counts {
    pub(crate) cases: usize,
    /// The store did not open.
    pub(crate) refused: usize,
    /// It opened, and refused some answers.
    pub(crate) partly: usize,
}

#[derive(Debug, Default)]
pub(crate) struct Harms {
    pub(crate) counts: BTreeMap<Harm, Counts>,
    pub(crate) found: Vec<String>,
    pub(crate) slowest: Duration,
    /// Only cases that save are run, from this one on; otherwise they only read.
    saves_from: Option<usize>,
    /// Cases that save, run or not.
    saves: usize,
}

/// A store that is about to be damaged.
pub(crate) struct Victim {
    image: Image,
    truth: Allowed,
    clock: Arc<ManualClock>,
    seed: u64,
}

impl Victim {
    /// A store after seeded work: closed, or as a power failure leaves it.
    pub(crate) fn new(seed: u64) -> Checked<Self> {
        let settings = Settings {
            ops: 12,
            ..Settings::new(seed * 5)
        };
        let run = record(&settings)?;
        let number = run.ops.len();
        let (image, truth) = if seed.is_multiple_of(2) {
            (run.end, run.acked[number].clone())
        } else {
            (
                run.before[number - 1].0.clone(),
                run.acked[number - 1].clone(),
            )
        };
        Ok(Self {
            image,
            truth,
            clock: clock_at(0),
            seed,
        })
    }

    /// Asks a damaged store for everything. Returns how many answers it refused.
    fn interrogate(&self, store: &Store) -> Checked<usize> {
        let mut refused = 0;
        let mut loads = BTreeSet::new();
        let truth = std::slice::from_ref(&self.truth);
        for (id, view) in &self.truth.answers.checkpoints {
            let reference = CheckpointId::new(*id).to_string();
            let found = if view.deleted {
                store.resolve_deleted(&reference)
            } else {
                store.resolve(&reference)
            };
            match found
                .map_err(Wrong::from)
                .and_then(|found| look(&found, view.deleted, truth))
            {
                Ok(found) if found == *view => drop(loads.insert(*id)),
                // A stale page of checkpoints, which is among what is not protected against:
                // `verify` finds it.
                Ok(found) if is_stale(&found, view) && is_found(store) => refused += 1,
                Ok(found) => return Err(Wrong::Answer(format!("{found:?} for {view:?}"))),
                Err(Wrong::Refused(error)) if is_told(&error) => refused += 1,
                // An older page in the place of a newer one: it is as it was before.
                Err(Wrong::Refused(Error::NotFound { .. })) if view.deleted => refused += 1,
                Err(wrong) => return Err(wrong),
            }
        }
        for deleted in [false, true] {
            let filter = Filter {
                abandoned: true,
                deleted,
                ..Filter::default()
            };
            let listed = store.list(&filter).and_then(|all| {
                all.filter(|found| found.as_ref().map_or(true, |found| found.job != NEW))
                    .map(|found| found.map(|found| found.id.get()))
                    .collect::<Result<Vec<u64>, _>>()
            });
            let all = self.truth.answers.checkpoints.iter().rev();
            let wanted = all
                .filter(|(_, view)| view.deleted == deleted)
                .map(|(id, _)| *id);
            refused += same("the list", listed, &wanted.collect())?;
        }
        let names: Vec<String> = self.truth.answers.jobs.keys().cloned().collect();
        let jobs = store.jobs();
        refused += same(
            "the jobs",
            jobs.map(|jobs| {
                let names = jobs.into_iter().map(|job| job.name);
                names.filter(|name| name != NEW).collect()
            }),
            &names,
        )?;
        for (name, view) in &self.truth.answers.jobs {
            refused += of_job(store, name, view)?;
            refused += self.resume(store, name, &loads)?;
        }
        Ok(refused)
    }

    /// A resume finds the newest checkpoint that loads, and names those that it passes over.
    fn resume(&self, store: &Store, name: &str, loads: &BTreeSet<u64>) -> Checked<usize> {
        let all = self.truth.answers.checkpoints.iter().rev();
        let line = all.filter(|(_, view)| view.job == name && !view.deleted && !view.abandoned);
        let line: Vec<u64> = line.map(|(id, _)| *id).collect();
        let resumed = match store.job(name)?.resume() {
            Ok(Some(resumed)) => resumed,
            Ok(None) if line.is_empty() => return Ok(0),
            Ok(None) => return Err(Wrong::Answer(format!("{name} resumes from nothing"))),
            Err(error) if is_told(&error) => return Ok(1),
            Err(other) => return Err(other.into()),
        };
        let id = resumed.checkpoint.id.get();
        let skipped = resumed.skipped.iter().filter_map(|skip| skip.checkpoint);
        let skipped: Vec<u64> = skipped.map(CheckpointId::get).collect();
        let newer: Vec<u64> = line.iter().copied().take_while(|it| *it > id).collect();
        if newer != skipped || !line.contains(&id) || newer.iter().any(|it| loads.contains(it)) {
            let what = format!("{name} resumes from {id}, past {skipped:?}; {loads:?} load");
            return Err(Wrong::Answer(what));
        }
        resumed.checkpoint.load()?;
        Ok(usize::from(!skipped.is_empty()))
    }

    /// Looks at one damaged image.
    fn case(&self, image: &Image, lives_on: bool) -> Checked<Option<usize>> {
        let disk = Disk::new(image.clone());
        disk.start_log();
        let store = match Store::open_in(Arc::new(disk.clone()), options(&self.clock)) {
            Ok(store) => store,
            Err(_) if disk.log().is_empty() => return Ok(None),
            Err(_) => return Err(Wrong::Answer("a refused file was written to".into())),
        };
        let refused = self.interrogate(&store)?;
        if !disk.log().is_empty() {
            return Err(Wrong::Answer("a file was written to by reading".into()));
        }
        if lives_on {
            // What is refused is damage, and is found as such.
            let verified = store.verify(VerifyDepth::Full);
            if refused > 0 && verified.is_ok_and(|report| report.is_clean()) {
                return Err(Wrong::Answer("damage that verify does not see".into()));
            }
            // It may be refused, but makes no answer wrong.
            let saved = store.job(NEW)?.save(1).bytes("s", b"new").commit();
            let refused = self.interrogate(&store)?;
            if let Ok(saved) = saved {
                let id = saved.checkpoint.id;
                holds_new(&store, id)?;
                drop((store, saved));
                // What is refused as a whole says nothing wrong.
                if let Ok(store) = Store::open_in(Arc::new(disk), options(&self.clock)) {
                    holds_new(&store, id)?;
                }
            }
            return Ok(Some(refused));
        }
        Ok(Some(refused))
    }

    /// Looks at one damaged image, and counts what came of it.
    fn judge(&self, harm: Harm, at: &str, image: &Image, harms: &mut Harms, lives_on: bool) {
        let Some(lives_on) = harms.admits(lives_on) else {
            return;
        };
        let begun = Instant::now();
        let outcome = caught(|| self.case(image, lives_on));
        let mut took = begun.elapsed();
        if took > LIMIT {
            // A busy machine is not a slow store.
            let begun = Instant::now();
            let _ = caught(|| self.case(image, lives_on));
            took = took.min(begun.elapsed());
        }
        harms.slowest = harms.slowest.max(took);
        let counts = harms.counts.entry(harm).or_default();
        counts.cases += 1;
        let mut wrong = None;
        match outcome {
            Ok(None) => counts.refused += 1,
            Ok(Some(refused)) => counts.partly += usize::from(refused > 0),
            Err(error) => wrong = Some(format!("{error:?}")),
        }
        if took > LIMIT {
            wrong = Some(format!("it took {took:?}"));
        }
        if let Some(wrong) = wrong {
            harms
                .found
                .push(format!("seed {}, {harm:?} {at}: {wrong}", self.seed));
        }
    }

    /// All cases of this store.
    pub(crate) fn suffer(&self, harms: &mut Harms) {
        let mut random = Random::new(self.seed);
        let taken: Vec<usize> = self.image.taken().into_iter().collect();
        let sectors = taken
            .iter()
            .flat_map(|page| (0..PAGE / SECTOR).map(move |part| page * PAGE + part * SECTOR));
        let pages = taken.iter().map(|page| page * PAGE);
        let places: Vec<(usize, usize)> = sectors
            .map(|at| (at, SECTOR))
            .chain(pages.map(|at| (at, PAGE)))
            .collect();
        for (at, size) in &places {
            for harm in [Harm::Zeroed, Harm::Ones, Harm::Garbage, Harm::Swapped] {
                let mut image = self.image.clone();
                self.harm(&mut image, harm, (*at, *size), &places, &mut random);
                if image.id() != self.image.id() {
                    let what = format!("{size} B at {at}");
                    let lives_on = random.one_in(ONE_IN);
                    self.judge(harm, &what, &image, harms, lives_on);
                }
            }
        }
        self.lengths(&mut random, harms);
    }

    fn harm(
        &self,
        image: &mut Image,
        harm: Harm,
        (at, size): (usize, usize),
        places: &[(usize, usize)],
        random: &mut Random,
    ) {
        let size = size.min(image.len().saturating_sub(at));
        match harm {
            Harm::Zeroed => image.write(at, &vec![0; size]),
            Harm::Ones => image.write(at, &vec![0xff; size]),
            Harm::Garbage => image.write(at, &random.bytes(size)),
            _ => {
                let (other, _) = *random.pick(places);
                let size = size.min(image.len().saturating_sub(other));
                let (mut one, mut two) = (vec![0; size], vec![0; size]);
                self.image.read(at, &mut one).expect("it is in the file");
                self.image.read(other, &mut two).expect("it is in the file");
                image.write(at, &two);
                image.write(other, &one);
            }
        }
    }

    fn lengths(&self, random: &mut Random, harms: &mut Harms) {
        let len = self.image.len();
        let near = |edge: usize| [edge.saturating_sub(1), edge, edge + 1];
        let mut lens: Vec<usize> = [0, 64, 320, 512, PAGE, len / 2, len]
            .into_iter()
            .flat_map(near)
            .collect();
        lens.extend((0..60).map(|_| random.below(len)));
        lens.extend((0..60).map(|_| random.below(len / PAGE) * PAGE));
        lens.extend((0..30).map(|_| len + 1 + random.below(2 * len)));
        for new in lens.into_iter().filter(|new| *new != len) {
            let mut image = self.image.clone();
            image.set_len(new);
            let harm = if new < len { Harm::Cut } else { Harm::Extended };
            self.judge(
                harm,
                &format!("to {new} of {len}"),
                &image,
                harms,
                random.one_in(ONE_IN),
            );
            if new > len && random.one_in(2) {
                image.write(len, &random.bytes((new - len).min(10_000)));
                self.judge(harm, &format!("by garbage to {new}"), &image, harms, false);
            }
        }
    }

    /// Files that are no stores are refused, whatever they are.
    pub(crate) fn foreign(&self, harms: &mut Harms) {
        let mut random = Random::new(self.seed);
        let mut files: Vec<(&str, Vec<u8>)> = vec![
            ("nothing", Vec::new()),
            ("text", b"checkpoint 1\n".repeat(9_000)),
            ("zeros", vec![0; 1 << 20]),
            ("noise", random.bytes(1 << 20)),
        ];
        let mut magic = random.bytes(1 << 20);
        magic[..9].copy_from_slice(b"redb\x1A\x0A\xA9\x0D\x0A");
        files.push(("noise that begins like a store", magic));
        files.push(("a database of another program", other_database()));
        for (what, bytes) in files {
            self.judge(Harm::Foreign, what, &Image::of(&bytes), harms, false);
        }
        let counts = harms.counts[&Harm::Foreign];
        assert_eq!(counts.refused, counts.cases, "{:?}", harms.found);
    }
}

/// A sound file of the same engine, without a store in it.
fn other_database() -> Vec<u8> {
    #[derive(Debug)]
    struct Raw(Box<dyn ckptdb::Backend>);
    impl redb::StorageBackend for Raw {
        fn len(&self) -> std::io::Result<u64> {
            self.0.len()
        }
        fn read(&self, offset: u64, out: &mut [u8]) -> std::io::Result<()> {
            self.0.read(offset, out)
        }
        fn set_len(&self, len: u64) -> std::io::Result<()> {
            self.0.set_len(len)
        }
        fn sync_data(&self) -> std::io::Result<()> {
            self.0.sync()
        }
        fn write(&self, offset: u64, data: &[u8]) -> std::io::Result<()> {
            self.0.write(offset, data)
        }
    }
    let medium = MemoryMedium::default();
    let raw = Raw(medium.open().expect("memory opens"));
    let database = redb::Builder::new()
        .create_with_backend(raw)
        .expect("a fresh one opens");
    let table: redb::TableDefinition<'_, u64, u64> = redb::TableDefinition::new("settings");
    let transaction = database.begin_write().expect("it is sound");
    let mut opened = transaction.open_table(table).expect("it is sound");
    opened.insert(1, 2).expect("it is sound");
    drop(opened);
    transaction.commit().expect("it is sound");
    drop(database);
    medium.to_vec()
}

/// What was saved to a damaged store, and acknowledged, is there.
fn holds_new(store: &Store, id: CheckpointId) -> Checked<()> {
    let loaded = store.resolve(&id.to_string()).and_then(|new| new.read("s"));
    match loaded {
        Ok(bytes) if bytes == b"new"[..] => Ok(()),
        other => Err(Wrong::Answer(format!("saved and acknowledged: {other:?}"))),
    }
}

/// Whether a checkpoint is as it was saved, with other tags, pins or attributes than it has now.
fn is_stale(found: &View, view: &View) -> bool {
    let now = View {
        note: view.note.clone(),
        tags: view.tags.clone(),
        pinned: view.pinned,
        ..found.clone()
    };
    now == *view
}

fn is_found(store: &Store) -> bool {
    let verified = store.verify(VerifyDepth::Quick);
    !verified.is_ok_and(|report| report.is_clean())
}

/// Whether an error says that the file is damaged: what it holds, or that it ends before a page
/// that it leads to.
fn is_told(error: &Error) -> bool {
    match error {
        Error::Corrupt { .. } => true,
        Error::Io { source, .. } => source.kind() == std::io::ErrorKind::UnexpectedEof,
        _ => false,
    }
}

/// Whether an answer was refused; wrong if it is another one.
fn same<T: PartialEq + std::fmt::Debug>(
    what: &str,
    found: ckptdb::Result<T>,
    wanted: &T,
) -> Checked<usize> {
    match found {
        Ok(found) if found == *wanted => Ok(0),
        Ok(found) => Err(Wrong::Answer(format!("{what}: {found:?} for {wanted:?}"))),
        Err(error) if is_told(&error) => Ok(1),
        Err(other) => Err(Wrong::Answer(format!("{what}: {other:?}"))),
    }
}

/// Whether a job's checkpoints are listed without an error.
fn is_listed(store: &Store, name: &str) -> bool {
    let filter = Filter {
        job: Some(name.to_owned()),
        abandoned: true,
        ..Filter::default()
    };
    let listed = store.list(&filter);
    listed.is_ok_and(|mut listed| listed.all(|found| found.is_ok()))
}

fn of_job(store: &Store, name: &str, view: &JobView) -> Checked<usize> {
    let job = store.job(name)?;
    let latest = job.latest().map(|found| found.map(|found| found.id.get()));
    let mut refused = same("latest", latest, &view.latest)?;
    let counts = job
        .info()
        .map(|info| info.map(|info| (info.checkpoints, info.abandoned, info.deleted)));
    refused += match same("the counts", counts, &Some(view.counts)) {
        // A sound page of an earlier state in the place of the right one has old counts. The list
        // is counted against them, and refused.
        Err(_) if !is_listed(store, name) => 1,
        counted => counted?,
    };
    if let Some(ranking) = &view.ranking {
        let best = job
            .best(LOSS)
            .map(|found| found.map(|found| found.id.get()));
        refused += same("best", best, &ranking.first().copied())?;
        let ranked = job.ranking(LOSS, 1_000);
        let ranked = ranked.map(|all| all.iter().map(|found| found.id.get()).collect());
        refused += same("the ranking", ranked, ranking)?;
    }
    Ok(refused)
}

impl Harms {
    /// For the cases that save, from this one on.
    pub(crate) fn of_saves(from: usize) -> Self {
        Self {
            saves_from: Some(from),
            ..Self::default()
        }
    }

    /// How many cases save.
    pub(crate) const fn saves(&self) -> usize {
        self.saves
    }

    /// Whether the next case is to be run, and whether it saves.
    fn admits(&mut self, lives_on: bool) -> Option<bool> {
        let number = self.saves;
        self.saves += usize::from(lives_on);
        match self.saves_from {
            None => Some(false),
            Some(from) if lives_on && number >= from => {
                eprintln!("@case {number}");
                Some(true)
            }
            Some(_) => None,
        }
    }

    pub(crate) fn add(&mut self, other: Self) {
        for (harm, counts) in other.counts {
            let mine = self.counts.entry(harm).or_default();
            mine.cases += counts.cases;
            mine.refused += counts.refused;
            mine.partly += counts.partly;
        }
        self.found.extend(other.found);
        self.slowest = self.slowest.max(other.slowest);
    }

    /// How many of a hundred stores were refused as a whole because of a piece that was harmed.
    pub(crate) fn refused_of_a_hundred(&self) -> usize {
        let harms = [Harm::Zeroed, Harm::Ones, Harm::Garbage, Harm::Swapped];
        let of = |count: fn(&Counts) -> usize| -> usize {
            harms
                .iter()
                .filter_map(|harm| self.counts.get(harm))
                .map(count)
                .sum()
        };
        100 * of(|counts| counts.refused) / of(|counts| counts.cases).max(1)
    }

    pub(crate) fn cases(&self) -> usize {
        self.counts.values().map(|counts| counts.cases).sum()
    }

    pub(crate) fn print(&self) {
        println!(
            "{:<10} {:>8} {:>8} {:>8}",
            "damage", "cases", "refused", "partly"
        );
        for (harm, counts) in &self.counts {
            let name = format!("{harm:?}");
            let Counts {
                cases,
                refused,
                partly,
            } = counts;
            println!("{name:<10} {cases:>8} {refused:>8} {partly:>8}");
        }
        println!(
            "{} cases, the slowest took {:?}",
            self.cases(),
            self.slowest
        );
    }
}
