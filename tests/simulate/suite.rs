//! The runs of the power failures, and what they must show.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use crate::crash::{Explorer, Settings, Tally, record};
use crate::states::Lengths;

const RUNS: u64 = 6;
const THREADS: usize = 2;

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name)
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(default)
}

fn explore(settings: Settings) -> Tally {
    let run = match record(&settings) {
        Ok(run) => run,
        Err(wrong) => panic!("seed {}: {wrong:?}", settings.seed),
    };
    let mut explorer = Explorer::new(&run, settings);
    explorer.explore(Lengths::Modelled, 5);
    explorer.tally
}

#[test]
fn no_power_failure_loses_what_was_acknowledged_or_shows_half_of_an_operation() {
    let runs = number("CKPTDB_SIMULATE_RUNS", RUNS);
    let next = AtomicU64::new(0);
    let all = Mutex::new(Tally::default());
    let begun = Instant::now();
    std::thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::SeqCst);
                    if seed >= runs {
                        return;
                    }
                    let tally = explore(Settings::new(seed));
                    all.lock().expect("no panic").add(tally);
                }
            });
        }
    });
    let all = all.into_inner().expect("no panic");
    all.print();
    println!("{runs} runs, {:.1} s", begun.elapsed().as_secs_f64());
    assert_eq!(all.found, Vec::<String>::new());
}
