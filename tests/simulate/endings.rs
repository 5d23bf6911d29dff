//! Saving to a damaged store, in processes of their own: an engine that panics while it unwinds
//! ends its process, which no test could catch.

use std::collections::BTreeSet;
use std::os::unix::process::ExitStatusExt;
use std::process::Command;

use crate::damage::{Harms, Victim};

/// Seed, and the first case: what a child is asked to do.
const ASKED: &str = "CKPTDB_SIMULATE_SAVES";
const CHILD: &str = "endings::a_child_saves_to_damaged_stores";
/// What the kernel ends a process with that gave itself up.
const SIGABRT: i32 = 6;

/// What came of saving to damaged stores.
#[derive(Debug, Default)]
pub(crate) struct Endings {
    pub(crate) cases: usize,
    /// Cases that ended the process.
    pub(crate) ended: BTreeSet<(u64, usize)>,
    pub(crate) found: Vec<String>,
}

impl Endings {
    pub(crate) fn add(&mut self, other: Self) {
        self.cases += other.cases;
        self.ended.extend(other.ended);
        self.found.extend(other.found);
    }
}

/// Runs all cases of a seed that save, through as many children as it takes.
pub(crate) fn save_to_damaged(seed: u64) -> Endings {
    let mut endings = Endings::default();
    let mut from = 0;
    loop {
        let child = Command::new(std::env::current_exe().expect("this runs from a file"))
            .args([CHILD, "--exact", "--nocapture"])
            .env(ASKED, format!("{seed} {from}"))
            .output()
            .expect("a child starts");
        let said = String::from_utf8_lossy(&child.stderr);
        let mut last = None;
        for line in said.lines() {
            match line.split_once(' ') {
                Some(("@case", number)) => last = number.parse().ok(),
                Some(("@done", count)) => endings.cases = count.parse().expect("a count"),
                Some(("@wrong", text)) => endings.found.push(text.to_owned()),
                _ => {}
            }
        }
        if child.status.success() {
            return endings;
        }
        match last {
            Some(case) if child.status.signal() == Some(SIGABRT) => {
                endings.ended.insert((seed, case));
                from = case + 1;
            }
            _ => {
                let status = child.status;
                endings.found.push(format!("seed {seed}: {status}: {said}"));
                return endings;
            }
        }
    }
}

/// Does nothing unless it is asked to.
#[test]
fn a_child_saves_to_damaged_stores() {
    let Ok(asked) = std::env::var(ASKED) else {
        return;
    };
    let (seed, from) = asked.split_once(' ').expect("a seed and a case");
    let victim = Victim::new(seed.parse().expect("a seed")).expect("the work is accepted");
    let mut harms = Harms::of_saves(from.parse().expect("a case"));
    victim.suffer(&mut harms);
    for wrong in &harms.found {
        eprintln!("@wrong {wrong}");
    }
    eprintln!("@done {}", harms.saves());
}
