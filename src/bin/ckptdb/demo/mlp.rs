//! The network: a multi-layer perceptron, its gradient by hand, and Adam.

use super::data::Rng;
use super::matrix::Matrix;

/// One layer: `input x weight + bias`.
#[derive(Clone, Debug, PartialEq)]
struct Layer {
    weight: Matrix,
    bias: Matrix,
}

/// A multi-layer perceptron with rectifiers between its layers. Its gradient and Adam's moments
/// have the same shape, so they are values of this type as well.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Mlp {
    layers: Vec<Layer>,
}

impl Mlp {
    /// A network with layers of these widths, input first, and weights drawn so that activations
    /// keep their size from layer to layer (He's initialisation).
    pub(super) fn new(widths: &[u16], rng: &mut Rng) -> Self {
        let mut network = Self::zeros(widths);
        for (layer, &inputs) in network.layers.iter_mut().zip(widths) {
            let bound = (6.0 / f32::from(inputs)).sqrt();
            layer.weight.data.fill_with(|| bound * rng.symmetric());
        }
        network
    }

    /// The same shape, all zeros.
    pub(super) fn zeros(widths: &[u16]) -> Self {
        let pairs = widths.iter().zip(widths.iter().skip(1));
        let layer = |(&inputs, &outputs): (&u16, &u16)| Layer {
            weight: Matrix::zeros(inputs.into(), outputs.into()),
            bias: Matrix::zeros(1, outputs.into()),
        };
        Self {
            layers: pairs.map(layer).collect(),
        }
    }

    /// Every weight and bias with its name.
    pub(super) fn tensors(&self) -> impl Iterator<Item = (String, &Matrix)> {
        self.layers.iter().enumerate().flat_map(|(index, layer)| {
            let name = |part: &str| format!("layer{index}.{part}");
            [(name("weight"), &layer.weight), (name("bias"), &layer.bias)]
        })
    }

    /// The same, to be changed.
    pub(super) fn tensors_mut(&mut self) -> impl Iterator<Item = (String, &mut Matrix)> {
        self.layers
            .iter_mut()
            .enumerate()
            .flat_map(|(index, layer)| {
                let name = |part: &str| format!("layer{index}.{part}");
                [
                    (name("weight"), &mut layer.weight),
                    (name("bias"), &mut layer.bias),
                ]
            })
    }

    /// A score for each class, one row for each row of `input`.
    pub(super) fn forward(&self, input: &Matrix) -> Matrix {
        self.activations(input)
            .pop()
            .unwrap_or_else(|| input.clone())
    }

    /// The gradient of the mean cross-entropy over a batch.
    pub(super) fn gradient(&self, input: &Matrix, classes: &[usize]) -> Self {
        let mut outputs = self.activations(input);
        let mut downstream = outputs.pop().unwrap_or_else(|| input.clone());
        softmax_loss(&mut downstream, classes);
        let mut gradient = self.clone();
        for (index, layer) in self.layers.iter().enumerate().rev() {
            let upstream = if index == 0 {
                input
            } else {
                &outputs[index - 1]
            };
            gradient.layers[index].weight = upstream.transposed().times(&downstream);
            gradient.layers[index].bias = downstream.column_sums();
            if index > 0 {
                downstream = downstream.times(&layer.weight.transposed());
                for (slope, &output) in downstream.data.iter_mut().zip(&upstream.data) {
                    *slope = if output > 0.0 { *slope } else { 0.0 };
                }
            }
        }
        gradient
    }

    /// What each layer puts out; the last one without a rectifier.
    fn activations(&self, input: &Matrix) -> Vec<Matrix> {
        let mut outputs: Vec<Matrix> = Vec::with_capacity(self.layers.len());
        for (index, layer) in self.layers.iter().enumerate() {
            let mut output = outputs.last().unwrap_or(input).times(&layer.weight);
            for row in output.data.chunks_exact_mut(layer.bias.columns) {
                for (value, &bias) in row.iter_mut().zip(&layer.bias.data) {
                    *value += bias;
                }
            }
            if index + 1 < self.layers.len() {
                for value in &mut output.data {
                    *value = value.max(0.0);
                }
            }
            outputs.push(output);
        }
        outputs
    }
}

/// Mean cross-entropy of scores against classes; the scores become its gradient.
pub(super) fn softmax_loss(scores: &mut Matrix, classes: &[usize]) -> f64 {
    let share = classes.iter().fold(0.0_f32, |count, _| count + 1.0).recip();
    let mut loss = 0.0;
    for (row, &class) in scores.data.chunks_exact_mut(scores.columns).zip(classes) {
        let largest = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let powers = row.iter().map(|score| (score - largest).exp());
        let total: f32 = powers.sum();
        for (index, score) in row.iter_mut().enumerate() {
            let probability = (*score - largest).exp() / total;
            if index == class {
                loss -= f64::from(probability.max(f32::MIN_POSITIVE).ln());
                *score = share * (probability - 1.0);
            } else {
                *score = share * probability;
            }
        }
    }
    loss * f64::from(share)
}

/// Adam, as Kingma and Ba describe it.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Adam {
    /// Learning rate.
    pub(super) rate: f32,
    /// Running mean of the gradient.
    pub(super) first: Mlp,
    /// Running mean of its square.
    pub(super) second: Mlp,
}

/// How much of the running means each iteration keeps.
const BETAS: [f32; 2] = [0.9, 0.999];
/// Keeps the division finite.
const EPSILON: f32 = 1e-8;

impl Adam {
    /// Adam with empty moments, for a network with these widths.
    pub(super) fn new(widths: &[u16], rate: f32) -> Self {
        Self {
            rate,
            first: Mlp::zeros(widths),
            second: Mlp::zeros(widths),
        }
    }

    /// Moves the network against the gradient; `iteration` counts from 1.
    pub(super) fn update(&mut self, network: &mut Mlp, gradient: &Mlp, iteration: u64) {
        let exponent = i32::try_from(iteration).unwrap_or(i32::MAX);
        let [unbias1, unbias2] = BETAS.map(|beta| (1.0 - beta.powi(exponent)).recip());
        let rate = self.rate;
        let moments = self.first.tensors_mut().zip(self.second.tensors_mut());
        for (((_, weights), (_, slopes)), ((_, first), (_, second))) in
            network.tensors_mut().zip(gradient.tensors()).zip(moments)
        {
            let moments = first.data.iter_mut().zip(&mut second.data);
            for ((weight, &slope), (m, v)) in weights.data.iter_mut().zip(&slopes.data).zip(moments)
            {
                *m = BETAS[0] * *m + (1.0 - BETAS[0]) * slope;
                *v = BETAS[1] * *v + (1.0 - BETAS[1]) * slope * slope;
                *weight -= rate * (*m * unbias1) / ((*v * unbias2).sqrt() + EPSILON);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WIDTHS: [u16; 4] = [2, 9, 7, 2];

    fn batch() -> (Mlp, Matrix, Vec<usize>) {
        let mut rng = Rng::new(5, 0);
        let network = Mlp::new(&WIDTHS, &mut rng);
        let mut input = Matrix::zeros(6, 2);
        input.data.fill_with(|| rng.symmetric());
        (network, input, vec![0, 1, 1, 0, 1, 0])
    }

    fn loss(network: &Mlp, input: &Matrix, classes: &[usize]) -> f64 {
        softmax_loss(&mut network.forward(input), classes)
    }

    #[test]
    fn the_gradient_is_that_of_finite_differences() {
        let (network, input, classes) = batch();
        let gradient = network.gradient(&input, &classes);
        let step = 1e-2_f32;
        let mut largest = 0.0_f64;
        for (tensor, (name, slopes)) in gradient.tensors().enumerate() {
            for (index, &slope) in slopes.data.iter().enumerate() {
                let moved = |by: f32| {
                    let mut network = network.clone();
                    let (_, weights) = network.tensors_mut().nth(tensor).unwrap();
                    weights.data[index] += by;
                    loss(&network, &input, &classes)
                };
                let measured = (moved(step) - moved(-step)) / f64::from(2.0 * step);
                let apart = (measured - f64::from(slope)).abs();
                assert!(
                    apart < 2e-3,
                    "{name}[{index}]: {slope} by hand, {measured} measured"
                );
                largest = largest.max(f64::from(slope).abs());
            }
        }
        assert!(largest > 0.05, "a gradient of {largest} checks nothing");
    }

    #[test]
    fn the_first_update_of_adam_moves_each_weight_by_the_rate() {
        let (mut network, input, classes) = batch();
        let before = network.clone();
        let gradient = network.gradient(&input, &classes);
        Adam::new(&WIDTHS, 0.01).update(&mut network, &gradient, 1);
        for (((_, old), (_, new)), (_, slopes)) in before
            .tensors()
            .zip(network.tensors())
            .zip(gradient.tensors())
        {
            for ((old, new), slope) in old.data.iter().zip(&new.data).zip(&slopes.data) {
                let expected = if *slope == 0.0 {
                    0.0
                } else {
                    -0.01 * slope.signum()
                };
                assert!(
                    (new - old - expected).abs() < 1e-4,
                    "{old} -> {new} for {slope}"
                );
            }
        }
    }

    #[test]
    fn training_on_one_batch_lowers_its_loss() {
        let (mut network, input, classes) = batch();
        let before = loss(&network, &input, &classes);
        let mut adam = Adam::new(&WIDTHS, 0.01);
        for iteration in 1..=100 {
            let gradient = network.gradient(&input, &classes);
            adam.update(&mut network, &gradient, iteration);
        }
        assert!(loss(&network, &input, &classes) < before / 10.0);
    }

    #[test]
    fn scores_far_apart_give_a_finite_loss() {
        let mut scores = Matrix {
            columns: 2,
            data: vec![1000.0, -1000.0],
        };
        assert!(softmax_loss(&mut scores, &[1]).is_finite());
        assert_eq!(scores.data, [1.0, -1.0]);
    }
}
