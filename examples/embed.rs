//! The library in a nutshell: `cargo run --example embed`, and once more to see it resume.
#![expect(clippy::print_stdout, reason = "an example talks to whoever runs it")]

use ckptdb::{DType, Direction, Error, Event, Result, Store, TensorSlice};
use serde_json::json;

fn main() -> Result<()> {
    let path = std::env::temp_dir().join("embed.ckptdb");
    let store = match Store::open(&path) {
        Err(Error::NoStore { .. }) => Store::create(&path)?,
        opened => opened?,
    };
    println!("store {}", path.display());

    // A job is a line of training. Its metrics say once which way they are better.
    let job = store.job("parabola")?;
    job.declare_metric("loss", Direction::Min)?;

    // Go on from the newest checkpoint, or begin at the beginning.
    let (mut iteration, mut weights) = (0, [10.0_f32, -10.0]);
    if let Some(newest) = job.latest()? {
        iteration = newest.iteration;
        let tensor = newest.tensor("model/weights")?;
        for (weight, bytes) in weights.iter_mut().zip(tensor.data.as_chunks().0) {
            *weight = f32::from_le_bytes(*bytes);
        }
    }
    println!("training goes on after iteration {iteration} with {weights:?}");

    // "Training" walks down to 3. Everything of a checkpoint is saved in one commit: after a
    // crash it is wholly there, or the one before it is the newest.
    for _ in 0..5 {
        iteration += 1;
        weights = weights.map(|weight| weight - 0.4 * (weight - 3.0));
        let loss: f32 = weights.iter().map(|weight| (weight - 3.0).powi(2)).sum();
        let bytes = weights.map(f32::to_le_bytes).concat();
        let tensor = TensorSlice::new(DType::F32, &[2], &bytes)?;
        let trainer = json!({ "rate": 0.4, "next_batch": 32 * iteration });
        let save = job.save(iteration).event(Event::Periodic);
        let save = save
            .tensor("model/weights", tensor)
            .document("trainer", &trainer);
        let saved = save.metric("loss", loss.into()).commit()?;
        println!(
            "saved iteration {iteration} as {}: loss {loss:.5}",
            saved.checkpoint.id
        );
    }

    // The store knows which one is best, and gives back what was saved, verified.
    if let Some(best) = job.best("loss")? {
        println!("best is iteration {}: {:?}", best.iteration, best.metrics);
        println!("  model/weights: {:?}", best.tensor("model/weights")?);
        println!("  trainer: {}", best.document("trainer")?);
    }
    store.close();
    Ok(())
}
