//! What the demo prints: a line for each act, or one JSON document in the end.

use std::time::Duration;

use ckptdb::name::printable;
use ckptdb::{Filter, Store};
use serde_json::{Value, json};

use super::acts::{Ended, Found, Killed, Outcome, Reference, Resumed};
use super::plan::Plan;
use super::trainer::Measured;
use super::worker::{JOB, MAIN_METRIC};
use crate::failure::Failure;
use crate::output::{Style, human};
use crate::{commands, report};

/// Columns of the word in front of an act.
const LABEL_WIDTH: usize = 9;
/// Checkpoints that the demo lists in the end.
const ROWS: usize = 8;
/// Bytes of tensors that the report reads for the drift of layers.
const DRIFT_BYTES: u64 = 64 << 20;

/// Tells the acts one by one.
#[derive(Debug)]
pub(super) struct Story<'a> {
    plan: &'a Plan,
    style: &'a Style,
    document: Value,
}

impl<'a> Story<'a> {
    /// A story of which nothing is told yet.
    pub(super) fn new(plan: &'a Plan, style: &'a Style) -> Self {
        let document = json!({
            "store": plan.store.display().to_string(),
            "job": JOB,
            "iterations": plan.iterations,
            "every": plan.every,
            "seed": plan.seed,
        });
        Self {
            plan,
            style,
            document,
        }
    }

    /// Says what is going to happen.
    pub(super) fn opening(&self) -> Result<(), Failure> {
        let Plan {
            iterations, seed, ..
        } = self.plan;
        self.say(&format!(
            "A small network learns to tell two spirals apart, {iterations} iterations, \
             seed {seed}.\n"
        ))
    }

    /// Tells act one.
    pub(super) fn reference(&mut self, reference: &Reference) -> Result<(), Failure> {
        let parameters = human::thousands(reference.parameters as u64);
        self.document["parameters"] = reference.parameters.into();
        self.document["reference"] = json!({
            "weights": reference.weights.to_string(),
            "loss": reference.measured.loss,
            "accuracy": reference.measured.accuracy,
            "seconds": reference.took.as_secs_f64(),
        });
        self.act(
            "reference",
            &format!(
                "{parameters} parameters trained in one go, in {}",
                seconds(reference.took)
            ),
        )?;
        self.act(
            "",
            &format!("{}, nothing saved", quality(reference.measured)),
        )
    }

    /// Tells act two.
    pub(super) fn killed(&mut self, killed: &Killed) -> Result<(), Failure> {
        let Killed {
            process,
            in_flight,
            after,
            shortest_save,
            ..
        } = killed;
        let acknowledged = killed.acknowledged.len();
        self.document["killed"] = json!({
            "process": process,
            "acknowledged": killed.acknowledged,
            "saving": in_flight,
            "after_ms": milliseconds(*after),
            "shortest_save_ms": milliseconds(*shortest_save),
        });
        let every = self.plan.every;
        self.act(
            "training",
            &format!("process {process} does the same, saving every {every} iterations"),
        )?;
        let when = if killed.acknowledged.contains(in_flight) {
            "just after"
        } else {
            "while"
        };
        let text = format!(
            "SIGKILL {when} it saved iteration {in_flight}, after {acknowledged} acknowledged saves"
        );
        self.act("killed", &text)?;
        let (after, shortest) = (milliseconds(*after), milliseconds(*shortest_save));
        self.act(
            "",
            &format!("{after:.1} ms into the save; one takes {shortest:.1} ms or more"),
        )
    }

    /// Tells act three.
    pub(super) fn found(&mut self, killed: &Killed, found: &Found) -> Result<(), Failure> {
        let Killed { in_flight, .. } = killed;
        let (word, outcome) = match found.outcome {
            Outcome::Absent => ("absent", "wholly absent: its save was never acknowledged"),
            Outcome::Durable => (
                "durable",
                "wholly there: only its acknowledgement was cut off",
            ),
            Outcome::Acknowledged => ("acknowledged", "there: it was just acknowledged"),
        };
        let verified = &found.verified;
        self.document["found"] = json!({
            "opened_ms": milliseconds(found.opened),
            "interrupted_save": word,
            "checkpoints": found.checkpoints,
            "newest": found.newest,
            "verified_chunks": verified.chunks,
            "verified_bytes": verified.bytes,
            "damage": verified.damage.len(),
        });
        let opened = milliseconds(found.opened);
        self.act("found", &format!("iteration {in_flight} is {outcome}"))?;
        self.act("", &format!("the store opened again in {opened:.1} ms"))?;
        let there = human::checkpoints(found.checkpoints);
        self.act(
            "loaded",
            &format!("{there}, each equal to the reference at its iteration"),
        )?;
        let chunks = human::count(verified.chunks, "chunk", "chunks");
        let size = human::size(verified.bytes);
        self.act(
            "verified",
            &format!("{chunks}, {size} against their hashes: no damage"),
        )
    }

    /// Tells act four.
    pub(super) fn resumed(&mut self, resumed: &Resumed) -> Result<(), Failure> {
        let Resumed { process, at, took } = resumed;
        self.document["resumed"] =
            json!({ "process": process, "iteration": at, "seconds": took.as_secs_f64() });
        let last = self.plan.iterations;
        let took = seconds(*took);
        self.act(
            "resumed",
            &format!("process {process} goes on from {at} to {last}, in {took}"),
        )
    }

    /// Tells act five.
    pub(super) fn ended(&mut self, reference: &Reference, ended: &Ended) -> Result<(), Failure> {
        let identical = reference.weights == ended.weights;
        self.document["final"] = json!({
            "weights": ended.weights.to_string(),
            "loss": ended.measured.loss,
            "accuracy": ended.measured.accuracy,
            "checkpoints": ended.checkpoints,
            "bit_identical": identical,
        });
        let short = |hash: &blake3::Hash| hash.to_hex().chars().take(12).collect::<String>();
        let (expected, got) = (short(&reference.weights), short(&ended.weights));
        self.act("final", &quality(ended.measured))?;
        self.act("", &format!("weights {got}, uninterrupted {expected}"))?;
        self.act(
            "",
            &self.style.good("bit-identical to the uninterrupted run"),
        )
    }

    /// Shows the store by its own commands, or prints the document.
    pub(super) fn close(&self, store: &Store) -> Result<(), Failure> {
        if self.style.json {
            return self.style.document("demo", &self.document);
        }
        self.command(&format!("ls {JOB} --limit {ROWS}"))?;
        let filter = Filter {
            job: Some(JOB.to_owned()),
            limit: Some(ROWS),
            ..Filter::default()
        };
        commands::ls::print(store, &filter, self.style)?;
        self.command(&format!("best {JOB} {MAIN_METRIC}"))?;
        commands::best::print_for(&store.job(JOB)?, MAIN_METRIC, 1, self.style)?;
        let job = store.job(JOB)?;
        let (first, last) = (job.at(self.plan.every)?, job.latest()?);
        if let (Some(first), Some(last)) = (first, last) {
            let words = format!(
                "diff {JOB}@{} {JOB}@latest --group --top 4",
                first.iteration
            );
            self.command(&words)?;
            commands::diff::print_layers(&first, &last, 4, self.style)?;
        }
        self.command("stats")?;
        commands::stats::print(store, self.style)?;
        self.report(store)
    }

    /// Writes the report beside the store, over no file that may be somebody's.
    fn report(&self, store: &Store) -> Result<(), Failure> {
        let output = self.plan.store.with_extension("html");
        if output.exists() && !self.plan.replaces {
            return Ok(());
        }
        self.command(&format!(
            "report -o {}",
            printable(&output.display().to_string())
        ))?;
        let jobs = store.jobs()?;
        let bytes = report::write(store, &jobs, DRIFT_BYTES, &output)?;
        self.say(&report::told(&output, bytes, jobs.len()))
    }

    /// The command that prints what follows, as one would type it.
    fn command(&self, words: &str) -> Result<(), Failure> {
        let mut path = printable(&self.plan.store.display().to_string());
        if path.contains(' ') {
            path = format!("'{path}'");
        }
        let typed = format!("$ ckptdb -s {path} {words}");
        self.say(&format!("\n{}", self.style.strong(&typed)))
    }

    fn act(&self, label: &str, text: &str) -> Result<(), Failure> {
        let padding = " ".repeat(LABEL_WIDTH.saturating_sub(label.len()));
        let label = match label {
            "" => String::new(),
            label => self.style.strong(label),
        };
        self.say(&format!("  {label}{padding}  {text}"))
    }

    fn say(&self, text: &str) -> Result<(), Failure> {
        if self.style.json {
            Ok(())
        } else {
            self.style.line(text)
        }
    }
}

fn quality(measured: Measured) -> String {
    format!(
        "loss {:.4}, accuracy {:.1} %",
        measured.loss,
        100.0 * measured.accuracy
    )
}

fn seconds(duration: Duration) -> String {
    format!("{:.2} s", duration.as_secs_f64())
}

fn milliseconds(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1000.0
}
