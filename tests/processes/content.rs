//! What is saved, as a function of its name: nothing needs to be kept to compare with.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use ckptdb::{Checkpoint, DType, Direction, Event, Job, Result, Saved, TensorSlice};

/// The generator by Steele, Lea, Flood ("Fast splittable pseudorandom number generators", 2014).
#[derive(Clone, Copy, Debug)]
pub(crate) struct Random(u64);

impl Random {
    pub(crate) const fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(crate) const fn word(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let word = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        word ^ (word >> 31)
    }

    /// A number below `limit`, which is not zero.
    pub(crate) const fn below(&mut self, limit: u64) -> u64 {
        self.word() % limit
    }

    /// One of them.
    pub(crate) fn pick<T: Copy>(&mut self, from: &[T]) -> Option<T> {
        let limit = u64::try_from(from.len()).unwrap();
        (limit > 0).then(|| from[usize::try_from(self.below(limit)).unwrap()])
    }
}

/// Bytes without any pattern, the same for the same seed.
pub(crate) fn noise(seed: u64, len: usize) -> Vec<u8> {
    let mut random = Random::new(seed.wrapping_mul(0xff51_afd7_ed55_8ccd));
    let mut bytes = Vec::with_capacity(len + 8);
    while bytes.len() < len {
        bytes.extend_from_slice(&random.word().to_le_bytes());
    }
    bytes.truncate(len);
    bytes
}

/// How much a state holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Size {
    /// Lies in the record itself.
    Tiny,
    /// Less than a chunk.
    Small,
    /// Several chunks, most of them shared with the job's other states.
    Large,
    /// More than goes with one transaction.
    Huge,
}

impl Size {
    pub(crate) const ALL: [(Self, &'static str); 4] = [
        (Self::Tiny, "tiny"),
        (Self::Small, "small"),
        (Self::Large, "large"),
        (Self::Huge, "huge"),
    ];

    /// Bytes of its own, and tensors that the job's states share.
    const fn extent(self) -> (usize, u64) {
        match self {
            Self::Tiny => (40, 0),
            Self::Small => (9_000, 0),
            Self::Large => (90_000, 4),
            Self::Huge => (18 << 20, 4),
        }
    }
}

/// Bytes of a tensor: enough for a chunk of its own.
const TENSOR_BYTES: usize = 70_000;

/// A state to save: which one, and with it every byte of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct State {
    pub(crate) job: u8,
    pub(crate) iteration: u64,
    /// Counts the different states of one iteration.
    pub(crate) revision: u64,
    pub(crate) size: Size,
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (_, size) = Size::ALL
            .iter()
            .find(|(size, _)| *size == self.size)
            .unwrap();
        write!(
            f,
            "{}:{}:{}:{size}",
            self.job, self.iteration, self.revision
        )
    }
}

impl FromStr for State {
    type Err = std::num::ParseIntError;

    fn from_str(text: &str) -> std::result::Result<Self, Self::Err> {
        let parts: Vec<&str> = text.split(':').collect();
        let (size, _) = *Size::ALL
            .iter()
            .find(|(_, name)| *name == parts[3])
            .unwrap();
        Ok(Self {
            job: parts[0].parse()?,
            iteration: parts[1].parse()?,
            revision: parts[2].parse()?,
            size,
        })
    }
}

/// The name of a job.
pub(crate) fn job_name(job: u8) -> String {
    format!("job/{job}")
}

impl State {
    fn seed(&self) -> u64 {
        (u64::from(self.job) << 56) ^ (self.revision << 48) ^ self.iteration
    }

    fn own(&self) -> Vec<u8> {
        noise(self.seed() ^ 1, self.size.extent().0)
    }

    /// The job's tensors. The first has a few bytes of this state's own in its middle.
    fn tensors(&self) -> Vec<(String, Vec<u8>)> {
        let tensor = |layer: u64| {
            let mut bytes = noise((u64::from(self.job) << 8) | layer, TENSOR_BYTES);
            if layer == 0 {
                bytes[30_000..30_008].copy_from_slice(&self.seed().to_le_bytes());
            }
            (format!("model/{layer}.weight"), bytes)
        };
        (0..self.size.extent().1).map(tensor).collect()
    }

    fn document(&self) -> serde_json::Value {
        serde_json::json!({"state": self.to_string(), "sampler": [self.iteration, self.revision]})
    }

    #[expect(clippy::cast_precision_loss, reason = "a synthetic metric")]
    fn loss(&self) -> f64 {
        (self.seed() % 1009) as f64
    }

    /// Saves it, with an event more if it is `last`, in the place of the head if `over`.
    pub(crate) fn save(&self, job: &Job, last: bool, over: bool) -> Result<Saved> {
        let (own, tensors) = (self.own(), self.tensors());
        let save = job
            .save(self.iteration)
            .bytes("own", &own)
            .document("progress", &self.document())
            .direction("loss", Direction::Min)
            .metric("loss", self.loss())
            .event(Event::Periodic);
        let slices = tensors.iter().map(|(name, bytes)| {
            let tensor = TensorSlice::new(DType::U8, &[bytes.len()], bytes).unwrap();
            (name.clone(), tensor)
        });
        let mut save = save.tensors(slices);
        if last {
            save = save.event(Event::Final);
        }
        if over {
            save = save.overwrite();
        }
        save.commit()
    }

    /// Every byte of this checkpoint is this state's.
    pub(crate) fn compare(&self, found: &Checkpoint) {
        let mut expected: BTreeMap<String, Vec<u8>> = self.tensors().into_iter().collect();
        expected.insert("own".to_owned(), self.own());
        let document = self.document().to_string();
        expected.insert("progress".to_owned(), document.into_bytes());
        let loaded = found.load().unwrap_or_else(|e| panic!("{self}: {e:?}"));
        let (names, wanted) = (loaded.keys(), expected.keys());
        assert!(names.eq(wanted), "{self}: {:?}", loaded.keys());
        for (name, (_, bytes)) in &loaded {
            assert!(*bytes == expected[name], "{self}: {name} differs");
        }
        assert_eq!(found.metrics["loss"].to_bits(), self.loss().to_bits());
    }
}
