//! What comparing two checkpoints costs beside loading what differs in them, and what importing a
//! folder costs beside copying it.
//!
//! ```console
//! cargo bench --bench interop -- diff 2048
//! cargo bench --bench interop -- import 100 50
//! cargo bench --bench interop -- report 10000 1000000
//! cargo bench --bench interop -- report 10000 1000000 100
//! ```
//!
//! The number is that of MiB of a checkpoint, of which a tenth differs; or those of files and of
//! MiB of each; or of checkpoints, of points, and of the jobs that share them. Medians of three
//! rounds in turn. Files go to `CKPTDB_BENCH_DIR`, or the system's temporary folder, and are
//! removed.

#![expect(
    clippy::unwrap_used,
    reason = "a measurement stops at the first surprise"
)]
#![expect(clippy::print_stdout, reason = "a measurement prints its result")]
#![expect(
    clippy::disallowed_methods,
    reason = "plain files are what is compared with"
)]

#[path = "support/noise.rs"]
mod noise;

use std::io::Write;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use ckptdb::interop::{ImportOptions, Plan};
use ckptdb::telemetry::Batch;
use ckptdb::{Change, Compression, DType, Direction, Store, TensorSlice};
use noise::noise;
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipWriter};

const ROUNDS: usize = 3;
const PARTS: u64 = 10;

fn main() {
    let arguments: Vec<String> = std::env::args()
        .skip(1)
        .filter(|a| a != "--bench")
        .collect();
    let number = |at: usize, ordinary: u64| {
        arguments
            .get(at)
            .map_or(ordinary, |text| text.parse().unwrap())
    };
    let folder = match std::env::var_os("CKPTDB_BENCH_DIR") {
        Some(place) => tempfile::tempdir_in(place).unwrap(),
        None => tempfile::tempdir().unwrap(),
    };
    match arguments.first().map_or("", String::as_str) {
        "import" => {
            for form in [Form::Archive, Form::Noise] {
                import(folder.path(), form, (number(1, 20), number(2, 50)));
            }
        }
        "diff" => diff(folder.path(), number(1, 512)),
        "report" => {
            let counts = [(1, 1_000), (2, 100_000), (3, 1)];
            report(folder.path(), counts.map(|(at, usual)| number(at, usual)));
        }
        // `cargo bench` without a choice, and `cargo test --benches`, only see that it builds.
        _ => println!("say what to measure: diff, import, or report"),
    }
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times[times.len() / 2]
}

fn timed(times: &mut Vec<Duration>, run: impl FnOnce()) {
    let begun = Instant::now();
    run();
    times.push(begun.elapsed());
}

fn diff(folder: &Path, mib: u64) {
    let store = Store::create(folder.join("diff.ckptdb")).unwrap();
    let job = store.job("vit").unwrap();
    let bytes = usize::try_from((mib << 20) / PARTS / 4 * 4).unwrap();
    for iteration in 1..=2 {
        let parts: Vec<Vec<u8>> = (0..PARTS)
            .map(|part| {
                noise(
                    if part == 3 {
                        part + 100 * iteration
                    } else {
                        part
                    },
                    bytes,
                )
            })
            .collect();
        let mut save = job.save(iteration).compression(Compression::None);
        for (part, data) in parts.iter().enumerate() {
            let tensor = TensorSlice::new(DType::F32, &[bytes / 4], data).unwrap();
            save = save.tensor(&format!("part.{part}"), tensor);
        }
        save.commit().unwrap();
    }
    let [before, after] = [1, 2].map(|iteration| job.at(iteration).unwrap().unwrap());
    let (mut loads, mut diffs) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        timed(&mut loads, || {
            let both = [&before, &after].map(|one| one.read("part.3").unwrap());
            assert_ne!(both[0], both[1]);
        });
        timed(&mut diffs, || {
            let diff = before.diff(&after).unwrap();
            assert_eq!(
                (diff.count(Change::Identical), diff.count(Change::Changed)),
                (PARTS - 1, 1)
            );
        });
    }
    let (load, diff) = (median(loads), median(diffs));
    println!("two checkpoints of {mib} MiB that share nine tenths");
    println!(
        "  loading the tenth of both {load:?}, diff {diff:?}: {:.2}",
        ratio(diff, load)
    );
}

/// What is in a file that is imported.
#[derive(Clone, Copy)]
enum Form {
    /// What Stable-Baselines3 writes: an archive of archives of tensors, all stored as they are.
    Archive,
    /// No structure at all.
    Noise,
}

impl Form {
    fn make(self, seed: u64, mib: u64) -> Vec<u8> {
        let all = noise(seed, usize::try_from(mib << 20).unwrap());
        let Self::Archive = self else { return all };
        // Adam has two tensors for each one of the policy.
        let (policy, optimizer) = all.split_at(all.len() / 3);
        let tensors = |bytes: &[u8]| {
            let tensors = bytes.chunks(3 << 20).enumerate();
            stored(
                tensors.map(|(number, bytes)| (format!("archive/data/{number}"), bytes.to_vec())),
            )
        };
        let members = [
            ("data", b"{}".to_vec()),
            ("policy.pth", tensors(policy)),
            ("policy.optimizer.pth", tensors(optimizer)),
        ];
        stored(
            members
                .into_iter()
                .map(|(name, bytes)| (name.to_owned(), bytes)),
        )
    }
}

/// An archive of these members.
fn stored(members: impl Iterator<Item = (String, Vec<u8>)>) -> Vec<u8> {
    let how = SimpleFileOptions::default().compression_method(CompressionMethod::Stored);
    let mut archive = ZipWriter::new(std::io::Cursor::new(Vec::new()));
    for (name, bytes) in members {
        archive.start_file(name, how).unwrap();
        archive.write_all(&bytes).unwrap();
    }
    archive.finish().unwrap().into_inner()
}

fn import(folder: &Path, form: Form, (files, mib): (u64, u64)) {
    let old = folder.join("old");
    std::fs::create_dir_all(&old).unwrap();
    for number in 1..=files {
        let name = format!("rl_model_{}_steps.zip", number * 1000);
        std::fs::write(old.join(name), form.make(number, mib)).unwrap();
    }
    rustix::fs::sync();
    let of = match form {
        Form::Archive => "archives",
        Form::Noise => "files of noise",
    };
    println!("{files} {of} of {mib} MiB");
    let mut copies = Vec::new();
    let efforts = [Compression::None, Compression::Fast, Compression::Default];
    let mut imports = efforts.map(|effort| (effort, Vec::new()));
    for round in 0..ROUNDS {
        let to = folder.join(format!("copy{round}"));
        std::fs::create_dir_all(&to).unwrap();
        timed(&mut copies, || {
            for file in old.read_dir().unwrap() {
                let file = file.unwrap();
                let copy = to.join(file.file_name());
                std::fs::copy(file.path(), &copy).unwrap();
                std::fs::File::open(copy).unwrap().sync_all().unwrap();
            }
        });
        std::fs::remove_dir_all(&to).unwrap();
        for (effort, times) in &mut imports {
            let path = folder.join("import.ckptdb");
            let store = Store::create(&path).unwrap();
            let mut options = ImportOptions::default();
            options.compression = Some(*effort);
            timed(times, || {
                let plan = Plan::of(&old, &options).unwrap();
                let done = plan.run(&old, &store, &options, &mut |_, _| true).unwrap();
                assert_eq!(done.saved, files);
            });
            drop(store);
            std::fs::remove_file(path).unwrap();
        }
    }
    let copy = median(copies);
    println!("  copied and synced in {copy:?}");
    for (effort, times) in imports {
        let took = median(times);
        println!(
            "  imported ({effort}) in {took:?}: {:.2} of that speed",
            ratio(copy, took)
        );
    }
    std::fs::remove_dir_all(old).unwrap();
}

fn report(folder: &Path, [checkpoints, points, jobs]: [u64; 3]) {
    let path = folder.join("report.ckptdb");
    let store = Store::create(&path).unwrap();
    let value = |at: u64| f64::from(u32::try_from(at % 1_000).unwrap()).sin();
    let (saves, logged) = (checkpoints / jobs, points / jobs);
    for number in 0..jobs {
        let job = store.job(&format!("agent-{number}")).unwrap();
        job.declare_metric("reward", Direction::Max).unwrap();
        for first in (0..logged).step_by(50_000) {
            let mut batch = Batch::default();
            for at in first..logged.min(first + 50_000) {
                batch.log(at, [("loss", value(at))]).unwrap();
            }
            job.append(&batch).unwrap();
        }
        for number in 1..=saves {
            let state = number.to_le_bytes();
            let save = job.save(number * logged / saves).bytes("state", &state);
            save.metric("reward", value(number)).commit().unwrap();
        }
    }
    drop(store);
    let output = folder.join("report.html");
    let (mut lists, mut reports) = (Vec::new(), Vec::new());
    let program = |arguments: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_ckptdb"));
        let done = command
            .args(arguments)
            .arg("-s")
            .arg(&path)
            .output()
            .unwrap();
        assert!(done.status.success(), "{done:?}");
    };
    for _ in 0..ROUNDS {
        timed(&mut lists, || program(&["ls", "--all"]));
        timed(&mut reports, || {
            program(&["report", "-o", output.to_str().unwrap()]);
        });
    }
    let (list, report) = (median(lists), median(reports));
    let bytes = output.metadata().unwrap().len();
    println!("{checkpoints} checkpoints, {points} points, jobs: {jobs}");
    println!(
        "  ls --all {list:?}, report {report:?}: {:.2}, {bytes} bytes",
        ratio(report, list)
    );
}

fn ratio(one: Duration, other: Duration) -> f64 {
    one.as_secs_f64() / other.as_secs_f64()
}
