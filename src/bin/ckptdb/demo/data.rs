//! What the demo learns from: two interleaved spirals, made here, in an order that is drawn anew
//! for every pass over them.

use std::f32::consts::PI;

use serde::{Deserialize, Serialize};

/// Points that the network learns from.
const POINTS: u16 = 2048;
/// Points that it never learns from, by which loss and accuracy are measured.
const HELD_OUT: u16 = 256;
/// How often a spiral goes round.
const TURNS: f32 = 2.0;
/// How far a point may lie from its spiral, in each coordinate.
const SPREAD: f32 = 0.02;

/// The xoshiro256** generator: 256 bits of state, which a checkpoint has to hold.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub(super) struct Rng {
    state: [u64; 4],
}

impl Rng {
    /// The generator of one `stream` of a seed. Streams keep the points, the weights, the order
    /// and the noise independent of each other.
    pub(super) fn new(seed: u64, stream: u64) -> Self {
        let mut mixed = seed ^ stream.wrapping_mul(0xd134_2543_de82_ef95);
        Self {
            state: std::array::from_fn(|_| split_mix(&mut mixed)),
        }
    }

    /// The next 64 bits.
    pub(super) fn next(&mut self) -> u64 {
        let [a, b, c, d] = self.state;
        let (c, d) = (c ^ a, d ^ b);
        let result = b.wrapping_mul(5).rotate_left(7).wrapping_mul(9);
        self.state = [a ^ d, b ^ c, c ^ (b << 17), d.rotate_left(45)];
        result
    }

    /// A number from -1 to 1, built from random mantissa bits, so that no cast rounds.
    pub(super) fn symmetric(&mut self) -> f32 {
        let [.., a, b, c] = self.next().to_le_bytes();
        let mantissa = u32::from_le_bytes([a, b, c, 0]) >> 1;
        f32::from_bits(0x4000_0000 | mantissa) - 3.0
    }
}

/// Spreads a seed over the state, as the authors of xoshiro advise.
fn split_mix(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mixed = (*state ^ (*state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

/// A point of the plane, and the spiral that it belongs to.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Point {
    /// Its coordinates, from -1 to 1.
    pub(super) at: [f32; 2],
    /// 0 or 1.
    pub(super) class: usize,
}

/// Both sets of points. A seed gives the same ones for ever, so no checkpoint holds them.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Spirals {
    /// What the network learns from.
    pub(super) learned: Vec<Point>,
    /// What measures it.
    pub(super) held_out: Vec<Point>,
}

impl Spirals {
    /// The points of this seed.
    pub(super) fn new(seed: u64) -> Self {
        let mut rng = Rng::new(seed, 1);
        Self {
            learned: spirals(POINTS, &mut rng),
            held_out: spirals(HELD_OUT, &mut rng),
        }
    }
}

fn spirals(count: u16, rng: &mut Rng) -> Vec<Point> {
    (0..count)
        .map(|index| {
            let class = usize::from(index % 2);
            let radius = f32::from(index + 1) / f32::from(count);
            let angle = radius * TURNS * 2.0 * PI + if class == 0 { 0.0 } else { PI };
            let spread = [rng.symmetric() * SPREAD, rng.symmetric() * SPREAD];
            let at = [
                radius * angle.cos() + spread[0],
                radius * angle.sin() + spread[1],
            ];
            Point { at, class }
        })
        .collect()
}

/// How far training has come in the data.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Position {
    /// Passes over all points that are behind.
    pub(super) pass: u64,
    /// Points of this pass that are behind.
    pub(super) offset: usize,
}

/// Walks over the points in the order of a seed. Which point comes next depends on nothing but
/// the seed and the position, so that a position is all that a checkpoint needs of it.
#[derive(Clone, Debug)]
pub(super) struct Order {
    seed: u64,
    count: usize,
    position: Position,
    drawn: Vec<usize>,
}

impl Order {
    /// The order of `count` points from this position on.
    pub(super) fn new(seed: u64, count: usize, position: Position) -> Self {
        Self {
            seed,
            count,
            position,
            drawn: draw(seed, position.pass, count),
        }
    }

    /// Where it stands.
    pub(super) fn position(&self) -> Position {
        self.position
    }

    /// The next point's index; none only if there are no points at all.
    pub(super) fn next(&mut self) -> Option<usize> {
        if self.position.offset >= self.count {
            self.position = Position {
                pass: self.position.pass + 1,
                offset: 0,
            };
            self.drawn = draw(self.seed, self.position.pass, self.count);
        }
        let index = self.drawn.get(self.position.offset).copied();
        self.position.offset += 1;
        index
    }
}

/// Shuffles by sorting random keys: short, and without a remainder's bias.
fn draw(seed: u64, pass: u64, count: usize) -> Vec<usize> {
    let mut rng = Rng::new(seed ^ pass.wrapping_mul(0xa076_1d64_78bd_642f), 2);
    let mut keyed: Vec<(u64, usize)> = (0..count).map(|index| (rng.next(), index)).collect();
    keyed.sort_unstable();
    keyed.into_iter().map(|(_, index)| index).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_order_is_a_function_of_seed_and_position() {
        let mut walked = Order::new(7, 100, Position::default());
        for _ in 0..250 {
            let mut jumped = Order::new(7, 100, walked.position());
            assert_eq!(jumped.next(), walked.next());
            assert_eq!(jumped.position(), walked.position());
        }
        assert_eq!(
            walked.position(),
            Position {
                pass: 2,
                offset: 50
            }
        );
        assert_ne!(draw(7, 0, 100), draw(8, 0, 100));
    }

    #[test]
    fn a_pass_visits_every_point_once_in_an_order_of_its_own() {
        let mut sorted = draw(7, 3, 100);
        assert_ne!(sorted, draw(7, 4, 100));
        sorted.sort_unstable();
        assert_eq!(sorted, (0..100).collect::<Vec<_>>());
    }

    #[test]
    fn a_generator_continues_from_its_state() {
        let mut rng = Rng::new(1, 0);
        rng.next();
        let state = serde_json::to_string(&rng).unwrap();
        let mut resumed: Rng = serde_json::from_str(&state).unwrap();
        assert_eq!(resumed.next(), rng.next());
        assert_ne!(Rng::new(1, 0).next(), Rng::new(1, 1).next());
        assert!((0..1000).all(|_| (-1.0..1.0).contains(&rng.symmetric())));
    }

    #[test]
    fn a_seed_makes_the_same_balanced_points() {
        let spirals = Spirals::new(3);
        assert_eq!(spirals, Spirals::new(3));
        assert_ne!(spirals, Spirals::new(4));
        let ones: usize = spirals.learned.iter().map(|point| point.class).sum();
        assert_eq!(ones * 2, spirals.learned.len());
    }
}
