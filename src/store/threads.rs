//! When saves, loads and comparisons start threads, how many at most, and how much a save has in
//! hand.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;

use crate::error::Result;
use crate::format::MAX_CHUNK_BYTES;

/// For fewer bytes other threads would not be worth their start.
pub(super) const BESIDE_BYTES: usize = 4 << 20;
/// More threads than this are not started.
pub(super) const MOST_THREADS: usize = 64;
/// New chunks up to so many bytes go with the last transaction; more are staged before it. Well
/// below an eighth of the default cache, beyond which the engine writes its pages twice: the bytes
/// are still in the processor's cache when they are written and hashed.
pub(super) const STAGE_BYTES: usize = 8 << 20;
/// Large chunks of a stage.
const STAGE_CHUNKS: usize = STAGE_BYTES / MAX_CHUNK_BYTES;
/// The longest chunks that may be on their way for each thread, or as many bytes of shorter ones,
/// beside those that are prepared while a stage is written.
pub(super) const AHEAD: usize = 2;
/// What is read of a reader at a time: its chunks lie in there. What is left behind the last of
/// these is copied to the next block.
pub(super) const READ_BYTES: usize = 2 * MAX_CHUNK_BYTES;
/// Blocks that are read and cut ahead of the thread that saves.
pub(super) const READ_AHEAD: usize = 2;
/// Buffers of a thread: its chunk, the base and what of that is read, planes, contexts.
const THREAD_BYTES: usize = 8 << 20;

/// What a save has in hand at most with so many threads: a stage, one that is prepared, and each
/// thread's, raw and encoded; and of a reader what no chunk has yet, or none any more.
pub(super) const fn in_hand(threads: usize) -> usize {
    let threads = if threads < MOST_THREADS {
        threads
    } else {
        MOST_THREADS
    };
    let chunks = 2 * STAGE_CHUNKS + threads * AHEAD;
    2 * chunks * MAX_CHUNK_BYTES + threads * THREAD_BYTES + (2 + READ_AHEAD) * READ_BYTES
}

/// Whether some of the work may be given to others, with so many threads. Threads that a test
/// orders are not these.
pub(super) const fn may_start(threads: usize) -> bool {
    threads > 1 && !cfg!(ckptdb_schedules)
}

/// Runs `work` on so many other threads while `here` goes on on this one, and waits for all.
pub(super) fn beside<T>(others: usize, work: impl Fn() + Sync, here: impl FnOnce() -> T) -> T {
    thread::scope(|scope| {
        for _ in 0..others {
            // Where no more threads are to be had, these do it.
            if thread::Builder::new().spawn_scoped(scope, &work).is_err() {
                break;
            }
        }
        here()
    })
}

/// Does `work` on each item, on so many threads at most, and waits for all. After a failure nobody
/// begins another one; of several failures, that of the first item is told.
pub(super) fn each<I: Send>(
    threads: usize,
    items: impl Iterator<Item = I> + Send,
    work: impl Fn(I) -> Result<()> + Sync,
) -> Result<()> {
    let left = Mutex::new(items.enumerate());
    let failed = Mutex::new(None);
    let run = || {
        while let Some((number, item)) = { locked(&left).next() } {
            if let Err(error) = work(item) {
                locked(&left).by_ref().for_each(drop);
                let mut failed = locked(&failed);
                if failed.as_ref().is_none_or(|(first, _)| number < *first) {
                    *failed = Some((number, error));
                }
            }
        }
    };
    let others = if may_start(threads) {
        threads.min(MOST_THREADS) - 1
    } else {
        0
    };
    beside(others, run, run);
    match failed.into_inner().unwrap_or_else(PoisonError::into_inner) {
        Some((_, error)) => Err(error),
        None => Ok(()),
    }
}

/// What is locked, whatever became of another thread that had it.
pub(super) fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
