//! Disks and promises that are broken on purpose: what the simulation must find, or it shows
//! nothing.

use crate::crash::Explorer;
use crate::run::{Run, Settings, record};
use crate::states::Lengths;

/// States that a control may take until it is found.
const BOUND: usize = 1_500;

fn recorded(settings: &Settings) -> Run {
    match record(settings) {
        Ok(run) => run,
        Err(wrong) => panic!("seed {}: {wrong:?}", settings.seed),
    }
}

/// How many states it takes to find that something is wrong.
fn states_to_find(run: &Run, settings: Settings) -> Option<usize> {
    let mut explorer = Explorer::new(run, settings);
    explorer.explore(Lengths::Modelled, 1);
    explorer.tally.states_to_first
}

#[test]
fn a_disk_that_skips_one_sync_is_found() {
    let mut tried = 0;
    for seed in 0..12 {
        let settings = Settings::new(seed);
        let mut run = recorded(&settings);
        let op = 1 + usize::try_from(seed).expect("seeds are small") % 3;
        if run.skip_last_sync(op).is_none() {
            continue;
        }
        let kind = run.ops[op - 1].kind();
        if kind == "reopen" {
            // Nothing is acknowledged by it.
            continue;
        }
        tried += 1;
        let found = states_to_find(&run, settings);
        println!("seed {seed}, the last sync of a {kind}: found after {found:?} states");
        assert!(found.is_some_and(|states| states <= BOUND));
    }
    assert!(tried > 8, "{tried} syncs were skipped");
}

#[test]
fn an_acknowledgement_before_the_commit_is_found() {
    for seed in 0..4 {
        let settings = Settings {
            early_ack: true,
            ..Settings::new(seed)
        };
        let found = states_to_find(&recorded(&settings), settings);
        println!("seed {seed}, acknowledged early: found after {found:?} states");
        assert!(found.is_some_and(|states| states <= BOUND));
    }
}
