//! What training waits for when it saves beside itself.

use std::collections::BTreeMap;
use std::time::Instant;

use bytes::Bytes;
use ckptdb::policy::Trigger;
use ckptdb::session::{MinFree, Overlap, Session, SessionOptions};
use ckptdb::{DType, Save, Store, Tensor};
use safetensors::View;

use super::noise::noise;
use super::{Times, tensors, with_tensors};

/// Saves of a session in a round: one is under way while no other is.
const SAVES: u64 = 3;

pub(super) fn measure(times: &mut Times, store: &Store, state: &[u8]) {
    prepared(times, store, state);
    session(times, store, state.len());
    told(times, store, state);
}

/// What is prepared for another thread to save.
fn prepared(times: &mut Times, store: &Store, state: &[u8]) {
    let copied = times.take("copy for a save beside", || {
        with_tensors(store, 4, state).into_owned().unwrap()
    });
    drop(copied);
    let owned: Vec<(String, Tensor)> = tensors(state)
        .into_iter()
        .map(|(name, _)| {
            // Nothing of them is copied, so that their length does not matter.
            let data = Bytes::from(vec![1; 4 << 20]);
            let shape = vec![1 << 20];
            let dtype = DType::F32;
            (name, Tensor { dtype, shape, data })
        })
        .collect();
    let taken = times.take("owned buffers for a save beside", || {
        let save = store.job("bench").unwrap().save(5);
        let put = |save: Save<'static>, (name, tensor)| save.tensor_owned(name, tensor);
        let named = owned
            .iter()
            .map(|(name, tensor)| (name.as_str(), tensor.clone()));
        named.fold(save, put).into_owned().unwrap()
    });
    drop(taken);
}

/// Entries that the caller says are as they were.
fn told(times: &mut Times, store: &Store, state: &[u8]) {
    let told = |iteration| {
        let save = with_tensors(store, iteration, state);
        let named = tensors(state).into_iter().map(|(name, _)| name);
        named
            .fold(save, |save, name| save.generation(&name, 1))
            .commit()
            .unwrap()
    };
    told(6);
    times.take("save, unchanged, told so", || told(7));
}

/// Steps of a session of which each saves, beside what follows, a state that is new as a whole; the
/// time of the call, and until what it saved is on the disk.
fn session(times: &mut Times, store: &Store, bytes: usize) {
    let options = SessionOptions {
        triggers: Trigger::Iterations(1.try_into().unwrap()).into(),
        background: Some(Overlap::Wait),
        min_free: MinFree::NONE,
        signals: false,
        ..SessionOptions::default()
    };
    let mut session = store.job("session").unwrap().session(options).unwrap();
    for step in 1..=SAVES {
        let state = noise(100 + step, bytes);
        let begun = Instant::now();
        stepped(
            times,
            "session: blocked, lent",
            &mut session,
            step,
            |save| save.tensors(tensors(&state)),
        );
        session.wait();
        times.add("session: to the disk, lent", begun.elapsed());
    }
    let state = noise(99, bytes);
    let state: Vec<(String, Tensor)> = tensors(&state)
        .into_iter()
        .map(|(name, tensor)| (name, owned(&tensor.data())))
        .collect();
    for step in SAVES + 1..=2 * SAVES {
        let put = |save: Save<'static>, (name, tensor): &(String, Tensor)| {
            save.tensor_owned(name, tensor.clone())
        };
        stepped(
            times,
            "session: blocked, owned",
            &mut session,
            step,
            |save| state.iter().fold(save, put),
        );
        session.wait();
    }
}

fn stepped<'s>(
    times: &mut Times,
    what: &'static str,
    session: &mut Session,
    step: u64,
    put: impl FnOnce(Save<'s>) -> Save<'s>,
) {
    let done = times.take(what, || session.step(step, &BTreeMap::new(), put));
    assert!(done.problems.is_empty(), "{:?}", done.problems);
}

fn owned(data: &[u8]) -> Tensor {
    Tensor {
        dtype: DType::F32,
        shape: vec![(data.len() / 4) as u64],
        data: Bytes::copy_from_slice(data),
    }
}
