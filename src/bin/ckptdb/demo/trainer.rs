//! Training: what an iteration does, and everything that its continuation depends on.

use std::borrow::Cow;

use ckptdb::{DType, Error, Result, Tensor};
use safetensors::{Dtype, View};
use serde::{Deserialize, Serialize};

use super::data::{Order, Point, Position, Rng, Spirals};
use super::matrix::Matrix;
use super::mlp::{Adam, Mlp, softmax_loss};

/// What a person chooses before training.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Hyper {
    /// Widths of the layers, input first.
    pub(super) widths: Vec<u16>,
    /// Points in a batch.
    pub(super) batch: usize,
    /// Adam's learning rate.
    pub(super) rate: f32,
    /// How far a point is shaken before it is learned from, in each coordinate.
    pub(super) noise: f32,
}

impl Default for Hyper {
    /// A fifth of a million parameters, so that a save has something to write.
    fn default() -> Self {
        Self {
            widths: vec![2, 320, 320, 320, 2],
            batch: 32,
            rate: 1e-3,
            noise: 0.01,
        }
    }
}

/// The part of a trainer's state that is no tensor: one document of a checkpoint.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Progress {
    seed: u64,
    iteration: u64,
    position: Position,
    noise: Rng,
    hyper: Hyper,
}

/// A part of a trainer's state that is a tensor of `f32`.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Weights {
    /// The entry's name.
    pub(super) name: String,
    /// Rows and columns.
    pub(super) shape: [usize; 2],
    /// Little-endian and in row-major order.
    pub(super) bytes: Vec<u8>,
}

impl View for &Weights {
    fn dtype(&self) -> Dtype {
        Dtype::F32
    }

    fn shape(&self) -> &[usize] {
        &self.shape
    }

    fn data(&self) -> Cow<'_, [u8]> {
        Cow::Borrowed(&self.bytes)
    }

    fn data_len(&self) -> usize {
        self.bytes.len()
    }
}

/// How well the network does on points that it never learned from.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Measured {
    /// Mean cross-entropy.
    pub(super) loss: f64,
    /// Share of points that got their own class.
    pub(super) accuracy: f64,
}

/// A trainer between two iterations.
#[derive(Clone, Debug)]
pub(super) struct Trainer {
    seed: u64,
    hyper: Hyper,
    iteration: u64,
    network: Mlp,
    adam: Adam,
    spirals: Spirals,
    order: Order,
    noise: Rng,
}

impl Trainer {
    /// A trainer before its first iteration.
    pub(super) fn new(seed: u64, hyper: Hyper) -> Self {
        let spirals = Spirals::new(seed);
        Self {
            seed,
            iteration: 0,
            network: Mlp::new(&hyper.widths, &mut Rng::new(seed, 0)),
            adam: Adam::new(&hyper.widths, hyper.rate),
            order: Order::new(seed, spirals.learned.len(), Position::default()),
            noise: Rng::new(seed, 3),
            spirals,
            hyper,
        }
    }

    /// The trainer that was saved as `progress` and the tensors that `load` finds by name.
    ///
    /// # Errors
    /// Whatever `load` fails with; [`Error::Corrupt`] for a tensor of another type or shape.
    pub(super) fn restore(
        progress: Progress,
        mut load: impl FnMut(&str) -> Result<Tensor>,
    ) -> Result<Self> {
        let mut trainer = Self::new(progress.seed, progress.hyper);
        trainer.iteration = progress.iteration;
        trainer.noise = progress.noise;
        trainer.order = Order::new(
            progress.seed,
            trainer.spirals.learned.len(),
            progress.position,
        );
        let networks = [
            (WEIGHTS, &mut trainer.network),
            (FIRST_MOMENTS, &mut trainer.adam.first),
            (SECOND_MOMENTS, &mut trainer.adam.second),
        ];
        for (prefix, network) in networks {
            for (name, matrix) in network.tensors_mut() {
                let name = format!("{prefix}{name}");
                fill(matrix, &name, &load(&name)?)?;
            }
        }
        Ok(trainer)
    }

    /// Iterations that are behind.
    pub(super) fn iteration(&self) -> u64 {
        self.iteration
    }

    /// Number of weights and biases.
    pub(super) fn parameters(&self) -> usize {
        self.network
            .tensors()
            .map(|(_, matrix)| matrix.data.len())
            .sum()
    }

    /// One iteration: learns from the next batch, every point shaken a little.
    pub(super) fn advance(&mut self) {
        let mut input = Matrix {
            columns: 2,
            data: Vec::new(),
        };
        let mut classes = Vec::new();
        while classes.len() < self.hyper.batch {
            let Some(index) = self.order.next() else {
                break;
            };
            let Point { at, class } = self.spirals.learned[index];
            input
                .data
                .extend(at.map(|x| x + self.hyper.noise * self.noise.symmetric()));
            classes.push(class);
        }
        let gradient = self.network.gradient(&input, &classes);
        self.iteration += 1;
        self.adam
            .update(&mut self.network, &gradient, self.iteration);
    }

    /// How well the network does by now.
    pub(super) fn measure(&self) -> Measured {
        let points = &self.spirals.held_out;
        let coordinates = points.iter().flat_map(|point| point.at).collect();
        let classes: Vec<usize> = points.iter().map(|point| point.class).collect();
        let mut scores = self.network.forward(&Matrix {
            columns: 2,
            data: coordinates,
        });
        let mut right = 0.0;
        let mut all = 0.0;
        for (row, &class) in scores.data.chunks_exact(2).zip(&classes) {
            right += if usize::from(row[1] > row[0]) == class {
                1.0
            } else {
                0.0
            };
            all += 1.0;
        }
        Measured {
            loss: softmax_loss(&mut scores, &classes),
            accuracy: right / all,
        }
    }

    /// The state that is no tensor.
    pub(super) fn progress(&self) -> Progress {
        Progress {
            seed: self.seed,
            iteration: self.iteration,
            position: self.order.position(),
            noise: self.noise.clone(),
            hyper: self.hyper.clone(),
        }
    }

    /// The state that is tensors: weights, and both moments of Adam.
    pub(super) fn tensors(&self) -> Vec<Weights> {
        let networks = [
            (WEIGHTS, &self.network),
            (FIRST_MOMENTS, &self.adam.first),
            (SECOND_MOMENTS, &self.adam.second),
        ];
        let named = networks.into_iter().flat_map(|(prefix, network)| {
            network.tensors().map(move |(name, matrix)| Weights {
                name: format!("{prefix}{name}"),
                shape: [matrix.rows(), matrix.columns],
                bytes: matrix.to_bytes(),
            })
        });
        named.collect()
    }

    /// BLAKE3 of the network's weights and biases alone.
    pub(super) fn weights_hash(&self) -> blake3::Hash {
        let mut hasher = blake3::Hasher::new();
        for (_, matrix) in self.network.tensors() {
            hasher.update(&matrix.to_bytes());
        }
        hasher.finalize()
    }

    /// BLAKE3 of everything that the next iterations depend on. Two trainers with the same hash
    /// continue alike.
    pub(super) fn state_hash(&self) -> blake3::Hash {
        let mut hasher = blake3::Hasher::new();
        hasher.update(format!("{:?}", self.progress()).as_bytes());
        for tensor in self.tensors() {
            hasher.update(tensor.name.as_bytes());
            hasher.update(&tensor.bytes);
        }
        hasher.finalize()
    }
}

/// Where the entries of the network and of Adam's moments stand.
const WEIGHTS: &str = "model/";
const FIRST_MOMENTS: &str = "adam/first/";
const SECOND_MOMENTS: &str = "adam/second/";

/// Takes a loaded tensor over, if it is one of this shape.
fn fill(matrix: &mut Matrix, name: &str, tensor: &Tensor) -> Result<()> {
    let expected = [matrix.rows() as u64, matrix.columns as u64];
    if tensor.dtype != DType::F32 || tensor.shape != expected {
        let why = format!("{} {:?}, not F32 {expected:?}", tensor.dtype, tensor.shape);
        return Err(Error::Corrupt {
            what: format!("tensor `{name}` of the demo"),
            why,
        });
    }
    matrix.fill_from_bytes(&tensor.data);
    Ok(())
}

#[cfg(test)]
mod tests;
