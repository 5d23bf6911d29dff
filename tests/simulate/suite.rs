//! The runs: how many, on which seeds, and what they must show.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use ckptdb::{ManualClock, Store};

use crate::crash::Explorer;
use crate::damage::{Harms, Victim};
use crate::disk::Disk;
use crate::endings::{Endings, save_to_damaged};
use crate::iofaults::{Ends, Scene};
use crate::lies::{Lies, lie};
use crate::op::{KINDS, Op};
use crate::oracle::Checked;
use crate::repair::{Mending, mend};
use crate::run::{Settings, alone, record, record_with};
use crate::shared::{Kills, handles, outlive};
use crate::states::Lengths;
use crate::tally::Tally;

const CRASH_RUNS: u64 = 84;
/// Of several handles.
const SHARED_RUNS: u64 = 16;
const KILL_RUNS: u64 = 30;
const SYNC_RUNS: u64 = 3;
const SYNC_STATES: usize = 5_000;
/// Syncs of an operation that fail in turn.
const SYNCS: usize = 4;
const FAULT_RUNS: u64 = 5;
const DAMAGE_RUNS: u64 = 34;
const REPAIR_RUNS: u64 = 6;
const LIE_RUNS: u64 = 40;
const THREADS: usize = 2;

const STATES: usize = 150_000;
const SHARED_STATES: usize = 20_000;
const KILLS: usize = 2_000;
const NESTED: usize = 30_000;
const FAULTS: usize = 20_000;
const CASES: usize = 60_000;
const SAVES: usize = 3_000;
/// Writes that were lost or went astray.
const LIES: usize = 3_000;
/// Of repairs that were cut off: states, and failed calls.
const REPAIRS: (usize, usize) = (2_000, 500);

/// The most of what went wrong alike that is printed, and what makes it alike: so many characters
/// at the end, but for the numbers.
const SHOWN: usize = 3;
const ALIKE: usize = 60;

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

/// The seeds of one test: those that once showed something wrong, then fresh ones.
struct Seeds {
    all: Vec<u64>,
    next: AtomicUsize,
    /// When to stop, where that is given by time.
    until: Option<Instant>,
    /// Whether this is what CI runs, so that its floors hold.
    is_default: bool,
}

impl Seeds {
    /// `CKPTDB_SIMULATE_SEED` runs one seed, `CKPTDB_SIMULATE_RUNS` so many, and
    /// `CKPTDB_SOAK_MINUTES` fresh ones for that long.
    fn of(test: &str, runs: u64) -> Self {
        let lines = include_str!("regressions.txt").lines();
        let known = lines.filter_map(|line| {
            let mut words = line.split_whitespace();
            (words.next() == Some(test)).then(|| words.next())?
        });
        let mut seeds: Vec<u64> = known
            .map(|seed| seed.parse().expect("a seed is a number"))
            .collect();
        let mut until = None;
        let given = number("CKPTDB_SIMULATE_RUNS");
        if let Some(minutes) = number("CKPTDB_SOAK_MINUTES") {
            until = Some(Instant::now() + Duration::from_secs(60 * minutes));
            let fresh = u64::from(std::process::id()) << 32;
            seeds.extend(fresh..fresh + 1_000_000);
        } else if let Some(seed) = number("CKPTDB_SIMULATE_SEED") {
            seeds = vec![seed];
        } else {
            let known = seeds.clone();
            seeds.extend((0..given.unwrap_or(runs)).filter(|seed| !known.contains(seed)));
        }
        let is_default = until.is_none() && given.is_none() && seeds.len() > 1;
        Self {
            all: seeds,
            next: AtomicUsize::new(0),
            until,
            is_default,
        }
    }

    fn next(&self) -> Option<u64> {
        if self.until.is_some_and(|until| Instant::now() > until) {
            return None;
        }
        let turn = self.next.fetch_add(1, Ordering::SeqCst);
        self.all.get(turn).copied()
    }

    /// Runs all seeds on a few threads, and says how long it took.
    fn spread<T: Send>(&self, run: impl Fn(u64) -> T + Sync, mut add: impl FnMut(T) + Send) {
        let begun = Instant::now();
        let add = Mutex::new(&mut add);
        std::thread::scope(|scope| {
            for _ in 0..THREADS {
                scope.spawn(|| {
                    while let Some(seed) = self.next() {
                        let found = run(seed);
                        (add.lock().expect("adding does not panic"))(found);
                    }
                });
            }
        });
        let ran = self.next.load(Ordering::SeqCst).min(self.all.len());
        let seeds = self.all.get(..ran).unwrap_or_default();
        let (least, most) = (seeds.iter().min(), seeds.iter().max());
        println!("{ran} seeds, {least:?} to {most:?}");
        println!("{:.1} s", begun.elapsed().as_secs_f64());
    }
}

/// Nothing may have been found. A few of what ended alike are printed.
fn hold(found: &[String]) {
    let mut alike: BTreeMap<String, usize> = BTreeMap::new();
    for wrong in found {
        let end: Vec<char> = wrong.chars().filter(|c| !c.is_ascii_digit()).collect();
        let end = end[end.len().saturating_sub(ALIKE)..].iter().collect();
        let count = alike.entry(end).or_default();
        *count += 1;
        if *count <= SHOWN {
            println!("{}", wrong.chars().take(2_000).collect::<String>());
        }
    }
    for (end, count) in alike {
        println!("{count} end in: {end}");
    }
    assert!(found.is_empty(), "{} violations", found.len());
}

/// Work of handles that are opened like this.
fn explored(
    seed: u64,
    open: impl FnOnce(&Disk, &Arc<ManualClock>) -> Checked<Vec<Store>>,
) -> Tally {
    let settings = Settings::new(seed);
    match record_with(&settings, open) {
        Ok(run) => {
            let mut explorer = Explorer::new(&run, settings);
            explorer.explore(Lengths::Modelled, 5);
            explorer.tally
        }
        Err(wrong) => Tally {
            found: vec![format!("seed {seed}, without any crash: {wrong:?}")],
            ..Tally::default()
        },
    }
}

#[test]
fn no_power_failure_loses_what_was_acknowledged_or_shows_half_of_an_operation() {
    let seeds = Seeds::of("crash", CRASH_RUNS);
    let mut all = Tally::default();
    seeds.spread(|seed| explored(seed, alone), |tally| all.add(tally));
    all.print();
    hold(&all.found);
    let sum = all.sum();
    if seeds.is_default {
        assert!(sum.states + sum.nested >= STATES && sum.nested >= NESTED);
        assert!(KINDS.iter().all(|kind| all.kinds.contains_key(kind)));
    }
}

#[test]
fn no_power_failure_loses_what_handles_that_share_the_store_have_acknowledged() {
    let seeds = Seeds::of("shared", SHARED_RUNS);
    let mut all = Tally::default();
    seeds.spread(|seed| explored(seed, handles), |tally| all.add(tally));
    all.print();
    hold(&all.found);
    if seeds.is_default {
        let sum = all.sum();
        assert!(sum.states + sum.nested >= SHARED_STATES);
    }
}

#[test]
fn whoever_is_killed_in_whatever_it_does_others_that_share_the_store_go_on() {
    let seeds = Seeds::of("kill", KILL_RUNS);
    let mut kills = Kills::default();
    seeds.spread(outlive, |more| kills.add(more));
    println!("{} processes killed, {} had done it", kills.all, kills.done);
    hold(&kills.found);
    if seeds.is_default {
        assert!(kills.all >= KILLS && kills.done > 0 && kills.done < kills.all);
    }
}

fn fail_syncs(seed: u64) -> Tally {
    let settings = Settings {
        ops: 8,
        ..Settings::new(seed)
    };
    let run = record(&settings).expect("the work is accepted");
    let mut explorer = Explorer::new(&run, settings);
    for number in 0..run.ops.len() {
        for sync in 0..SYNCS {
            if let Err(wrong) = explorer.failed_sync(number, sync) {
                let what = format!("seed {seed}, operation {number}, sync {sync}: {wrong:?}");
                explorer.tally.found.push(what);
            }
        }
    }
    explorer.tally
}

#[test]
fn no_power_failure_after_a_failed_sync_loses_what_was_acknowledged() {
    let seeds = Seeds::of("sync", SYNC_RUNS);
    let mut all = Tally::default();
    seeds.spread(fail_syncs, |tally| all.add(tally));
    all.print();
    hold(&all.found);
    if seeds.is_default {
        assert!(all.sum().states >= SYNC_STATES);
    }
}

fn meet_faults(seed: u64) -> Ends {
    let mut ends = Ends::default();
    let settings = Settings {
        ops: 30,
        ..Settings::new(seed)
    };
    match record(&settings) {
        Ok(run) => {
            // One of each kind: all kinds have about as many.
            let kinds: BTreeMap<&str, usize> = run.ops.iter().map(Op::kind).zip(0..).collect();
            for number in kinds.into_values() {
                match Scene::of(&run, number, number % 2 == 0) {
                    Ok(scene) => scene.play(&mut ends),
                    Err(wrong) => ends.found.push(format!("seed {seed}: {wrong:?}")),
                }
            }
        }
        Err(wrong) => ends.found.push(format!("seed {seed}: {wrong:?}")),
    }
    ends
}

#[test]
fn no_fault_of_the_disk_loses_anything_and_the_store_works_on_after_it() {
    let seeds = Seeds::of("fault", FAULT_RUNS);
    let mut all = Ends::default();
    seeds.spread(meet_faults, |ends| all.add(ends));
    all.print();
    hold(&all.found);
    if seeds.is_default {
        assert!(all.points() >= FAULTS);
        assert!(KINDS.iter().all(|kind| all.has(kind)));
    }
}

#[test]
fn a_repair_that_is_cut_off_can_be_repeated_and_loses_nothing() {
    let seeds = Seeds::of("repair", REPAIR_RUNS);
    let mut all = Mending::default();
    seeds.spread(mend, |mending| all.add(mending));
    let (states, faults) = (all.states, all.faults);
    println!(
        "{} stores, {states} states, {faults} failed calls",
        all.stores
    );
    hold(&all.found);
    if seeds.is_default {
        assert!(states >= REPAIRS.0 && faults >= REPAIRS.1);
    }
}

#[test]
fn a_write_that_is_lost_or_goes_astray_is_answered_with_nothing_that_never_was() {
    let seeds = Seeds::of("lies", LIE_RUNS);
    let mut all = Lies::default();
    seeds.spread(lie, |lies| all.add(lies));
    let Lies {
        cases,
        refused,
        found_stale,
        earlier,
        ..
    } = all;
    println!(
        "{cases} writes lost or astray: {refused} with refusals, {found_stale} with old answers \
         that verify finds, {earlier} an earlier state of the store"
    );
    hold(&all.found);
    if seeds.is_default {
        assert!(cases >= LIES && refused > 0 && found_stale > 0);
    }
}

fn do_harm(seed: u64) -> Harms {
    let mut harms = Harms::default();
    match Victim::new(seed) {
        Ok(victim) => {
            victim.foreign(&mut harms);
            victim.suffer(&mut harms);
        }
        Err(wrong) => harms.found.push(format!("seed {seed}: {wrong:?}")),
    }
    harms
}

#[test]
fn no_damage_to_the_file_is_answered_with_something_else() {
    let seeds = Seeds::of("damage", DAMAGE_RUNS);
    let mut all = Harms::default();
    seeds.spread(do_harm, |harms| all.add(harms));
    all.print();
    hold(&all.found);
    if seeds.is_default {
        assert!(all.cases() >= CASES);
    }
    // Damage is local: a store without one of its sectors is there but for what lay in it.
    let refused = all.refused_of_a_hundred();
    assert!(refused < 8, "{refused} % of the stores were refused");
}

#[test]
fn saving_to_a_damaged_store_makes_no_answer_wrong() {
    let seeds = Seeds::of("damage", DAMAGE_RUNS);
    let mut all = Endings::default();
    seeds.spread(save_to_damaged, |endings| all.add(endings));
    let (cases, ended) = (all.cases, all.ended.len());
    println!("{cases} saves to damaged stores, {ended} ended the process");
    hold(&all.found);
    if seeds.is_default {
        assert!(cases >= SAVES);
    }
    assert!(all.ended.is_empty(), "{:?}", all.ended);
}
