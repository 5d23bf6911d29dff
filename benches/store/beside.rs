//! What training waits for when it saves beside itself.

use std::collections::BTreeMap;
use std::hint::black_box;

use bytes::Bytes;
use ckptdb::policy::Trigger;
use ckptdb::session::{MinFree, Overlap, Session, SessionOptions};
use ckptdb::{DType, Save, Store, Tensor};
use safetensors::View;

use super::noise::noise;
use super::{Times, settle, tensors, with_tensors};

/// Saves of a session in a round: each when the one before has ended.
const SAVES: u64 = 4;

pub(super) fn measure(times: &mut Times, store: &Store, state: &[u8]) {
    owned_buffers(times, store, state);
    session(times, store, state.len());
    told(times, store, state);
}

/// What is given away for another thread to save.
fn owned_buffers(times: &mut Times, store: &Store, state: &[u8]) {
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

/// Each comes once at each place, and once right after each other: what was freed last makes a
/// difference.
const ORDERS: [[u8; 4]; 4] = [[0, 1, 3, 2], [1, 2, 0, 3], [2, 3, 1, 0], [3, 0, 2, 1]];

/// Steps of a session of which each saves, beside what follows, a state that is new as a whole: the
/// time of the call. Copies into fresh memory come before and after it in turn, since it depends on
/// what was freed last how quickly the system has some.
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
        settle();
        for what in ORDERS[(step % 4) as usize] {
            match what {
                0 => drop(times.take("memcpy", || black_box(state.clone()))),
                1 => drop(times.take("memcpy, all cores", || black_box(copied(&state)))),
                2 => drop(times.take("copy for a save beside", || {
                    with_tensors(store, step, &state).into_owned().unwrap()
                })),
                _ => {
                    let what = "session: blocked, lent";
                    stepped(times, what, &mut session, step, |save| {
                        save.tensors(tensors(&state))
                    });
                    session.wait();
                }
            }
        }
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
        let put = |save| state.iter().fold(save, put);
        stepped(times, "session: blocked, owned", &mut session, step, put);
        session.wait();
    }
}

/// A copy by all cores.
fn copied(state: &[u8]) -> Vec<u8> {
    let cores = std::thread::available_parallelism().unwrap().get();
    let mut copy = vec![0; state.len()];
    let part = state.len().div_ceil(cores);
    std::thread::scope(|scope| {
        for (to, from) in copy.chunks_mut(part).zip(state.chunks(part)) {
            scope.spawn(|| to.copy_from_slice(from));
        }
    });
    copy
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
