//! What saves and loads cost, counted in calls and bytes: in proportion to what is saved, and no
//! more for what is there already.

use std::sync::Arc;

use ckptdb::{Compression, DType, Direction, Job, MemoryMedium, Options, Store, TensorSlice};

use crate::support::{Counters, CountingMedium, noise};

fn counted(options: Options) -> (Store, Arc<Counters>) {
    let (medium, counters) = CountingMedium::new(Arc::new(MemoryMedium::default()));
    (Store::create_in(medium, options).unwrap(), counters)
}

/// Syncs and writes of each of so many saves of a small state, which are not the first.
fn small_saves(
    job: &Job,
    counters: &Counters,
    iterations: std::ops::Range<u64>,
) -> Vec<(u64, u64)> {
    let saves = iterations.map(|iteration| {
        let before = (counters.syncs(), counters.writes());
        let state = noise(iteration, 2_000);
        let save = job.save(iteration).bytes("state", &state);
        save.metric("reward", 1.0).commit().unwrap();
        (counters.syncs() - before.0, counters.writes() - before.1)
    });
    saves.collect()
}

#[test]
fn a_small_save_takes_one_sync_and_hardly_more_writes_in_a_large_store() {
    let (store, counters) = counted(Options::default());
    let job = store.job("agent").unwrap();
    job.declare_metric("reward", Direction::Max).unwrap();
    let median_writes = |saves: &[(u64, u64)]| {
        let mut writes: Vec<u64> = saves.iter().map(|(_, writes)| *writes).collect();
        writes.sort_unstable();
        writes[writes.len() / 2]
    };
    let few = small_saves(&job, &counters, 0..300);
    let many = small_saves(&job, &counters, 300..3_000);
    // Some make the file longer.
    for (saves, name) in [(&few[50..], "few"), (&many[2_400..], "many")] {
        let with_one = saves.iter().filter(|(syncs, _)| *syncs == 1).count();
        assert!(with_one * 20 >= saves.len() * 19, "{name}: {with_one}");
        assert!(saves.iter().all(|(syncs, _)| (1..=3).contains(syncs)));
    }
    let (few, many) = (median_writes(&few[50..]), median_writes(&many[2_400..]));
    println!("writes of a small save: {few} among some hundred, {many} among thousands");
    assert!(many <= few + 8, "{few}, {many}");
}

#[test]
fn a_save_writes_its_bytes_once_and_a_load_reads_them_once() {
    for mib in [2, 8, 32] {
        let options = Options {
            compression: Compression::None,
            ..Options::default()
        };
        let (store, counters) = counted(options);
        let job = store.job("model").unwrap();
        let state = noise(mib, usize::try_from(mib << 20).unwrap());
        let save = |iteration| {
            let before = (counters.written_bytes(), counters.read_bytes());
            let tensor = TensorSlice::new(DType::U8, &[state.len()], &state).unwrap();
            job.save(iteration).tensor("w", tensor).commit().unwrap();
            let written = counters.written_bytes() - before.0;
            (written, counters.read_bytes() - before.1)
        };
        let bytes = state.len() as u64;
        let (written, read) = save(1);
        let most = bytes + bytes / 50 + (512 << 10);
        assert!((bytes..most).contains(&written), "{mib} MiB: {written}");
        assert!(read <= 64 << 10, "{mib} MiB: {read} read");
        // The same once more is no chunk's bytes.
        let (written, read) = save(2);
        assert!(written + read <= 512 << 10, "{mib} MiB: {written}, {read}");
        let latest = store.resolve("model@latest").unwrap();
        let before = counters.read_bytes();
        assert!(latest.read("w").unwrap() == state);
        let read = counters.read_bytes() - before;
        assert!(read <= most, "{mib} MiB: {read}");
    }
}

#[test]
fn an_entry_of_many_is_read_without_the_others() {
    const ENTRIES: u64 = 200;
    const BYTES: usize = 64 << 10;
    let (medium, counters) = CountingMedium::new(Arc::new(MemoryMedium::default()));
    let options = || Options {
        compression: Compression::None,
        ..Options::default()
    };
    let name = |number| format!("layer.{number:04}");
    let store = Store::create_in(medium.clone(), options()).unwrap();
    let states: Vec<Vec<u8>> = (0..ENTRIES).map(|seed| noise(seed, BYTES)).collect();
    let tensors = (0..ENTRIES).zip(&states).map(|(number, state)| {
        let tensor = TensorSlice::new(DType::U8, &[BYTES], state).unwrap();
        (name(number), tensor)
    });
    let save = store.job("model").unwrap().save(1).tensors(tensors);
    save.commit().unwrap();
    store.close();
    // With nothing in the page cache.
    let store = Store::open_in(medium, options()).unwrap();
    let latest = store.resolve("model@latest").unwrap();
    for number in [0, 77, ENTRIES - 1] {
        let before = counters.read_bytes();
        let wanted = &states[usize::try_from(number).unwrap()];
        assert!(latest.read(&name(number)).unwrap() == **wanted);
        let read = counters.read_bytes() - before;
        let most = BYTES as u64 + (128 << 10);
        assert!(read <= most, "{number}: {read} for {BYTES}");
    }
}
