//! A trainer that went through a checkpoint goes on as if it had not.

use std::collections::BTreeMap;

use super::*;

fn small() -> Hyper {
    Hyper {
        widths: vec![2, 8, 6, 2],
        ..Hyper::default()
    }
}

/// Sends a trainer through what a checkpoint holds of it.
fn saved_and_loaded(trainer: &Trainer) -> Trainer {
    let document = serde_json::to_value(trainer.progress()).unwrap();
    let tensor = |weights: Weights| {
        let shape = weights.shape.map(|length| length as u64).to_vec();
        (
            weights.name,
            Tensor {
                dtype: DType::F32,
                shape,
                data: weights.bytes.into(),
            },
        )
    };
    let tensors: BTreeMap<_, _> = trainer.tensors().into_iter().map(tensor).collect();
    let progress = serde_json::from_value(document).unwrap();
    Trainer::restore(progress, |name| Ok(tensors[name].clone())).unwrap()
}

#[test]
fn a_resumed_trainer_equals_an_uninterrupted_one_bit_for_bit() {
    let mut uninterrupted = Trainer::new(11, small());
    let mut interrupted = uninterrupted.clone();
    // 100 batches of 32 cross the end of the first pass over 2048 points.
    for iteration in 1..=100_u64 {
        uninterrupted.advance();
        interrupted.advance();
        if iteration % 7 == 0 {
            interrupted = saved_and_loaded(&interrupted);
        }
        assert_eq!(interrupted.iteration(), iteration);
        assert_eq!(interrupted.state_hash(), uninterrupted.state_hash());
    }
    assert_eq!(interrupted.measure(), uninterrupted.measure());
}

#[test]
fn the_state_hash_sees_every_part_of_the_state() {
    let mut trainer = Trainer::new(11, small());
    trainer.advance();
    let hash = trainer.state_hash();
    let changed = |change: fn(&mut Trainer)| {
        let mut other = trainer.clone();
        change(&mut other);
        other.state_hash() != hash
    };
    assert!(changed(|it| it.iteration += 1));
    assert!(changed(|it| it.noise = Rng::new(0, 0)));
    assert!(changed(
        |it| it.order = Order::new(11, 2048, Position::default())
    ));
    assert!(changed(|it| it.adam.second = it.adam.first.clone()));
    assert!(changed(|it| it.network = it.adam.first.clone()));
    assert!(!changed(|_| ()));
}

#[test]
fn a_tensor_of_another_shape_is_refused() {
    let trainer = Trainer::new(11, small());
    let wrong = Tensor {
        dtype: DType::F32,
        shape: vec![1],
        data: vec![0; 4].into(),
    };
    let error = Trainer::restore(trainer.progress(), |_| Ok(wrong.clone())).unwrap_err();
    assert!(matches!(error, Error::Corrupt { .. }), "{error}");
}
