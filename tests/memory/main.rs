//! A save and a load take the memory that the options say, however large the state is.

#![expect(clippy::unwrap_used, reason = "a test stops at the first failure")]
#![expect(clippy::print_stdout, reason = "what was counted is published")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::io::Read;
use std::sync::atomic::{AtomicUsize, Ordering};

use ckptdb::{Compression, DType, Options, Store};

/// Counts what is allocated, and the most that ever was.
struct Counting;

static NOW: AtomicUsize = AtomicUsize::new(0);
static PEAK: AtomicUsize = AtomicUsize::new(0);

fn taken(bytes: usize) {
    let now = NOW.fetch_add(bytes, Ordering::SeqCst) + bytes;
    PEAK.fetch_max(now, Ordering::SeqCst);
}

#[expect(unsafe_code, reason = "an allocator has no other interface")]
// SAFETY: the system's allocator does all of it.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        taken(layout.size());
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        taken(layout.size());
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        NOW.fetch_sub(layout.size(), Ordering::SeqCst);
        unsafe { System.dealloc(at, layout) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

/// Floats of all sizes, and as the state after moves them, by about as much each: what every buffer
/// of the codec is used for.
struct Weights {
    word: u64,
    iteration: u32,
    left: u64,
}

impl Read for Weights {
    fn read(&mut self, out: &mut [u8]) -> std::io::Result<usize> {
        let count = out.len().min(usize::try_from(self.left).unwrap());
        for bytes in out[..count].chunks_mut(4) {
            self.word = self
                .word
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            let [.., a, b, c, d] = self.word.to_be_bytes();
            let (lower, step) = (u32::from(a) % 12, u32::from_be_bytes([0, b, c, d]));
            let value = ((126 - lower) << 23) | (step / 2);
            let value = value + self.iteration * (step >> (15 - lower));
            bytes.copy_from_slice(&value.to_le_bytes()[..bytes.len()]);
        }
        self.left -= count as u64;
        Ok(count)
    }
}

/// The most that is allocated at once, beyond what there was before.
fn peak_of(run: impl FnOnce()) -> usize {
    let before = NOW.load(Ordering::SeqCst);
    PEAK.store(before, Ordering::SeqCst);
    run();
    PEAK.load(Ordering::SeqCst) - before
}

/// Saves two states of this size, the second against the first, and reads the last by pieces.
fn save_and_read(options: Options, bytes: u64) {
    let folder = tempfile::tempdir().unwrap();
    let is_default = options.compression == Compression::Default;
    let store = Store::create_with(folder.path().join("x.ckptdb"), options).unwrap();
    let job = store.job("large").unwrap();
    for iteration in 1..=2 {
        let weights = Weights {
            word: 1,
            iteration,
            left: bytes,
        };
        let save = job.save(iteration.into());
        let saved = save
            .tensor_from("w", DType::F32, &[bytes / 4], weights)
            .commit()
            .unwrap();
        if iteration == 2 && is_default {
            // Steps that are sorted, whose highest plane is marked.
            assert!(
                saved.stored_bytes < bytes * 7 / 10,
                "{}",
                saved.stored_bytes
            );
        }
        saved.checkpoint.copy_to("w", &mut std::io::sink()).unwrap();
    }
}

#[test]
fn however_large_a_state_is_it_takes_the_memory_that_was_allowed() {
    const MIB: usize = 1 << 20;
    for (budget, threads) in [(128, 1), (256, 2)] {
        for compression in [Compression::None, Compression::Default] {
            let mut peaks = Vec::new();
            for size in [64, 320] {
                let mut options = Options::within(budget * MIB);
                options.compression = compression;
                options.threads = options.threads.min(threads);
                let most = options.memory_bytes();
                assert!(most <= budget * MIB);
                let peak = peak_of(|| save_and_read(options, (size * MIB) as u64));
                println!(
                    "{size} MiB, {compression}, {threads} threads: {} of {} MiB",
                    peak / MIB,
                    most / MIB
                );
                assert!(peak <= most);
                peaks.push(peak);
            }
            // The cache, at least, was counted.
            assert!(peaks.iter().all(|peak| *peak > 16 * MIB));
        }
    }
}
