//! Several handles on one disk, as processes have them: locks that live as long as their handle,
//! and handles that are gone in the middle of what they do.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use ckptdb::{Backend, Locks, ManualClock, Medium, Store, Timestamp};

use crate::disk::Disk;
use crate::model::Recipe;
use crate::op::Op;
use crate::oracle::{Checked, matched, open_and_match, options, verify};
use crate::quiet::caught;
use crate::random::Random;
use crate::run::{Run, Settings, last, perform, record_with};
use crate::states::{Lengths, points};
use crate::table::Table;
use crate::work::{JOBS, plain};

/// Handles that work in turn.
const HANDLES: usize = 3;
/// At most so many moments of one operation at which its process is killed.
const MOMENTS: u64 = 12;

/// Power failures after each.
const FAILURES: usize = 4;

/// A disk that several handles share.
#[derive(Clone, Debug)]
struct Shared {
    disk: Disk,
    table: Table,
    /// How many more calls change anything.
    life: Arc<AtomicU64>,
}

impl Shared {
    fn new(disk: &Disk) -> Self {
        Self {
            disk: disk.clone(),
            table: Table::default(),
            life: Arc::new(AtomicU64::new(u64::MAX)),
        }
    }

    /// Another process's, which is killed after so many calls that change something.
    fn mortal(&self, life: u64) -> Self {
        Self {
            life: Arc::new(AtomicU64::new(life)),
            ..self.clone()
        }
    }

    fn is_dead(&self) -> bool {
        self.life.load(Ordering::SeqCst) == 0
    }
}

impl Medium for Shared {
    fn open(&self) -> io::Result<Box<dyn Backend>> {
        Ok(Box::new(Opened {
            backend: self.disk.open()?,
            life: Arc::clone(&self.life),
        }))
    }

    fn path(&self) -> &Path {
        self.disk.path()
    }

    fn locks(&self) -> io::Result<Option<Box<dyn Locks>>> {
        Ok(Some(self.table.locks()))
    }
}

#[derive(Debug)]
struct Opened {
    backend: Box<dyn Backend>,
    life: Arc<AtomicU64>,
}

impl Opened {
    fn alive(&self) -> io::Result<()> {
        let less = |life: u64| life.checked_sub(1);
        let lived = self
            .life
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, less);
        lived.map(drop).map_err(|_| io::Error::other("killed"))
    }
}

impl Backend for Opened {
    fn len(&self) -> io::Result<u64> {
        self.backend.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.backend.read(offset, out)
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.alive()?;
        self.backend.write(offset, data)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.alive()?;
        self.backend.set_len(len)
    }

    fn sync(&self) -> io::Result<()> {
        self.alive()?;
        self.backend.sync()
    }

    /// All share it.
    fn try_lock(&self) -> io::Result<bool> {
        Ok(true)
    }

    fn unlock(&self) -> io::Result<()> {
        Ok(())
    }

    fn reserve(&self, from: u64, to: u64) -> io::Result<()> {
        self.alive()?;
        self.backend.reserve(from, to)
    }

    fn release(&self, from: u64, to: u64) -> io::Result<()> {
        self.alive()?;
        self.backend.release(from, to)
    }
}

/// Some handles on a fresh store, which share it.
pub(crate) fn handles(disk: &Disk, clock: &Arc<ManualClock>) -> Checked<Vec<Store>> {
    let shared = Arc::new(Shared::new(disk));
    let mut stores = vec![Store::create_in(shared.clone(), options(clock))?];
    for _ in 1..HANDLES {
        stores.push(Store::open_in(shared.clone(), options(clock))?);
    }
    Ok(stores)
}

/// How many processes were killed, how many of them after they had changed something, and what was
/// wrong.
#[derive(Debug, Default)]
pub(crate) struct Kills {
    pub(crate) all: usize,
    pub(crate) done: usize,
    pub(crate) found: Vec<String>,
}

impl Kills {
    pub(crate) fn add(&mut self, other: Self) {
        self.all += other.all;
        self.done += other.done;
        self.found.extend(other.found);
    }
}

/// Each operation of a run by a process that is killed in it, at some of the moments at which it
/// changes something. Another one, which has the store open, goes on.
pub(crate) fn outlive(seed: u64) -> Kills {
    let mut kills = Kills::default();
    let run = match record_with(&Settings::new(seed), handles) {
        Ok(run) => run,
        Err(wrong) => {
            kills
                .found
                .push(format!("seed {seed}, without a kill: {wrong:?}"));
            return kills;
        }
    };
    for number in 0..run.ops.len() {
        let mut life = 0;
        loop {
            match caught(|| kill(&run, number, life)) {
                // It has ended before.
                Ok(None) => break,
                Ok(Some(is_done)) => {
                    kills.all += 1;
                    kills.done += usize::from(is_done);
                }
                Err(wrong) => {
                    let op = &run.ops[number];
                    let what = format!("seed {seed}, {op:?} killed after {life} calls: {wrong:?}");
                    kills.found.push(what);
                }
            }
            life += 1 + life * 2 / MOMENTS;
        }
    }
    kills
}

/// Whether what was killed had been done; none if it had ended by then.
fn kill(run: &Run, number: usize, life: u64) -> Checked<Option<bool>> {
    let (image, at) = &run.before[number];
    run.clock.set(Timestamp::from_millis(*at));
    let disk = Disk::new(image.clone());
    disk.start_log();
    let shared = Shared::new(&disk);
    let dying = shared.mortal(life);
    let open = |medium: &Shared| Store::open_in(Arc::new(medium.clone()), options(&run.clock));
    let (victim, heir) = (open(&dying)?, open(&shared)?);
    let before = &run.acked[number];
    matched(&heir, std::slice::from_ref(before))?;
    let result = run.ops[number].run(&victim);
    if !dying.is_dead() {
        return Ok(None);
    }
    drop(victim);
    let through = &run.through[number];
    let mut allowed = through.clone();
    match result {
        Ok(_) => drop(allowed.drain(..allowed.len() - 1)),
        Err(_) => allowed.insert(0, before.clone()),
    }
    let found = matched(&heir, &allowed)?;
    let now = &allowed[found];
    let save = Op::Save(plain(&now.model, JOBS[0], Recipe::Packs(240)));
    let now = last(&perform(&heir, &save, &now.model, *at)?).clone();
    disk.acknowledge(1);
    let fresh = open(&shared)?;
    for store in [&heir, &fresh] {
        matched(store, std::slice::from_ref(&now))?;
    }
    verify(&fresh)?;
    let is_done = found + 1 == allowed.len();
    // The power fails as well, while the other one goes on or after that.
    let points = points(image.clone(), &disk.log(), Lengths::Modelled);
    allowed.extend([before.clone(), now]);
    let mut random = Random::new(life);
    for _ in 0..FAILURES {
        let point = random.pick(&points).clone();
        let choice = point.some(&mut random);
        let first = if point.acked == 0 {
            0
        } else {
            allowed.len() - 1
        };
        let after = Arc::new(Disk::new(point.image(&choice)));
        open_and_match(after, &run.clock, &allowed[first..])?;
    }
    Ok(Some(is_done))
}
