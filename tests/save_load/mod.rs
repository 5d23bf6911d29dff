//! What goes in comes out.

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
