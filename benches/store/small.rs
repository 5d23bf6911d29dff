//! Small states.

use std::fs::File;
use std::path::Path;
use std::time::Instant;

use ckptdb::Store;

use super::Times;
use super::noise::noise;

/// Saves of a small state, and writes that they are compared with, in a round.
const SMALL: usize = 200;

/// Each with a commit of its own, and a plain write and sync of as many bytes in turn.
pub(super) fn measure(times: &mut Times, folder: &Path) {
    let plain = folder.join("plain");
    let file = File::create(&plain).unwrap();
    let path = folder.join("small.ckptdb");
    let store = Store::create(&path).unwrap();
    let mut saves = |ours, theirs, bytes: usize| {
        let job = store.job(&format!("of-{bytes}")).unwrap();
        job.declare_metric("reward", ckptdb::Direction::Max)
            .unwrap();
        let mut state = noise(1, bytes);
        for iteration in 0..SMALL as u64 {
            state[..8].copy_from_slice(&iteration.to_le_bytes());
            times.take(ours, || {
                let save = job.save(iteration).bytes("state", &state);
                save.metric("reward", iteration as f64).commit().unwrap();
            });
            times.take(theirs, || {
                let at = iteration * bytes as u64;
                std::os::unix::fs::FileExt::write_all_at(&file, &state, at).unwrap();
                file.sync_data().unwrap();
            });
        }
    };
    saves("save of 2 KB", "write of 2 KB + fdatasync", 2000);
    saves("save of 300 KB", "write of 300 KB + fdatasync", 300_000);
    at_once(times, &store);
    store.close();
    std::fs::remove_file(&plain).unwrap();
    std::fs::remove_file(&path).unwrap();
}

/// Eight threads that save to one store; the time of each save of all of them together.
fn at_once(times: &mut Times, store: &Store) {
    const THREADS: u8 = 8;
    let begun = Instant::now();
    std::thread::scope(|scope| {
        for thread in 0..THREADS {
            scope.spawn(move || {
                let job = store.job(&format!("at-once/{thread}")).unwrap();
                let mut state = noise(1, 2000);
                for iteration in 0..SMALL as u64 {
                    state[..8].copy_from_slice(&iteration.to_le_bytes());
                    state[8] = thread;
                    let save = job.save(iteration).bytes("state", &state);
                    save.metric("reward", 1.0).commit().unwrap();
                }
            });
        }
    });
    let each = begun.elapsed().as_secs_f64() / (usize::from(THREADS) * SMALL) as f64;
    times
        .0
        .entry("save of 2 KB, 8 at once")
        .or_default()
        .push(each);
}
