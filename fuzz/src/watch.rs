//! What no input may make the store do: panic, take long, take much memory.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::{Cell, RefCell};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Once;
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

/// What anything may take of the processor's time. Instrumented code is some times slower.
const LONGEST: Duration = Duration::from_secs(if cfg!(fuzzing) { 4 } else { 1 });
/// What anything may hold of memory, beyond what was held before.
const MOST: usize = 64 << 20;
/// The same of a commit to a damaged store: the engine believes the length of each bitmap in the
/// state of its allocator, and makes room for as many bits as a `u32` can say. See README.md.
const MOST_OF_A_COMMIT: usize = 2 << 30;

/// The system's allocator, counting what each thread holds.
struct Counting;

thread_local! {
    /// Bytes held by this thread. It may be less than zero: others' memory can be freed here.
    static HELD: Cell<isize> = const { Cell::new(0) };
    static PEAK: Cell<isize> = const { Cell::new(0) };
    /// Whether panics of this thread are caught and told by whoever catches them.
    static WATCHED: Cell<bool> = const { Cell::new(false) };
    static LAST_PANIC: RefCell<String> = const { RefCell::new(String::new()) };
}

fn count(change: isize) {
    // A thread that ends has no counters any more.
    let _ = HELD.try_with(|held| {
        held.set(held.get().wrapping_add(change));
        let _ = PEAK.try_with(|peak| peak.set(peak.get().max(held.get())));
    });
}

#[expect(
    unsafe_code,
    reason = "there is no other way to count what is allocated"
)]
// SAFETY: every call goes to the system's allocator as it came; counting allocates nothing.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size().cast_signed());
        // SAFETY: the caller keeps the contract, which is the same.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count(layout.size().cast_signed());
        // SAFETY: as above.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, place: *mut u8, layout: Layout) {
        count(-layout.size().cast_signed());
        // SAFETY: as above.
        unsafe { System.dealloc(place, layout) }
    }

    unsafe fn realloc(&self, place: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // While the bytes move, both places are held.
        count(size.cast_signed());
        count(-layout.size().cast_signed());
        // SAFETY: as above.
        unsafe { System.realloc(place, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// The processor's time that this thread has had: a busy machine is not a slow store.
fn spent() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    let seconds = u64::try_from(time.tv_sec).unwrap_or_default();
    let nanos = u32::try_from(time.tv_nsec).unwrap_or_default();
    Duration::new(seconds, nanos)
}

/// Runs one thing within the limits of time and memory. Not to be nested.
pub(crate) fn within<T>(what: &str, run: impl FnOnce() -> T) -> T {
    limited(what, MOST, run)
}

/// The same of what commits to a store whose engine's own pages may be damaged.
pub(crate) fn within_commit<T>(what: &str, run: impl FnOnce() -> T) -> T {
    limited(what, MOST_OF_A_COMMIT, run)
}

fn limited<T>(what: &str, limit: usize, run: impl FnOnce() -> T) -> T {
    let (begun, held) = (spent(), HELD.get());
    PEAK.set(held);
    let result = run();
    let took = spent() - begun;
    let most = PEAK.get().saturating_sub(held);
    assert!(took <= LONGEST, "{what} took {took:?}");
    assert!(most <= limit.cast_signed(), "{what} held {most} bytes");
    result
}

/// Runs a body. Panics that the store itself catches (the engine's, on damaged bytes) are answers;
/// one that leaves the body is a failure, and only then anybody else hears of it: the fuzzer stops
/// the process at the first panic that it is told of.
pub(crate) fn watched(run: impl FnOnce()) {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let shown = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            if WATCHED.get() {
                LAST_PANIC.with_borrow_mut(|last| *last = panic.to_string());
            } else {
                shown(panic);
            }
        }));
    });
    WATCHED.set(true);
    let result = catch_unwind(AssertUnwindSafe(run));
    WATCHED.set(false);
    if result.is_err() {
        let last = LAST_PANIC.take();
        panic!("{last}");
    }
}

#[test]
#[should_panic(expected = "held")]
fn memory_over_the_limit_is_noticed() {
    watched(|| drop(within("a test", || vec![0_u8; MOST + 1])));
}

#[test]
#[should_panic(expected = "took")]
fn time_over_the_limit_is_noticed() {
    watched(|| {
        within("a test", || {
            let begun = spent();
            while spent() - begun <= LONGEST {}
        });
    });
}

#[test]
fn a_panic_that_is_caught_inside_is_an_answer() {
    watched(|| drop(catch_unwind(|| panic!("the engine's"))));
}
