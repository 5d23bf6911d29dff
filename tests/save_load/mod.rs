//! What goes in comes out.

mod cost;

use std::cell::Cell;
use std::io::{self, Read};
use std::sync::Arc;

use ckptdb::{DType, Direction, Error, Event, MemoryMedium, Options, Store, TensorSlice};

use crate::support::noise;

#[test]
fn a_small_state_comes_back_in_one_row() {
    let store = Store::in_memory().unwrap();
    let job = store.job("agent/1").unwrap();
    let saved = job
        .save(1)
        .document("state", &serde_json::json!({"b": [1, 2.5], "a": "x"}))
        .bytes("blob", b"opaque")
        .commit()
        .unwrap();
    assert_eq!(saved.chunks, 0, "a small state takes no chunk");
    let back = store.resolve("agent/1@latest").unwrap();
    assert_eq!(
        back.read("state").unwrap(),
        br#"{"a":"x","b":[1,2.5]}"#.as_slice()
    );
    assert_eq!(back.read("blob").unwrap(), b"opaque".as_slice());
    assert!(back.events.contains(&Event::Manual));
}

#[test]
fn large_and_small_entries_come_back_whole_and_in_ranges() {
    let store = Store::in_memory().unwrap();
    let job = store.job("NQ").unwrap();
    let big = noise(1, 3_500_000);
    let small: Vec<Vec<u8>> = (0..300_u16)
        .map(|i| noise(i.into(), 100 + usize::from(i) * 37))
        .collect();
    let mut save = job.save(10).tensor(
        "big",
        TensorSlice::new(DType::U8, &[3_500, 1_000], &big).unwrap(),
    );
    for (i, data) in small.iter().enumerate() {
        save = save.bytes(&format!("small.{i:03}"), data);
    }
    let saved = save.metric("loss", 0.5).commit().unwrap();
    assert!(saved.new_chunks > 4);
    let back = store.resolve("NQ").unwrap();
    assert_eq!(back.tensor("big").unwrap().data, big);
    for (i, data) in small.iter().enumerate() {
        assert_eq!(back.read(&format!("small.{i:03}")).unwrap(), data);
    }
    assert_eq!(
        back.read_range("big", 1_048_000..2_200_000).unwrap(),
        big[1_048_000..2_200_000]
    );
    let mut buffer = vec![0; big.len()];
    back.read_into("big", &mut buffer).unwrap();
    assert_eq!(buffer, big);
    assert!(store.verify(ckptdb::VerifyDepth::Full).unwrap().is_clean());
    assert!(matches!(job.best("loss"), Err(Error::Undeclared { .. })));
    job.declare_metric("loss", Direction::Min).unwrap();
    assert_eq!(job.best("loss").unwrap().unwrap().iteration, 10);
}

#[test]
fn numbers_of_a_document_are_kept_to_the_letter() {
    let store = Store::in_memory().unwrap();
    let text = r#"{"big":12345678901234567890123,"far":1e400}"#;
    let job = store.job("agent").unwrap();
    let saved = job
        .save(1)
        .document_text("d", text)
        .commit()
        .unwrap()
        .checkpoint;
    assert_eq!(saved.document_text("d").unwrap(), text);
    assert!(
        matches!(saved.document("d"), Err(Error::Invalid { .. })),
        "no damage"
    );
}

/// A reader without end that counts what is taken from it.
struct Endless<'a>(&'a Cell<u64>);

impl Read for Endless<'_> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        self.0.set(self.0.get() + out.len() as u64);
        Ok(out.len())
    }
}

#[test]
fn a_tensor_of_another_length_than_its_shape_is_refused_and_no_endless_reader_read() {
    let store = Store::in_memory().unwrap();
    let job = store.job("NQ").unwrap();
    let taken = Cell::new(0);
    let save = job.save(1);
    let refused = save
        .tensor_from("w", DType::F32, &[1], Endless(&taken))
        .commit();
    assert!(matches!(refused, Err(Error::Invalid { .. })));
    assert!(taken.get() <= 5, "{} bytes were read for 4", taken.get());
    let save = job.save(1);
    let refused = save
        .tensor_from("w", DType::F32, &[1], io::empty())
        .commit();
    assert!(matches!(refused, Err(Error::Invalid { .. })));
}

#[test]
fn an_inserted_entry_stores_its_own_group_anew_and_no_other() {
    let store = Store::in_memory().unwrap();
    let job = store.job("NQ").unwrap();
    let tensors: Vec<Vec<u8>> = (0..3_000).map(|seed| noise(seed, 64)).collect();
    let save = |iteration, inserted: &[&str]| {
        let mut save = job.save(iteration);
        for (i, data) in tensors.iter().enumerate() {
            save = save.bytes(&format!("layers.{i:04}.bias"), data);
        }
        for name in inserted {
            save = save.bytes(name, b"new");
        }
        save.commit().unwrap()
    };
    let first = save(1, &[]);
    assert!(first.new_chunks > 50, "{} groups", first.new_chunks);
    // One before all others, one in the middle: what follows must not move.
    let second = save(2, &["a", "layers.1500.scale"]);
    assert!(
        second.new_chunks <= 6,
        "{} of {} packs",
        second.new_chunks,
        second.chunks
    );
    assert_eq!(second.checkpoint.load().unwrap().len(), 3_002);
}

#[test]
fn a_refused_save_declares_nothing() {
    let store = Store::in_memory().unwrap();
    let job = store.job("NQ").unwrap();
    let refused = job
        .save(1)
        .direction("loss", Direction::Min)
        .tag("latest")
        .commit();
    assert!(refused.is_err());
    assert!(store.jobs().unwrap().is_empty());
    let save = job.save(1).bytes("s", b"x").metric("loss", 1.0);
    save.direction("loss", Direction::Min).commit().unwrap();
    assert_eq!(job.best("loss").unwrap().unwrap().iteration, 1);
    let other = job
        .save(2)
        .bytes("s", b"x")
        .direction("loss", Direction::Max);
    assert!(matches!(other.commit(), Err(Error::Conflict { .. })));
    assert_eq!(job.latest().unwrap().unwrap().iteration, 1);
}

#[test]
fn entries_with_the_longest_names_are_many_all_the_same() {
    let store = Store::in_memory().unwrap();
    let job = store.job("NQ").unwrap();
    let names: Vec<String> = (0..4_500)
        .map(|i| format!("{i:06}{}", "n".repeat(1_018)))
        .collect();
    let mut save = job.save(1);
    for name in &names {
        save = save.bytes(name, name.as_bytes());
    }
    let saved = save.commit().unwrap().checkpoint;
    assert_eq!(saved.entries().unwrap().len(), names.len());
    assert_eq!(saved.read(&names[4_321]).unwrap(), names[4_321].as_bytes());
}

/// Two entries of several chunks and one small one, which begin with different bytes.
fn large_state() -> Vec<(String, Vec<u8>)> {
    let sizes = [(1, 6_300_000), (2, 5_100_000), (3, 900)];
    let entry = |(seed, len)| (format!("entry.{seed}"), noise(seed, len));
    sizes.into_iter().map(entry).collect()
}

fn options(threads: usize) -> Options {
    Options {
        threads,
        ..Options::default()
    }
}

#[test]
fn a_large_state_loads_the_same_with_any_number_of_threads() {
    let state = large_state();
    for threads in [0, 1, 3] {
        let medium = Arc::new(MemoryMedium::default());
        let store = Store::create_in(medium, options(threads)).unwrap();
        let job = store.job("NQ").unwrap();
        let mut save = job.save(1);
        for (name, bytes) in &state {
            save = save.bytes(name, bytes);
        }
        let saved = save.commit().unwrap().checkpoint;
        let loaded = saved.load().unwrap();
        assert_eq!(loaded.len(), state.len());
        for (name, bytes) in &state {
            assert_eq!(loaded[name].1, bytes, "{threads} threads, {name}");
            assert_eq!(
                saved.read(name).unwrap(),
                bytes,
                "{threads} threads, {name}"
            );
            let mut out = vec![0; bytes.len()];
            saved.read_into(name, &mut out).unwrap();
            assert_eq!(out, *bytes, "{threads} threads, {name}");
        }
    }
}

#[test]
fn of_several_damaged_chunks_the_first_is_told_however_many_threads_load() {
    let state = large_state();
    let medium = MemoryMedium::default();
    let store = Store::create_in(Arc::new(medium.clone()), options(1)).unwrap();
    let (name, data) = &state[0];
    store
        .job("NQ")
        .unwrap()
        .save(1)
        .bytes(name, data)
        .commit()
        .unwrap();
    store.close();
    let mut bytes = medium.to_vec();
    // Of the third chunk and all after it, some bytes each.
    for place in (2_500_000..data.len()).step_by(50_000) {
        let found = memchr::memmem::find(&bytes, &data[place..place + 32]).unwrap();
        bytes[found] ^= 1;
    }
    let mut told = Vec::new();
    for threads in [1, 2, 5] {
        let damaged = Arc::new(MemoryMedium::new(bytes.clone()));
        let store = Store::open_in(damaged, options(threads)).unwrap();
        let saved = store.resolve("NQ@1").unwrap();
        let error = saved.load().unwrap_err();
        assert!(matches!(error, Error::Corrupt { .. }), "{error}");
        told.push(error.to_string());
        // What is whole can still be read.
        assert_eq!(
            saved.read_range(name, 0..1_000_000).unwrap(),
            data[..1_000_000]
        );
    }
    assert!(told.iter().all(|text| *text == told[0]), "{told:?}");
}
