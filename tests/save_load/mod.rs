//! What goes in comes out.

use std::cell::Cell;
use std::io::{self, Read};

use ckptdb::{DType, Direction, Error, Event, Store, TensorSlice};

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
