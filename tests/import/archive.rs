//! Archives as Stable-Baselines3 writes them, of a policy that is really trained.

use serde_json::json;

use crate::support::noise;

/// Inputs of the policy.
const INPUTS: usize = 24;
const UNITS: usize = 32;
const SAMPLES: usize = 64;

/// A zip file whose members are not compressed, as Python's `zipfile` writes it by default.
pub(super) fn zip(members: &[(&str, &[u8])]) -> Vec<u8> {
    let (mut file, mut directory) = (Vec::new(), Vec::new());
    for (name, data) in members {
        let at = u32::try_from(file.len()).unwrap();
        let sizes = u32::try_from(data.len()).unwrap().to_le_bytes();
        let name_bytes = u16::try_from(name.len()).unwrap().to_le_bytes();
        // Version, flags, method, time, date, checksum, sizes, length of the name, no extra field.
        let common = [
            &[20, 0, 0, 0, 0, 0, 0, 0, 0x21, 0][..],
            &crc32(data).to_le_bytes(),
            &sizes,
            &sizes,
            &name_bytes,
            &[0, 0],
        ]
        .concat();
        file.extend([b"PK\x03\x04", &common[..], name.as_bytes(), data].concat());
        let own = [
            &[20, 0][..],
            &common,
            &[0; 10],
            &at.to_le_bytes(),
            name.as_bytes(),
        ]
        .concat();
        directory.extend([b"PK\x01\x02", &own[..]].concat());
    }
    let count = u16::try_from(members.len()).unwrap().to_le_bytes();
    let at = u32::try_from(file.len()).unwrap().to_le_bytes();
    let bytes = u32::try_from(directory.len()).unwrap().to_le_bytes();
    file.extend(&directory);
    file.extend(
        [
            b"PK\x05\x06",
            &[0; 4][..],
            &count,
            &count,
            &bytes,
            &at,
            &[0, 0],
        ]
        .concat(),
    );
    file
}

/// CRC-32 (ISO 3309).
fn crc32(data: &[u8]) -> u32 {
    let mut sum = !0_u32;
    for byte in data {
        sum ^= u32::from(*byte);
        for _ in 0..8 {
            sum = sum >> 1 ^ if sum & 1 == 1 { 0xedb8_8320 } else { 0 };
        }
    }
    !sum
}

/// A layer of tanh units and a linear one, trained by gradient descent to imitate another.
struct Policy {
    first: Vec<f32>,
    second: Vec<f32>,
}

fn floats(seed: u64, count: usize) -> Vec<f32> {
    let bytes = noise(seed, count);
    bytes
        .iter()
        .map(|byte| f32::from(*byte) / 128.0 - 1.0)
        .collect()
}

impl Policy {
    fn new(seed: u64) -> Self {
        Self {
            first: floats(seed, INPUTS * UNITS),
            second: floats(seed + 1, UNITS),
        }
    }

    fn units(&self, input: &[f32]) -> Vec<f32> {
        let rows = self.first.chunks(INPUTS);
        let sum = |row: &[f32]| row.iter().zip(input).map(|(w, x)| w * x).sum::<f32>();
        rows.map(|row| (sum(row) / 4.0).tanh()).collect()
    }

    fn output(&self, units: &[f32]) -> f32 {
        units
            .iter()
            .zip(&self.second)
            .map(|(unit, weight)| unit * weight)
            .sum()
    }

    /// A step of gradient descent; the mean squared error before it.
    fn train(&mut self, teacher: &Self, inputs: &[f32]) -> f32 {
        let mut loss = 0.0;
        for input in inputs.chunks(INPUTS) {
            let units = self.units(input);
            let error = self.output(&units) - teacher.output(&teacher.units(input));
            loss += error * error / 64.0;
            for (unit, value) in units.iter().enumerate() {
                let back = error * self.second[unit] * (1.0 - value * value) / 4.0;
                self.second[unit] -= 2e-3 * error * value;
                for (weight, x) in self.first[unit * INPUTS..].iter_mut().zip(input) {
                    *weight -= 2e-3 * back * x;
                }
            }
        }
        loss
    }

    fn bytes(&self) -> Vec<u8> {
        let all = self.first.iter().chain(&self.second);
        all.flat_map(|weight| weight.to_le_bytes()).collect()
    }
}

/// The archives that the training of an agent leaves, with the rewards that it had by then.
pub(super) fn agent(market: &str) -> impl Iterator<Item = (Vec<u8>, f64)> {
    let seed = 10 * market.len() as u64;
    let (mut policy, teacher) = (Policy::new(seed), Policy::new(seed + 5));
    let inputs = floats(seed + 9, INPUTS * SAMPLES);
    (1_u64..).map(move |step| {
        let loss = policy.train(&teacher, &inputs);
        // What is seen of it is noisy, so that the last is not always the best.
        let reward = f64::from(floats(step, 1)[0]) / 10.0 - f64::from(loss);
        let weights = policy.bytes();
        let tensors = zip(&[
            ("archive/data.pkl", b"what the tensors are"),
            ("archive/data/0", &weights),
            ("archive/version", b"3\n"),
        ]);
        let settings = json!({"num_timesteps": step * 1000, "gamma": 0.99}).to_string();
        let members: [(&str, &[u8]); 4] = [
            ("data", settings.as_bytes()),
            ("pytorch_variables.pth", b"none"),
            ("policy.pth", &tensors),
            ("_stable_baselines3_version", b"2.3.2"),
        ];
        (zip(&members), reward)
    })
}
