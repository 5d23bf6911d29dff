//! Repairs that are cut off, by a power failure at any moment or by a disk that fails: what the
//! repair would have mended, the next one mends.

use std::collections::HashSet;
use std::io::{Read, Seek, Write};
use std::sync::Arc;

use ckptdb::{ManualClock, Medium, Store};
use redb::{Key, TableDefinition, Value, WriteTransaction};

use crate::disk::Disk;
use crate::fault::{Call, Kind, Lasting, Plan};
use crate::image::Image;
use crate::oracle::{Allowed, Checked, matched, options, verify};
use crate::quiet::caught;
use crate::random::Random;
use crate::run::{Run, Settings, record};
use crate::states::{Lengths, points};

/// Rows of a store that are removed, one after the other.
const HARMS: usize = 6;
/// Random subsets and torn states at each point.
const EACH: (usize, usize, usize) = (8, 12, 0);

/// What was tried, and what was found.
#[derive(Debug, Default)]
pub(crate) struct Mending {
    /// Stores of which a repair mends everything.
    pub(crate) stores: usize,
    /// States that a power failure in it leaves.
    pub(crate) states: usize,
    /// Calls that failed in it.
    pub(crate) faults: usize,
    pub(crate) found: Vec<String>,
}

impl Mending {
    pub(crate) fn add(&mut self, other: Self) {
        self.stores += other.stores;
        self.states += other.states;
        self.faults += other.faults;
        self.found.extend(other.found);
    }
}

/// Spoils the store that a run leaves, and repairs it.
pub(crate) fn mend(seed: u64) -> Mending {
    let mut mending = Mending::default();
    let settings = Settings {
        ops: 9,
        ..Settings::new(seed)
    };
    let mut random = Random::new(seed ^ 0x5EED);
    match record(&settings) {
        Ok(run) => {
            for harm in 0..HARMS {
                let (image, is_derived) = spoilt(&run.end, &mut random);
                let work = (&image, is_derived);
                if let Err(wrong) = cut_off(&run, work, &mut random, &mut mending) {
                    let what = format!("seed {seed}, harm {harm}: {wrong:?}");
                    mending.found.push(what);
                }
            }
        }
        Err(wrong) => mending.found.push(format!("seed {seed}: {wrong:?}")),
    }
    mending
}

/// The same store without a row that can be derived from others, or may be found in the file; and
/// whether it is of the first kind.
fn spoilt(image: &Image, random: &mut Random) -> (Image, bool) {
    let mut file = tempfile::NamedTempFile::new().expect("there is room");
    file.write_all(&image.to_vec()).expect("there is room");
    let database = redb::Database::create(file.path()).expect("it is a redb file");
    let transaction = database.begin_write().expect("it is sound");
    let kind = random.below(7);
    match kind {
        0 | 1 => remove::<&[u8; 25], ()>(&transaction, "index", random),
        2 => remove::<u64, &[u8]>(&transaction, "jobs", random),
        3 => remove::<u64, &[u8]>(&transaction, "names", random),
        4 => remove::<&[u8; 16], u32>(&transaction, "name_ids", random),
        _ => remove::<&[u8; 32], &[u8]>(&transaction, "chunks", random),
    }
    transaction.commit().expect("there is room");
    drop(database);
    let mut bytes = Vec::new();
    file.rewind().expect("it is a file");
    file.read_to_end(&mut bytes).expect("it is there");
    (Image::of(&bytes), kind < 5)
}

fn remove<K: Key + 'static, V: Value + 'static>(
    transaction: &WriteTransaction,
    name: &str,
    random: &mut Random,
) {
    use redb::ReadableTableMetadata;

    let definition: TableDefinition<'_, K, V> = TableDefinition::new(name);
    let mut table = transaction.open_table(definition).expect("it is there");
    let rows = usize::try_from(table.len().expect("it is sound")).expect("it is short");
    let chosen = random.below(rows.max(1));
    let mut row = 0;
    let stays = |_: K::SelfType<'_>, _: V::SelfType<'_>| {
        row += 1;
        row - 1 != chosen
    };
    table.retain(stays).expect("it is sound");
}

fn cut_off(
    run: &Run,
    (image, is_derived): (&Image, bool),
    random: &mut Random,
    to: &mut Mending,
) -> Checked<()> {
    let state = &run.acked[run.acked.len() - 1];
    let disk = Disk::new(image.clone());
    disk.start_log();
    let store = open(&disk, &run.clock)?;
    let repaired = store.repair(&mut |_, _| {})?;
    disk.acknowledge(1);
    match matched(&store, std::slice::from_ref(state)) {
        _ if repaired.was_clean() => return Ok(()),
        // Not every row can be had again.
        Err(_) if !is_derived => return Ok(()),
        as_before => drop(as_before?),
    }
    verify(&store)?;
    drop(store);
    to.stores += 1;
    let mut seen = HashSet::new();
    for point in points(image.clone(), &disk.log(), Lengths::Modelled) {
        let mut choices = Vec::new();
        point.each(random, EACH, &mut |choice| choices.push(choice));
        for choice in choices {
            let left = point.image(&choice);
            if !seen.insert((left.id(), point.acked)) {
                continue;
            }
            to.states += 1;
            let again = caught(|| again(&left, run, state, point.acked == 1));
            if let Err(wrong) = again {
                let what = format!(
                    "point {} ({} acked), {choice}: {wrong:?}",
                    point.at, point.acked
                );
                to.found.push(what);
            }
        }
    }
    fail(run, image, state, to)
}

/// Fails every call of the repair.
fn fail(run: &Run, image: &Image, state: &Allowed, to: &mut Mending) -> Checked<()> {
    for call in [
        Call::Read,
        Call::Write,
        Call::SetLen,
        Call::Sync,
        Call::Reserve,
    ] {
        for kind in [Kind::NoSpace, Kind::Broken] {
            for at in 0.. {
                let disk = Disk::new(image.clone());
                let store = open(&disk, &run.clock)?;
                let plan = Plan {
                    call,
                    at,
                    kind,
                    lasting: Lasting::Once,
                };
                disk.faults(|faults| faults.set(Some(plan)));
                let result = caught(|| Ok(store.repair(&mut |_, _| {})?));
                let hits = disk.faults(|faults| faults.hits);
                disk.faults(|faults| faults.set(None));
                drop(store);
                if hits == 0 {
                    break;
                }
                to.faults += 1;
                let again = caught(|| again(&disk.image(), run, state, result.is_ok()));
                if let Err(wrong) = again {
                    let result = result.map(|_| ());
                    to.found.push(format!("{plan:?}, {result:?}: {wrong:?}"));
                }
            }
        }
    }
    Ok(())
}

/// What a repair that came to its end leaves is whole; and what another one leaves otherwise.
fn again(left: &Image, run: &Run, state: &Allowed, is_done: bool) -> Checked<()> {
    let disk = Disk::new(left.clone());
    let store = open(&disk, &run.clock)?;
    if !is_done {
        store.repair(&mut |_, _| {})?;
    }
    matched(&store, std::slice::from_ref(state))?;
    verify(&store)
}

fn open(disk: &Disk, clock: &Arc<ManualClock>) -> Checked<Store> {
    let medium: Arc<dyn Medium> = Arc::new(disk.clone());
    Ok(Store::open_in(medium, options(clock))?)
}
