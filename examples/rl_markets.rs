//! Eight markets train side by side, each a process of its own, on one store: an agent with its
//! policy, optimizer, observation statistics and replay buffer.
//!
//! ```console
//! cargo run --release --example rl_markets -- markets.ckptdb
//! cargo run --release --example rl_markets -- markets.ckptdb 20000 NQ
//! ```
//!
//! The second trains one market, as the first does for each. Stop it with Ctrl-C, or kill any of
//! the processes: run it again, and every market goes on from its newest checkpoint that verifies.
//! Meanwhile `ckptdb ls`, `ckptdb best 'market/*'`, `ckptdb telemetry market/NQ` and `ckptdb
//! doctor` show what is there. The settings are in `CONFIG`; a `ckptdb.toml` beside it
//! would be read the same way.
#![expect(clippy::print_stdout, reason = "an example talks to whoever runs it")]

use std::collections::BTreeMap;
use std::error::Error;
use std::path::{Path, PathBuf};
use std::process::Command;

use ckptdb::config::Config;
use ckptdb::session::{Finished, SessionOptions, State, before_save};
use ckptdb::{Checkpoint, DType, Save, Store};
use serde_json::json;

const MARKETS: [&str; 8] = ["NQ", "ES", "YM", "RTY", "CL", "GC", "ZN", "6E"];
const CONFIG: &str = r#"
metrics = { sharpe = "max", val_reward = "max" }

[triggers]
iterations = 500
improvement = { sharpe = "2%" }

[triggers.adaptive]
enabled = true
base = 1000
target = 20000

[keep]
latest = 8
best = { sharpe = 3, val_reward = 2 }
events = ["phase_end", "phase_boundary"]

[session]
background = "replace"

[spike]
metric = "loss"

[job."market/CL".triggers]
iterations = 250
"#;

const OBSERVATIONS: usize = 16;
const HIDDEN: usize = 32;
const REPLAY: usize = 4096;

/// A random walk to trade on: made here, the same at every start.
struct Market {
    seed: u64,
}

impl Market {
    fn noise(&self, at: u64) -> f32 {
        let mut x = self.seed ^ at.wrapping_mul(0x9E37_79B9_7F4A_7C15);
        x ^= x >> 33;
        x = x.wrapping_mul(0xFF51_AFD7_ED55_8CCD);
        x ^= x >> 33;
        f32::from(u16::try_from(x & 0xffff).unwrap_or(0)) / 32_768.0 - 1.0
    }

    /// What is seen at a time, and what a long position then earns: there is a little to learn.
    fn at(&self, time: u64) -> ([f32; OBSERVATIONS], f32) {
        let mut seen = [0.0; OBSERVATIONS];
        for (lag, value) in (0..).zip(&mut seen) {
            *value = self.noise(time.wrapping_sub(lag));
        }
        (
            seen,
            0.3 * seen[0] - 0.2 * seen[3] + 0.5 * self.noise(time + 1),
        )
    }
}

/// A policy with one hidden layer, what the optimizer remembers, the statistics of observations,
/// and the replay buffer.
struct Agent {
    market: Market,
    /// First layer, then the second.
    policy: Vec<f32>,
    momentum: Vec<f32>,
    mean: Vec<f32>,
    replay: Vec<f32>,
    /// Sums of the rewards and of their squares since the last look.
    window: (f32, f32, f32),
}

const WEIGHTS: usize = OBSERVATIONS * HIDDEN + HIDDEN;
const ROW: usize = OBSERVATIONS + 1;

impl Agent {
    fn new(seed: u64) -> Self {
        let market = Market { seed };
        let policy = (0..WEIGHTS as u64).map(|n| 0.1 * market.noise(n.wrapping_mul(31)));
        Self {
            policy: policy.collect(),
            momentum: vec![0.0; WEIGHTS],
            mean: vec![0.0; OBSERVATIONS],
            replay: vec![0.0; REPLAY * ROW],
            window: (0.0, 0.0, 0.0),
            market,
        }
    }

    /// The position that the policy takes, and what its hidden layer says.
    fn position(&self, seen: &[f32]) -> (f32, Vec<f32>) {
        let (first, second) = self.policy.split_at(OBSERVATIONS * HIDDEN);
        let row = |row: &[f32]| row.iter().zip(seen).map(|(w, x)| w * x).sum::<f32>().tanh();
        let hidden: Vec<f32> = first.chunks(OBSERVATIONS).map(row).collect();
        let sum: f32 = second.iter().zip(&hidden).map(|(w, h)| w * h).sum();
        (sum.tanh(), hidden)
    }

    /// One iteration: looks, acts, remembers, learns. Returns the metrics.
    fn train(&mut self, iteration: u64) -> BTreeMap<String, f64> {
        let (seen, earns) = self.market.at(iteration);
        for (mean, x) in self.mean.iter_mut().zip(&seen) {
            *mean += 0.001 * (x - *mean);
        }
        let place = usize::try_from(iteration).unwrap_or(0) % REPLAY * ROW;
        self.replay[place..place + OBSERVATIONS].copy_from_slice(&seen);
        self.replay[place + OBSERVATIONS] = earns;
        let (position, hidden) = self.position(&seen);
        let reward = position * earns;
        self.learn(&seen, &hidden, position, earns);
        let (count, sum, squares) = &mut self.window;
        *count = *count * 0.999 + 1.0;
        *sum = *sum * 0.999 + reward;
        *squares = *squares * 0.999 + reward * reward;
        let mean = *sum / *count;
        let deviation = (*squares / *count - mean * mean).max(1e-9).sqrt();
        let error = f64::from(earns - position);
        let mut metrics = BTreeMap::from([("loss".to_owned(), error * error)]);
        if iteration > 200 {
            // Of fewer rewards they mean nothing.
            metrics.insert("sharpe".to_owned(), f64::from(mean / deviation) * 16.0);
            metrics.insert("val_reward".to_owned(), f64::from(mean));
        }
        metrics
    }

    fn learn(&mut self, seen: &[f32], hidden: &[f32], position: f32, earns: f32) {
        let slope = (1.0 - position * position) * earns;
        let second = OBSERVATIONS * HIDDEN;
        for (unit, h) in hidden.iter().enumerate() {
            let back = slope * self.policy[second + unit] * (1.0 - h * h);
            self.nudge(second + unit, slope * h);
            for (input, x) in seen.iter().enumerate() {
                self.nudge(unit * OBSERVATIONS + input, back * x);
            }
        }
    }

    fn nudge(&mut self, at: usize, gradient: f32) {
        self.momentum[at] = 0.9 * self.momentum[at] + gradient;
        self.policy[at] += 0.002 * self.momentum[at];
    }
}

fn bytes(numbers: &[f32]) -> Vec<u8> {
    numbers
        .iter()
        .flat_map(|number| number.to_le_bytes())
        .collect()
}

fn numbers(bytes: &[u8]) -> Vec<f32> {
    let number = |four: &[u8]| f32::from_le_bytes([four[0], four[1], four[2], four[3]]);
    bytes.chunks_exact(4).map(number).collect()
}

impl State for Agent {
    fn save<'s>(&'s self, save: Save<'s>) -> Save<'s> {
        let shape = [WEIGHTS as u64];
        let replay = [REPLAY as u64, ROW as u64];
        let tensor = |values: &[f32]| std::io::Cursor::new(bytes(values));
        let (count, sum, squares) = self.window;
        save.tensor_from("policy", DType::F32, &shape, tensor(&self.policy))
            .tensor_from(
                "optimizer/momentum",
                DType::F32,
                &shape,
                tensor(&self.momentum),
            )
            .tensor_from("replay", DType::F32, &replay, tensor(&self.replay))
            .document(
                "statistics",
                &json!({ "mean": self.mean, "window": [count, sum, squares] }),
            )
    }

    fn load(&mut self, checkpoint: &Checkpoint) -> ckptdb::Result<()> {
        self.policy = numbers(&checkpoint.tensor("policy")?.data);
        self.momentum = numbers(&checkpoint.tensor("optimizer/momentum")?.data);
        self.replay = numbers(&checkpoint.tensor("replay")?.data);
        let statistics = checkpoint.document("statistics")?;
        let list = |name: &str| -> Vec<f32> {
            serde_json::from_value(statistics[name].clone()).unwrap_or_default()
        };
        self.mean = list("mean");
        if let [count, sum, squares] = list("window")[..] {
            self.window = (count, sum, squares);
        }
        Ok(())
    }
}

fn train(
    store: &Store,
    market: &str,
    last: u64,
) -> Result<(Option<u64>, Finished), Box<dyn Error>> {
    let config = Config::parse(CONFIG, "rl_markets")?;
    let seed = (1..).zip(MARKETS).find(|(_, known)| *known == market);
    let seed = seed.map_or(0, |(seed, _)| seed);
    let name = format!("market/{market}");
    let mut options = SessionOptions::from_settings(&config.settings(&name))?;
    options.hooks.push(before_save("seed", move |draft| {
        draft.put_attribute("seed", seed.into());
        Ok(())
    }));
    let session = store.job(&name)?.session(options)?;
    let resumed = session
        .resumed()
        .map(|resumed| resumed.checkpoint.iteration);
    let mut agent = Agent::new(seed);
    let finished = session.run(&mut agent, last, |agent, iteration| {
        Ok::<_, String>(agent.train(iteration))
    })?;
    Ok((resumed, finished))
}

/// Trains one market and says how that went.
fn report(store: &Store, market: &str, last: u64) -> Result<(), Box<dyn Error>> {
    let (resumed, finished) = train(store, market, last)?;
    let from = resumed.map_or("the start".to_owned(), |at| at.to_string());
    let end = finished
        .stop
        .map_or("completed".to_owned(), |stop| format!("{stop:?}"));
    println!("{market}: from {from}, {end}");
    if let Some(problem) = finished.problems.last() {
        let count = finished.problems.len();
        println!("{market}: {count} problems, the last: {problem}");
    }
    Ok(())
}

/// A process for each market, until all have ended.
fn train_all(path: &Path, last: u64) -> Result<(), Box<dyn Error>> {
    let this = std::env::current_exe()?;
    let start = |market: &str| {
        let mut command = Command::new(&this);
        command.arg(path).args([&last.to_string(), market]).spawn()
    };
    let processes: Result<Vec<_>, _> = MARKETS.into_iter().map(start).collect();
    for (market, mut process) in MARKETS.into_iter().zip(processes?) {
        let status = process.wait()?;
        if !status.success() {
            println!("{market}: {status}");
        }
    }
    Ok(())
}

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let path: PathBuf = arguments
        .next()
        .unwrap_or("markets.ckptdb".to_owned())
        .into();
    let last: u64 = arguments.next().map_or(Ok(20_000), |last| last.parse())?;
    if let Some(market) = arguments.next() {
        return report(&Store::open(&path)?, &market, last);
    }
    let store = Store::open_or_create(&path)?;
    train_all(&path, last)?;
    for market in MARKETS {
        let job = store.job(&format!("market/{market}"))?;
        if let Some(best) = job.best("sharpe")? {
            let kept = job.list()?.count();
            println!(
                "{market}: best sharpe {:.2} at {}, {kept} checkpoints kept",
                best.metrics["sharpe"], best.iteration
            );
        }
    }
    Ok(())
}
