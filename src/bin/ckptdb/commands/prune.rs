//! `prune`: apply retention to jobs.

use std::collections::BTreeMap;
use std::io::Write;
use std::num::NonZeroU64;
use std::time::Duration;

use ckptdb::config::{self, Config};
use ckptdb::name::printable;
use ckptdb::policy::{Keep, Plan, Reason, Retention, Verdict};
use ckptdb::{CheckpointId, Direction, Store};
use clap_complete::engine::ArgValueCompleter;
use serde_json::{Value, json};

use crate::complete;
use crate::failure::Failure;
use crate::output::{Cell, Style, Table, Tone, human};
use crate::{confirm, lookup, settings};

/// Options of `prune`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The job, or a pattern for several: `phase2/*`.
    #[arg(add = ArgValueCompleter::new(complete::jobs))]
    job: String,
    #[command(flatten)]
    keep: KeepArgs,
    /// Only say what would be dropped, and why.
    #[arg(short = 'n', long)]
    pub(crate) dry_run: bool,
    /// Don't ask.
    #[arg(long)]
    yes: bool,
}

/// What stays; without any of these, what ckptdb.toml says. The latest, the last known good and
/// pinned ones always do.
#[derive(Debug, clap::Args)]
#[group(multiple = true)]
struct KeepArgs {
    /// Keep the newest N.
    #[arg(long, value_name = "N")]
    keep_latest: Option<u64>,
    /// Of those saved periodically, keep the N with the highest iterations.
    #[arg(long, value_name = "N")]
    keep_latest_periodic: Option<u64>,
    /// Keep the K best by a metric; without a direction, by the one declared.
    #[arg(long, value_name = "METRIC[:min|max]=K", value_parser = best)]
    keep_best: Vec<Keep>,
    /// Keep iterations that are multiples of N.
    #[arg(long, value_name = "N")]
    keep_every: Option<NonZeroU64>,
    /// For every multiple of N, keep the nearest.
    #[arg(long, value_name = "N")]
    keep_nearest: Option<NonZeroU64>,
    /// Keep those with an event, or with any of a family: `phase_boundary`.
    #[arg(long, value_name = "EVENT")]
    keep_event: Vec<String>,
    /// Keep what was saved within this time: `2d`, `12h`.
    #[arg(long, value_name = "TIME", value_parser = config::duration)]
    keep_within: Option<Duration>,
    /// Keep those with any tag.
    #[arg(long)]
    keep_tagged: bool,
    /// Of the others keep the newest that fit in this, together with those kept: `20GiB`.
    #[arg(long, value_name = "SIZE", value_parser = config::size)]
    max_size: Option<u64>,
}

impl KeepArgs {
    /// What is asked for; without anything, what is configured for the job.
    fn retention(&self, job: &str, config: &Config) -> Result<Retention, Failure> {
        let asked = self.asked()?;
        if !asked.rules().is_empty() || asked.has_budget() {
            return Ok(asked);
        }
        let configured = ckptdb::session::retention(&config.settings(job))?;
        configured.ok_or_else(|| {
            let message = format!("nothing says what to keep of job `{}`", printable(job));
            let hint = "give a rule (--keep-latest 8), or [keep] in ckptdb.toml";
            Failure::usage(message).hint(hint)
        })
    }

    fn asked(&self) -> Result<Retention, Failure> {
        let mut rules = self.keep_best.clone();
        rules.extend(self.keep_latest.map(Keep::Latest));
        rules.extend(self.keep_latest_periodic.map(Keep::LatestPeriodic));
        rules.extend(self.keep_every.map(Keep::Every));
        rules.extend(self.keep_nearest.map(Keep::Nearest));
        rules.extend(self.keep_event.iter().cloned().map(Keep::Event));
        rules.extend(self.keep_within.map(Keep::Within));
        rules.extend(self.keep_tagged.then_some(Keep::Tagged));
        let retention = Retention::new(rules)?;
        Ok(match self.max_size {
            Some(bytes) => retention.max_bytes(bytes),
            None => retention,
        })
    }
}

/// `METRIC[:min|max]=K`.
fn best(text: &str) -> Result<Keep, String> {
    let form = || "it is METRIC=K, METRIC:min=K or METRIC:max=K".to_owned();
    let (name, count) = text.rsplit_once('=').ok_or_else(form)?;
    let count = count.parse().map_err(|_| form())?;
    let (metric, direction) = match name.rsplit_once(':') {
        Some((metric, direction)) => {
            let direction: Direction = direction.parse().map_err(|_| form())?;
            (metric, Some(direction))
        }
        None => (name, None),
    };
    Ok(Keep::Best {
        metric: metric.to_owned(),
        count,
        direction,
    })
}

/// A job's plan, and what carrying it out frees.
struct Planned {
    job: String,
    retention: Retention,
    plan: Plan,
    iterations: BTreeMap<CheckpointId, u64>,
    freed: u64,
}

/// Prunes, or says what would be dropped.
pub(crate) fn run(args: &Args, store: &Store, style: &Style) -> Result<(), Failure> {
    let config = settings::load()?;
    let mut plans = Vec::new();
    let jobs = lookup::jobs(store, Some(&args.job))?;
    for (metric, _) in metrics_of(&args.keep.keep_best) {
        lookup::check_metric(&jobs, metric)?;
    }
    for job in jobs {
        let retention = args.keep.retention(&job.name, &config)?;
        // A slip in the settings is none that a declaration mends.
        for (metric, _) in metrics_of(retention.rules()).filter(|(_, way)| way.is_none()) {
            lookup::check_metric(std::slice::from_ref(&job), metric)?;
        }
        plans.push(planned(store, &job.name, retention)?);
    }
    let count = |plan: &Planned| plan.plan.dropped().count() as u64;
    let total: u64 = plans.iter().map(count).sum();
    if !args.dry_run && total > 0 {
        let question = format!("delete {}?", human::checkpoints(total));
        confirm::ask(&question, args.yes)?;
        for plan in &mut plans {
            // Decided anew: a trainer may have saved meanwhile.
            plan.plan = store.job(&plan.job)?.prune(&plan.retention)?.plan;
        }
    }
    if style.json {
        let jobs: Vec<Value> = plans.iter().map(document).collect();
        let body = json!({ "jobs": jobs, "dry_run": args.dry_run });
        return style.document("prune", &body);
    }
    for plan in &plans {
        print(plan, store, plans.len() > 1, style)?;
    }
    report(&plans, args.dry_run, style)
}

/// The metrics by which the best are kept, with the directions that the rules give.
fn metrics_of(rules: &[Keep]) -> impl Iterator<Item = (&str, Option<Direction>)> {
    rules.iter().filter_map(|rule| match rule {
        Keep::Best {
            metric, direction, ..
        } => Some((&**metric, *direction)),
        _ => None,
    })
}

fn planned(store: &Store, job: &str, retention: Retention) -> Result<Planned, Failure> {
    let job = store.job(job)?;
    let plan = job.plan(&retention)?;
    let dropped: Vec<CheckpointId> = plan.dropped().collect();
    let filter = ckptdb::Filter {
        job: Some(job.name().to_owned()),
        abandoned: true,
        ..ckptdb::Filter::default()
    };
    Ok(Planned {
        job: job.name().to_owned(),
        freed: store.freed_by(&dropped)?,
        // What is damaged is not decided on.
        iterations: store
            .list(&filter)?
            .filter_map(Result::ok)
            .map(|checkpoint| (checkpoint.id, checkpoint.iteration))
            .collect(),
        plan,
        retention,
    })
}

fn reasons(verdict: &Verdict) -> String {
    let said: Vec<String> = verdict.reasons.iter().map(Reason::to_string).collect();
    said.join("; ")
}

fn print(plan: &Planned, store: &Store, named: bool, style: &Style) -> Result<(), Failure> {
    let mut table = Table::new(0)
        .left("ACTION")
        .right("ITERATION")
        .right("FREES")
        .wrapped("WHY");
    for verdict in plan.plan.verdicts.iter().rev() {
        let iteration = plan.iterations.get(&verdict.id);
        let iteration = iteration.map_or("-".to_owned(), |at| human::thousands(*at));
        let (action, frees) = if verdict.keep {
            (Cell::new("keep", Tone::Good), "-".to_owned())
        } else {
            let alone = store.freed_by(&[verdict.id])?;
            (Cell::new("drop", Tone::Bad), human::size(alone))
        };
        let why = reasons(verdict);
        table.row(vec![action, iteration.into(), frees.into(), why.into()]);
    }
    let mut out = style.out();
    if named {
        writeln!(out, "{}:", printable(&plan.job))?;
    }
    table.write(&mut out, style)?;
    Ok(out.flush()?)
}

fn report(plans: &[Planned], dry_run: bool, style: &Style) -> Result<(), Failure> {
    let dropped: usize = plans.iter().map(|plan| plan.plan.dropped().count()).sum();
    let all: usize = plans.iter().map(|plan| plan.plan.verdicts.len()).sum();
    let freed: u64 = plans.iter().map(|plan| plan.freed).sum();
    let freed = human::size(freed);
    let of = format!("{dropped} of {}", human::checkpoints(all as u64));
    if dry_run {
        style.line(format_args!(
            "would drop {of} and free {freed}; nothing was changed (dry run)"
        ))?;
    } else {
        style.line(format_args!("dropped {of}; reclaiming them frees {freed}"))?;
        if dropped > 0 {
            style.note("undo: ckptdb undelete id:N; `ckptdb ls --deleted` lists them");
        }
    }
    for plan in plans.iter().filter(|plan| plan.plan.over_budget > 0) {
        let over = human::size(plan.plan.over_budget);
        let job = printable(&plan.job);
        style.note(format_args!(
            "what the rules keep of {job} is {over} over the size; nothing of it is dropped"
        ));
    }
    Ok(())
}

fn document(plan: &Planned) -> Value {
    let verdict = |verdict: &Verdict| {
        let said: Vec<String> = verdict.reasons.iter().map(Reason::to_string).collect();
        json!({
            "id": verdict.id.get(),
            "iteration": plan.iterations.get(&verdict.id),
            "keep": verdict.keep,
            "reasons": said,
        })
    };
    let verdicts: Vec<Value> = plan.plan.verdicts.iter().map(verdict).collect();
    json!({
        "job": plan.job,
        "checkpoints": verdicts,
        "dropped": plan.plan.dropped().count(),
        "frees": plan.freed,
        "protected_bytes": plan.plan.protected_bytes,
        "over_budget": plan.plan.over_budget,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_best_rule_has_a_metric_a_count_and_maybe_a_direction() {
        let rule = |metric: &str, direction| Keep::Best {
            metric: metric.to_owned(),
            count: 3,
            direction,
        };
        assert_eq!(best("sharpe=3").unwrap(), rule("sharpe", None));
        assert_eq!(
            best("loss:min=3").unwrap(),
            rule("loss", Some(Direction::Min))
        );
        for bad in ["sharpe", "sharpe=", "sharpe=x", "loss:mni=3", "sharpe=-1"] {
            assert!(best(bad).is_err(), "{bad}");
        }
    }
}
