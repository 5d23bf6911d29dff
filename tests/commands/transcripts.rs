//! The examples of docs/cli.md are what the program prints: they are run, in their order, on a
//! terminal that is 100 columns wide.
//!
//! `CKPTDB_TRANSCRIPTS=write cargo test --test main transcripts` writes what is printed into the
//! manual. Lines that are `...` there stand for any number of lines.

use std::fmt::Write;
use std::io::Cursor;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use ckptdb::session::SessionOptions;
use ckptdb::telemetry::Batch;
use ckptdb::{
    Compression, DType, Direction, Event, Job, ManualClock, Options, Store, TensorSlice, Timestamp,
};
use tempfile::TempDir;

use crate::support::walk;

const MANUAL: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/cli.md");
/// Of the terminal of the examples.
const COLUMNS: usize = 100;
const FENCE: &str = "```";

/// An example: where its output stands in the manual, in lines, and what it runs.
struct Example {
    command: String,
    output: std::ops::Range<usize>,
}

fn examples(lines: &[&str]) -> Vec<Example> {
    let mut found = Vec::new();
    for (at, line) in lines.iter().enumerate() {
        if *line == "```console" {
            let command = lines[at + 1].strip_prefix("$ ").unwrap().to_owned();
            let end = (at..lines.len()).find(|end| lines[*end] == FENCE).unwrap();
            let output = at + 2..end;
            found.push(Example { command, output });
        }
    }
    found
}

/// Three folders with a store in each: what the examples are about.
struct Worlds {
    folder: TempDir,
}

impl Worlds {
    fn new() -> Self {
        let folder = TempDir::new().unwrap();
        let worlds = Self { folder };
        for name in ["vit", "nq", "market"] {
            std::fs::create_dir(worlds.folder.path().join(name)).unwrap();
        }
        let vit = worlds.folder.path().join("vit");
        for folder in ["man/man1", "bash-completion/completions"] {
            std::fs::create_dir_all(vit.join(".local/share").join(folder)).unwrap();
        }
        let state = state(9000);
        let tensors = state.iter().map(|(name, shape, bytes)| {
            let tensor = TensorSlice::new(DType::F32, shape, bytes).unwrap();
            (*name, tensor)
        });
        let file = vit.join("model.safetensors");
        safetensors::serialize_to_file(tensors, None, &file).unwrap();
        fill_nq(&worlds.store("nq"));
        fill_market(&worlds.store("market"));
        worlds
    }

    /// A store with a clock that stands a while ago.
    fn store(&self, world: &str) -> (Store, Arc<ManualClock>) {
        let path = self.folder.path().join(world).join("runs.ckptdb");
        let clock = Arc::new(ManualClock::new(ago(0)));
        let options = Options {
            clock: clock.clone(),
            ..Options::default()
        };
        (Store::open_or_create_with(path, options).unwrap(), clock)
    }

    /// Where a command is run, after what the manual takes for granted.
    fn prepare(&self, command: &str) -> PathBuf {
        let world = match command {
            _ if ["market/", "phase3/", "doctor"]
                .iter()
                .any(|word| command.contains(word)) =>
            {
                "market"
            }
            _ if command.contains("NQ") || command.contains("log --graph") => "nq",
            _ => "vit",
        };
        let word = |at: usize| command.split(' ').nth(at).unwrap_or_default();
        match (word(1), word(2)) {
            ("save", _) => fill_vit(&self.store("vit")),
            ("log", _) => {
                let (store, _) = self.store("nq");
                let fork = store.resolve("NQ@2000").unwrap().fork("ES").unwrap();
                let job = store.job("ES").unwrap();
                let save = |after: u64, sharpe: f64| {
                    let save = job.save(fork.iteration + after).metric("sharpe", sharpe);
                    let bytes = after.to_le_bytes();
                    save.bytes("policy", &bytes).commit().unwrap().checkpoint
                };
                let good = save(500, 1.9);
                save(1000, 0.2);
                job.rollback(good.id, "it went wrong").unwrap();
                save(1500, 2.0);
            }
            ("import", _) => self.leave_old_checkpoints(),
            ("jobs", "delete" | "rename") => {
                let (store, _) = self.store("vit");
                let from = store.resolve("vit@500").unwrap();
                from.fork(word(3)).unwrap();
            }
            ("reclaim", _) => {
                let (store, _) = self.store("vit");
                store.resolve("vit@1000").unwrap().delete(false).unwrap();
            }
            _ => {}
        }
        self.folder.path().join(world)
    }

    /// A folder as older programs left them.
    fn leave_old_checkpoints(&self) {
        let folder = self.folder.path().join("vit/checkpoints");
        std::fs::create_dir(&folder).unwrap();
        for (step, reward, sharpe) in [(1000, 0.125, 1.5), (2000, 0.25, 1.75), (3000, 0.2, 2.25)] {
            let name =
                format!("NQ_ts-{step:07}_evt-periodic_val-{reward:+.3}_sharpe-{sharpe:+.2}_seed-7");
            std::fs::write(folder.join(format!("{name}.zip")), walk(8, step, 50_000)).unwrap();
            std::fs::write(
                folder.join(format!("{name}_metadata.json")),
                "{\"lr\": 0.001}",
            )
            .unwrap();
        }
        std::fs::write(folder.join("notes.txt"), "the third went best").unwrap();
    }

    /// What a terminal of so many columns shows of a command.
    fn run(&self, command: &str, columns: usize) -> String {
        let folder = self.prepare(command);
        let program = Path::new(env!("CARGO_BIN_EXE_ckptdb"));
        let mut paths = vec![program.parent().unwrap().to_owned()];
        let path = std::env::var_os("PATH").unwrap();
        paths.extend(std::env::split_paths(&path));
        let mut script = Command::new("script");
        let line = format!("stty cols {columns} rows 50; {command}");
        script
            .args(["-qec", &line, "/dev/null"])
            .current_dir(&folder)
            .env("PATH", std::env::join_paths(paths).unwrap())
            .env("CKPTDB_PAGER", "")
            .env("NO_COLOR", "1")
            .env("TERM", "xterm")
            .env("HOME", &folder);
        if !command.contains("init") && !command.contains("demo") {
            script.env("CKPTDB_STORE", "runs.ckptdb");
        }
        let output = script.output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout);
        let folder = folder.canonicalize().unwrap();
        let text = plain(&text).replace(folder.to_str().unwrap(), "/home/you");
        assert!(output.status.success(), "{command}: {text}");
        text
    }
}

/// A point in time so many seconds before now.
fn ago(seconds: i64) -> Timestamp {
    let since = std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap();
    let now = i64::try_from(since.as_millis()).unwrap();
    Timestamp::from_millis(now - 1000 * seconds)
}

/// The tensors of a model after so many steps: names, shapes and bytes.
fn state(step: u64) -> [(&'static str, [usize; 2], Vec<u8>); 3] {
    let tensor = |seed, shape: [usize; 2]| walk(seed, step, shape[0] * shape[1]);
    let shapes = [[256, 512], [512, 256], [100, 768]];
    [
        ("blocks.0.mlp.fc1.weight", shapes[0], tensor(1, shapes[0])),
        // It is frozen.
        ("blocks.0.mlp.fc2.weight", shapes[1], walk(2, 0, 512 * 256)),
        ("head.weight", shapes[2], tensor(3, shapes[2])),
    ]
}

/// All but the last of eighteen checkpoints.
fn fill_vit((store, clock): &(Store, Arc<ManualClock>)) {
    let job = store.job("vit").unwrap();
    for step in 1..=17_u32 {
        let iteration = u64::from(step) * 500;
        clock.set(ago(i64::from(17 - step) * 300 + 440));
        let state = state(iteration);
        // The first ones in a hurry.
        let effort = match step {
            ..4 => Compression::None,
            _ => Compression::Default,
        };
        let mut save = job.save(iteration).compression(effort);
        save = save.event(match step {
            15 => Event::PhaseEnd,
            _ => Event::Periodic,
        });
        if step == 17 {
            save = save.event(Event::Best("val_loss".to_owned()));
        }
        for (name, shape, bytes) in &state {
            save = save.tensor(name, TensorSlice::new(DType::F32, shape, bytes).unwrap());
        }
        let loss = 0.288 + 0.1 * (1.0 - f64::from(step) / 17.0);
        save.metric("val_loss", loss).commit().unwrap();
    }
}

/// Six checkpoints of which the third is the best, and the second pinned.
fn fill_nq((store, clock): &(Store, Arc<ManualClock>)) {
    let job = store.job("NQ").unwrap();
    job.declare_metric("sharpe", Direction::Max).unwrap();
    for (step, sharpe) in (1..).zip([1.1, 1.4, 2.1, 0.9, 1.2, 1.3]) {
        clock.set(ago((7 - step) * 300));
        let iteration = u64::try_from(step).unwrap() * 1000;
        let bytes = walk(5, iteration, 50_000);
        let tensor = TensorSlice::new(DType::F32, &[50_000], &bytes).unwrap();
        let save = job.save(iteration).tensor("policy", tensor);
        save.metric("sharpe", sharpe).commit().unwrap();
    }
    job.at(2000).unwrap().unwrap().set_pinned(true).unwrap();
}

/// A job that is trained, and the settings of another.
fn fill_market((store, clock): &(Store, Arc<ManualClock>)) {
    let folder = store.path().parent().unwrap();
    std::fs::write(folder.join("ckptdb.toml"), SETTINGS).unwrap();
    clock.set(ago(5000 / 10 + 90));
    let job: Job = store.job("market/NQ").unwrap();
    let options = SessionOptions {
        signals: false,
        triggers: ckptdb::policy::Triggers::from(ckptdb::policy::Trigger::Iterations(
            500.try_into().unwrap(),
        )),
        ..SessionOptions::default()
    };
    let mut session = job.session(options).unwrap();
    for iteration in 1..=5000_u32 {
        clock.advance(Duration::from_millis(100));
        let progress = f64::from(iteration) / 5000.0;
        let wave = f64::from(iteration % 97) / 97.0 - 0.5;
        let metrics = [
            (
                "loss".to_owned(),
                1.2 / (1.0 + 9.0 * progress) + wave / 20.0,
            ),
            ("sharpe".to_owned(), 2.0 * progress.sqrt() + wave / 4.0),
        ];
        let step = session.step(iteration.into(), &metrics.into(), |save| {
            // What the training waits for.
            clock.advance(Duration::from_millis(3));
            save.file("policy", Cursor::new(walk(6, iteration.into(), 70_000)))
        });
        assert_eq!(step.problems, []);
    }
    drop(session);
    let mut batch = Batch::default();
    batch
        .log(5012, [("loss", 0.121), ("sharpe", 1.97)])
        .unwrap();
    job.append(&batch).unwrap();
}

const SETTINGS: &str = "\
metrics = { loss = \"min\" }

[keep]
latest = 2

[job.\"phase3/*\".triggers]
iterations = 250
";

/// Without what moves the cursor or clears the screen.
fn plain(text: &str) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('\u{1b}') {
        out += before;
        let end = after.find(|letter: char| letter.is_ascii_alphabetic());
        rest = &after[end.map_or(after.len(), |end| end + 1)..];
    }
    out += rest;
    // What a progress bar drew on a slow machine was written over.
    let lines = out.split('\n').map(|line| {
        let line = line.trim_end_matches('\r');
        line.rsplit('\r').next().unwrap_or(line)
    });
    lines.collect::<Vec<_>>().join("\n")
}

/// Lines about the file, whose bytes depend on the time of the day.
const OF_DISK: [&str; 5] = [
    "compacted",
    "wrote report",
    "overhead",
    "on disk",
    "file length",
];
const UNITS: [&str; 3] = ["B", "KiB", "MiB"];

/// A line without what is another each time: times of the day, ages, hashes, what the disk has,
/// and how wide the columns of these are.
fn lasting(line: &str) -> String {
    if let Some((head, _)) = line
        .split_once("disk: ")
        .or_else(|| line.split_once("advice: "))
    {
        return format!("{head}disk");
    }
    let is_of_disk = OF_DISK
        .iter()
        .any(|begins| line.trim_start().starts_with(begins));
    let word = |word: &str| {
        let bare = word.trim_matches(['(', ')', ',', '.']);
        let is_time = bare.len() >= 20 && bare.ends_with('Z') && bare.contains('T');
        let is_hash = bare.len() >= 8 && bare.chars().all(|letter| letter.is_ascii_hexdigit());
        let number = bare.strip_suffix(['s', 'm', 'h', 'd']).unwrap_or_default();
        let is_age = !number.is_empty() && number.chars().all(|letter| letter.is_ascii_digit());
        if is_time || is_hash || is_age {
            "#".to_owned()
        } else {
            word.to_owned()
        }
    };
    let mut words: Vec<String> = line.split_whitespace().map(word).collect();
    for at in 1..words.len() {
        if is_of_disk && UNITS.contains(&&*words[at]) {
            (words[at - 1], words[at]) = ("#".to_owned(), "#".to_owned());
        }
    }
    // `59m` is as good as `1h 2m`.
    words.dedup_by(|next, last| *next == "#" && *last == "#");
    words.join(" ")
}

/// Whether what is printed is what is promised, of which some lines may be left out.
fn agree(promised: &[&str], printed: &[&str]) -> bool {
    match promised {
        [] => printed.is_empty(),
        [first, rest @ ..] if first.trim() == "..." => {
            (0..=printed.len()).any(|from| agree(rest, &printed[from..]))
        }
        [first, rest @ ..] => {
            let same = printed
                .first()
                .is_some_and(|line| lasting(first) == lasting(line));
            same && agree(rest, &printed[1..])
        }
    }
}

#[test]
fn what_the_manual_shows_is_what_is_printed() {
    let manual = std::fs::read_to_string(MANUAL).unwrap();
    let lines: Vec<&str> = manual.lines().collect();
    let is_written = std::env::var_os("CKPTDB_TRANSCRIPTS").is_some_and(|how| how == "write");
    let worlds = Worlds::new();
    let (mut written, mut from, mut faults) = (Vec::new(), 0, String::new());
    for Example { command, output } in examples(&lines) {
        let text = worlds.run(&command, COLUMNS);
        let printed: Vec<&str> = text.lines().map(str::trim_end).collect();
        let promised = &lines[output.clone()];
        written.extend(
            lines[from..output.start]
                .iter()
                .map(|line| (*line).to_owned()),
        );
        from = output.end;
        if agree(promised, &printed) {
            written.extend(promised.iter().map(|line| (*line).to_owned()));
        } else {
            let _ = writeln!(faults, "$ {command}\n{text}");
            written.extend(printed.iter().map(|line| (*line).to_owned()));
        }
    }
    written.extend(lines[from..].iter().map(|line| (*line).to_owned()));
    if is_written {
        std::fs::write(MANUAL, written.join("\n") + "\n").unwrap();
    }
    assert!(faults.is_empty(), "printed is another:\n{faults}");
}

#[test]
fn tables_fit_into_80_columns() {
    let worlds = Worlds::new();
    worlds.run(
        "ckptdb save model.safetensors --job vit --iteration 9000 --metric val_loss:min=0.291",
        COLUMNS,
    );
    // With names as people give them.
    for world in ["vit", "market"] {
        let (store, _) = worlds.store(world);
        let long = "market/NQ/phase3/long-experiment-name-2026-11-27";
        let job = store.job(long).unwrap();
        let save = job.save(123_456_789).metric("val_loss", 0.123_456_789);
        let save = save.event(Event::Best("val_loss".to_owned()));
        let saved = save.bytes("x", b"x").commit().unwrap().checkpoint;
        saved
            .set_tag("the-best-one-that-we-have-so-far", false)
            .unwrap();
    }
    for command in [
        "ls",
        "ls vit",
        "jobs",
        "show vit@8500",
        "diff vit@8500 vit@9000",
        "log vit --graph",
        "prune vit --keep-latest 2 --keep-best val_loss=2 -n",
        "stats",
        "config show vit --origin",
        "telemetry market/NQ",
        "telemetry market/NQ --metric loss",
        "doctor",
        "watch market/NQ --times 1",
        "best vit",
        "ls --deleted",
        "import checkpoints -n",
    ] {
        let text = worlds.run(&format!("ckptdb {command}"), 80);
        for line in text.lines() {
            let is_prose = ["disk:", "advice:", "market/NQ  iteration", "would import"];
            let is_prose = is_prose.iter().any(|begins| line.starts_with(begins));
            assert!(is_prose || line.chars().count() <= 80, "{command}: {line}");
        }
    }
}

#[test]
fn another_word_is_noticed_and_what_is_left_out_is_not() {
    let printed = [
        "saved vit@1",
        "  content  0123456789abcdef",
        "  3s ago",
        "disk: 4 GiB",
    ];
    assert!(agree(&["saved vit@1", "..."], &printed));
    assert!(agree(
        &["...", "content fedcba9876543210", "9s ago", "disk: full"],
        &printed
    ));
    assert!(!agree(&["saved vit@2", "..."], &printed));
    assert!(!agree(&["saved vit@1"], &printed));
    assert!(agree(&["saved vit@1", "...", "1h 4m ago", "..."], &printed));
    assert!(!agree(&["saved vit@1", "...", "4m since", "..."], &printed));
    assert_eq!(plain("\u{1b}[H\u{1b}[2Ja\u{1b}[1mb\r\n"), "ab\n");
    let bar = "searching 1 MiB\rsearching 2 MiB\r\u{1b}[2Kdone\r\n";
    assert_eq!(plain(bar), "done\n");
}
