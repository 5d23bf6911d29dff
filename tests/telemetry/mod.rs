//! Telemetry against a plain list of points: whatever is logged, saved, rolled back and reopened.

#![expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "values and ranks made of small counters"
)]

use std::collections::BTreeMap;
use std::sync::Arc;

use ckptdb::telemetry::Batch;
use ckptdb::{CheckpointId, Medium, MemoryMedium, Options, Store, VerifyDepth};
use proptest::prelude::*;

type Points = Vec<(u64, f64)>;

/// A job's series as they must be, by metric.
#[derive(Clone, Debug, Default)]
struct Series {
    by_metric: BTreeMap<&'static str, Points>,
    last: u64,
}

const METRICS: [&str; 3] = ["loss", "reward", "lr"];

#[derive(Clone, Debug)]
enum Step {
    /// So many rows with so many metrics, so far apart.
    Log {
        rows: u16,
        metrics: u8,
        stride: u8,
        odd: bool,
    },
    Save,
    RollBack(u8),
    /// The trainer forgot to resume: it logs from before.
    Repeat(u8),
    Reopen,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        6 => (1..60_u16, 1..=3_u8, 1..4_u8, any::<bool>())
            .prop_map(|(rows, metrics, stride, odd)| Step::Log { rows, metrics, stride, odd }),
        1 => (8_000..17_000_u16, 1..=3_u8)
            .prop_map(|(rows, metrics)| Step::Log { rows, metrics, stride: 1, odd: false }),
        3 => Just(Step::Save),
        2 => any::<u8>().prop_map(Step::RollBack),
        1 => any::<u8>().prop_map(Step::Repeat),
        1 => Just(Step::Reopen),
    ];
    proptest::collection::vec(step, 1..25)
}

fn value(iteration: u64, metric: usize, odd: bool) -> f64 {
    if odd && iteration.is_multiple_of(7) {
        return [f64::NAN, f64::INFINITY, f64::NEG_INFINITY][metric % 3];
    }
    let x = iteration as f64;
    [1.0 / (1.0 + x), (x * 0.1).sin() * 50.0, 0.0][metric]
}

impl Series {
    fn push(&mut self, batch: &mut Batch, iteration: u64, metrics: u8, odd: bool) {
        for (at, name) in METRICS.into_iter().enumerate().take(metrics.into()) {
            let value = value(iteration, at, odd);
            batch.log(iteration, [(name, value)]).unwrap();
            self.by_metric
                .entry(name)
                .or_default()
                .push((iteration, value));
        }
        self.last = iteration;
    }

    fn cut(&mut self, at: u64) {
        for points in self.by_metric.values_mut() {
            points.retain(|(iteration, _)| *iteration <= at);
        }
        self.by_metric.retain(|_, points| !points.is_empty());
        self.last = at;
    }
}

fn same(a: f64, b: f64) -> bool {
    a.to_bits() == b.to_bits() || (a.is_nan() && b.is_nan())
}

fn check(found: &ckptdb::Telemetry, wanted: &Series) {
    let summaries = found.summaries().unwrap();
    let names: Vec<&str> = summaries.keys().map(String::as_str).collect();
    let mut expected: Vec<&str> = wanted.by_metric.keys().copied().collect();
    expected.sort_unstable();
    assert_eq!(names, expected);
    for (name, points) in &wanted.by_metric {
        let read = found.points(name, 0..=u64::MAX).unwrap();
        assert_eq!(read.len(), points.len(), "{name}");
        for (point, (iteration, value)) in read.iter().zip(points) {
            assert_eq!(point.iteration, *iteration);
            assert!(same(point.value, *value));
        }
        let middle = points[points.len() / 2].0;
        let part = found.points(name, middle..=middle + 10).unwrap();
        let wanted = points
            .iter()
            .filter(|(i, _)| (middle..=middle + 10).contains(i));
        assert_eq!(part.len(), wanted.count());
        check_summary(&summaries[*name], points);
        let buckets = found
            .downsample(name, 0..=points[points.len() - 1].0, 10)
            .unwrap();
        assert!(buckets.len() <= 10);
        let counted: u64 = buckets.iter().map(|bucket| bucket.count + bucket.odd).sum();
        assert_eq!(counted, points.len() as u64);
    }
}

fn check_summary(summary: &ckptdb::telemetry::Summary, points: &Points) {
    let mut finite: Vec<f64> = points.iter().map(|(_, value)| *value).collect();
    finite.retain(|value| value.is_finite());
    finite.sort_by(f64::total_cmp);
    assert_eq!(summary.count, points.len() as u64);
    assert_eq!(summary.odd, (points.len() - finite.len()) as u64);
    assert_eq!(summary.min, finite.first().copied());
    assert_eq!(summary.max, finite.last().copied());
    assert_eq!(summary.first.0, points[0].0);
    assert!(same(summary.last.1, points[points.len() - 1].1));
    for part in [0.0, 0.05, 0.5, 0.95, 1.0] {
        let found = summary.quantile(part);
        assert_eq!(found.is_some(), !finite.is_empty());
        if let Some(found) = found {
            let rank = (part * (finite.len() - 1) as f64).round() as usize;
            let exact = finite[rank];
            let off = (found - exact).abs();
            assert!(
                off <= 0.0201 * exact.abs() + 1e-300,
                "{part}: {found} for {exact}"
            );
        }
    }
}

/// A store, where it lies, its job's series, and those that were saved.
type Ran = (Store, Arc<dyn Medium>, Series, Vec<(CheckpointId, Series)>);

fn run(steps: &[Step]) -> Ran {
    let medium: Arc<dyn Medium> = Arc::new(MemoryMedium::default());
    let mut store = Store::create_in(medium.clone(), Options::default()).unwrap();
    let mut now = Series::default();
    let mut saved: Vec<(CheckpointId, u64, Series)> = Vec::new();
    let mut head = 0;
    for step in steps {
        let job = store.job("NQ").unwrap();
        match step {
            Step::Log {
                rows,
                metrics,
                stride,
                odd,
            } => {
                let mut batch = Batch::default();
                for _ in 0..*rows {
                    let next = now.last + u64::from(*stride);
                    now.push(&mut batch, next, *metrics, *odd);
                }
                job.append(&batch).unwrap();
            }
            Step::Save => {
                now.last += 1;
                head = head.max(now.last);
                let mut batch = Batch::default();
                now.push(&mut batch, head, 1, false);
                let policy = head.to_le_bytes();
                let save = job.save(head).bytes("policy", &policy);
                let checkpoint = save.telemetry(batch).commit().unwrap().checkpoint;
                saved.push((checkpoint.id, head, now.clone()));
            }
            Step::RollBack(pick) if !saved.is_empty() => {
                let (id, iteration, then) = saved[usize::from(*pick) % saved.len()].clone();
                job.rollback(id, "test").unwrap();
                now = then;
                now.cut(iteration);
                head = iteration;
            }
            Step::Repeat(back) => {
                let first = now.last.saturating_sub(u64::from(*back)).max(head) + 1;
                // At the last iteration itself nothing turns back: there may be more to say of it.
                let first = if first == now.last { first + 1 } else { first };
                now.cut(first - 1);
                let mut batch = Batch::default();
                now.push(&mut batch, first, 3, false);
                job.append(&batch).unwrap();
            }
            Step::Reopen => {
                drop(job);
                store.close();
                store = Store::open_in(medium.clone(), Options::default()).unwrap();
            }
            Step::RollBack(_) => {}
        }
    }
    let saved = saved
        .into_iter()
        .map(|(id, _, series)| (id, series))
        .collect();
    (store, medium, now, saved)
}

fn check_all(store: &Store, now: &Series, saved: &[(CheckpointId, Series)]) {
    let report = store.verify(VerifyDepth::Full).unwrap();
    assert_eq!(report.damage, []);
    if now.by_metric.is_empty() && saved.is_empty() {
        return;
    }
    check(&store.job("NQ").unwrap().telemetry().unwrap(), now);
    for (id, series) in saved {
        let checkpoint = store.resolve(&id.to_string()).unwrap();
        check(&checkpoint.telemetry(), series);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn every_line_shows_the_points_that_were_logged_on_it(steps in steps()) {
        let (store, medium, now, saved) = run(&steps);
        check_all(&store, &now, &saved);
        store.close();
        let new: Arc<dyn Medium> = Arc::new(MemoryMedium::default());
        let (rebuilt, salvaged) =
            Store::salvage_in(medium, new, Options::default(), &mut |_, _| {}).unwrap();
        assert_eq!(salvaged.checkpoints, saved.len() as u64);
        check_all(&rebuilt, &now, &saved);
        // And it goes on.
        let last = now.last.max(1_000_000);
        rebuilt.job("NQ").unwrap().log(last, [("loss", 1.0)]).unwrap();
        assert_eq!(rebuilt.verify(VerifyDepth::Full).unwrap().damage, []);
    }
}

#[test]
fn a_save_that_fails_appends_nothing_and_one_that_is_repeated_appends_once() {
    let store = Store::in_memory().unwrap();
    let job = store.job("NQ").unwrap();
    job.save(5).bytes("policy", b"5").commit().unwrap();
    let mut batch = Batch::default();
    batch.log(6, [("loss", 0.5)]).unwrap();
    batch.log(7, [("loss", 0.25)]).unwrap();
    let back = job.save(4).bytes("policy", b"4").telemetry(batch.clone());
    back.commit().unwrap_err();
    assert!(job.telemetry().unwrap().summaries().unwrap().is_empty());
    for _ in 0..2 {
        let save = job.save(7).bytes("policy", b"7").telemetry(batch.clone());
        save.commit().unwrap();
    }
    let points = job.telemetry().unwrap().points("loss", 0..=9).unwrap();
    assert_eq!(points.len(), 2);
}

#[test]
fn a_fork_shows_what_came_before_it_and_stays_when_its_source_goes() {
    let store = Store::in_memory().unwrap();
    let job = store.job("NQ").unwrap();
    job.log(1, [("loss", 1.0)]).unwrap();
    let source = job.save(1).bytes("policy", b"weights").commit().unwrap();
    job.log(2, [("loss", 2.0)]).unwrap();
    job.save(2).bytes("policy", b"later").commit().unwrap();
    let fork = source.checkpoint.fork("NQ-high-lr").unwrap();
    assert_eq!(fork.forked_from, Some(source.checkpoint.id));
    let other = store.job("NQ-high-lr").unwrap();
    other.log(2, [("loss", 20.0)]).unwrap();
    let values = |job: &ckptdb::Job| -> Vec<f64> {
        let points = job.telemetry().unwrap().points("loss", 0..=9).unwrap();
        points.iter().map(|point| point.value).collect()
    };
    assert_eq!(values(&other), [1.0, 20.0]);
    assert_eq!(values(&job), [1.0, 2.0]);
    source.checkpoint.fork("NQ-high-lr").unwrap_err();
    source.checkpoint.delete(true).unwrap();
    store.reclaim(true).unwrap();
    assert_eq!(fork.read("policy").unwrap(), b"weights".as_slice());
    store.delete_job("NQ").unwrap();
    store.reclaim(true).unwrap();
    assert_eq!(
        values(&other),
        [1.0, 20.0],
        "though the source's job is gone"
    );
    other.save(2).bytes("policy", b"fork").commit().unwrap();
    assert_eq!(store.verify(VerifyDepth::Full).unwrap().damage, []);
    source.checkpoint.fork("third").unwrap_err();
}

/// A fork's line once showed points that its source had logged afterwards, for iterations up to
/// that of the fork, and its summaries did not know them.
#[test]
fn what_the_source_logs_after_a_fork_is_its_own() {
    let store = Store::in_memory().unwrap();
    let job = store.job("NQ").unwrap();
    let saved = job.save(3).bytes("policy", b"weights").commit().unwrap();
    job.log(1, [("loss", 1.0)]).unwrap();
    let early = job.save(4).bytes("policy", b"weights").commit().unwrap();
    let forks = [(saved, "first"), (early, "second")].map(|(saved, name)| {
        saved.checkpoint.fork(name).unwrap();
        store.job(name).unwrap()
    });
    job.log(2, [("loss", 2.0)]).unwrap();
    job.log(9, [("loss", 9.0)]).unwrap();
    let shown = |job: &ckptdb::Job| {
        let telemetry = job.telemetry().unwrap();
        let points = telemetry.points("loss", 0..=u64::MAX).unwrap_or_default();
        let counted = telemetry
            .summaries()
            .unwrap()
            .get("loss")
            .map(|sum| sum.count);
        (points.len() as u64, counted.unwrap_or_default())
    };
    assert_eq!(forks.each_ref().map(shown), [(0, 0), (1, 1)]);
    assert_eq!(shown(&job), (3, 3));
    let again = job.save(9).bytes("policy", b"later").commit().unwrap();
    assert_eq!(
        again.checkpoint.telemetry().summaries().unwrap()["loss"].count,
        3
    );
}

#[test]
fn a_removed_jobs_telemetry_goes_with_its_last_checkpoint() {
    let store = Store::in_memory().unwrap();
    let job = store.job("NQ").unwrap();
    job.log(1, [("loss", 1.0)]).unwrap();
    let saved = job.save(1).bytes("policy", b"weights").commit().unwrap();
    store.delete_job("NQ").unwrap();
    let back = store.undelete(saved.checkpoint.id).unwrap();
    assert_eq!(back.telemetry().summaries().unwrap()["loss"].count, 1);
    store.delete_job("NQ").unwrap();
    store.reclaim(true).unwrap();
    assert_eq!(store.verify(VerifyDepth::Full).unwrap().damage, []);
    let job = store.job("NQ").unwrap();
    job.log(9, [("reward", 1.0)]).unwrap();
    let names: Vec<String> = job
        .telemetry()
        .unwrap()
        .summaries()
        .unwrap()
        .into_keys()
        .collect();
    assert_eq!(names, ["reward"]);
}

#[test]
fn more_metrics_than_the_limit_are_left_out_and_the_save_is_not() {
    let store = Store::in_memory().unwrap();
    let job = store.job("NQ").unwrap();
    for part in 0..3 {
        let mut batch = Batch::default();
        for metric in 0..100 {
            batch
                .log(part, [(format!("m{part}-{metric}").as_str(), 1.0)])
                .unwrap();
        }
        job.save(part)
            .bytes("policy", &part.to_le_bytes())
            .telemetry(batch)
            .commit()
            .unwrap();
    }
    assert_eq!(job.telemetry().unwrap().summaries().unwrap().len(), 256);
    assert_eq!(job.list().unwrap().count(), 3);
}
