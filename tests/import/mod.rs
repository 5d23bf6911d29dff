//! Folders of other programs' checkpoints: imported, exported again, and compared.

mod archive;
mod belongings;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use ckptdb::interop::{DEFAULT_TEMPLATE, ImportOptions, NameTemplate, Plan, write_named};
use ckptdb::{Event, Store, VerifyDepth};
use serde_json::{Value, json};
use tempfile::TempDir;

use self::archive::{agent, zip};
use crate::support::{ckptdb, noise};

fn write(path: &Path, bytes: impl AsRef<[u8]>) {
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, bytes).unwrap();
}

/// All files below a folder, with their bytes.
fn all(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(next) = folders.pop() {
        for member in next.read_dir().unwrap() {
            let path = member.unwrap().path();
            if path.is_symlink() {
                continue;
            }
            if path.is_dir() {
                folders.push(path);
            } else {
                let below = path.strip_prefix(folder).unwrap().to_owned();
                found.insert(below, std::fs::read(&path).unwrap());
            }
        }
    }
    found
}

/// What a run of an agent leaves each 1,000 steps: its archive, statistics, and, for two of three,
/// metadata with more digits than the name has. The best is told.
fn agents(folder: &Path, market: &str, count: u64) -> (u64, f64) {
    let mut best = (0, f64::NEG_INFINITY);
    for (number, (archive, reward)) in (1..=count).zip(agent(market)) {
        let iteration = 1000 * number;
        let event = if reward > best.1 { "best" } else { "periodic" };
        if reward > best.1 {
            best = (iteration, reward);
        }
        let sharpe = reward / 2.0;
        let stem = format!(
            "{market}_ts-{iteration:07}_evt-{event}_val-{reward:+.3}_sharpe-{sharpe:+.2}_seed-7"
        );
        write(&folder.join(format!("{stem}.zip")), archive);
        let statistics = [
            market.as_bytes(),
            &iteration.to_le_bytes(),
            &reward.to_le_bytes(),
        ]
        .concat();
        write(&folder.join(format!("{stem}_vecnormalize.pkl")), statistics);
        if number % 3 != 0 {
            let metadata = json!({
                "market": market, "timestep": iteration, "event": event, "val_reward": reward,
                "sharpe_ratio": sharpe, "seed": 7, "learning_rate": 3e-4, "note": null,
            });
            write(
                &folder.join(format!("{stem}_metadata.json")),
                metadata.to_string(),
            );
        }
    }
    best
}

/// Whether the store has what the agents left, and knows the best of each.
fn check_agents(path: &Path, bests: &[(&str, (u64, f64))]) {
    let store = Store::open(path).unwrap();
    for &(market, (iteration, reward)) in bests {
        let job = store.job(market).unwrap();
        let best = store.resolve(&format!("{market}@best")).unwrap();
        assert_eq!(best.iteration, iteration);
        // Two of three have it to the last digit, the others as their names do.
        assert!((best.metrics["val_reward"] - reward).abs() < 5e-4);
        if iteration % 3000 != 0 {
            assert_eq!(best.metrics["val_reward"].to_bits(), reward.to_bits());
            assert_eq!(best.attributes["learning_rate"], "0.0003");
        }
        assert!(best.events.contains(&Event::Best("val_reward".to_owned())));
        assert_eq!(best.attributes["seed"], "7");
        let latest = job.latest().unwrap().unwrap();
        assert_eq!(latest.iteration, 100_000);
        let names: Vec<String> = latest
            .entries()
            .unwrap()
            .into_iter()
            .map(|e| e.name)
            .collect();
        let expected = ["metadata.json", "model.zip", "vecnormalize.pkl"];
        assert_eq!(names, expected);
        assert_eq!(job.list().unwrap().count(), 100);
    }
    let stored = store.stats().unwrap();
    assert!(stored.stored_bytes < stored.logical_bytes, "{stored:?}");
    assert!(store.verify(VerifyDepth::Full).unwrap().is_clean());
}

#[test]
fn two_hundred_old_checkpoints_come_in_and_go_out_as_they_were() {
    let folder = TempDir::new().unwrap();
    let old = folder.path().join("old");
    let bests = ["NQ", "ES_mini"].map(|market| (market, agents(&old, market, 100)));
    write(&old.join("notes.txt"), "what was tried");
    write(&old.join("NQ_ts-x_evt-best.zip"), "an old name");
    let before = all(&old);
    let (code, text, said) = ckptdb(folder.path(), &["import", "old", "-n"]);
    assert_eq!(code, 0, "{said}");
    assert!(
        text.contains("would import 200 checkpoints of 2 jobs"),
        "{text}"
    );
    assert!(!folder.path().join("runs.ckptdb").exists());
    let import = ["import", "old", "-s", "runs.ckptdb", "--create"];
    let (code, text, said) = ckptdb(folder.path(), &import);
    assert_eq!(code, 0, "{said}");
    assert!(
        text.contains("imported 200 checkpoints of 2 jobs"),
        "{text}"
    );
    for left in ["notes.txt", "NQ_ts-x_evt-best.zip"] {
        assert!(text.contains(left), "{text}");
    }
    assert!(all(&old) == before, "nothing in the folder is touched");
    check_agents(&folder.path().join("runs.ckptdb"), &bests);
    // Once more, nothing is saved.
    let (code, text, _) = ckptdb(folder.path(), &import);
    assert_eq!(code, 0);
    assert!(
        text.contains("imported 0 checkpoints") && text.contains("200 there before"),
        "{text}"
    );
    let export = [
        "export",
        "*",
        "--all",
        "-o",
        "back",
        "--template",
        DEFAULT_TEMPLATE,
    ];
    let (code, _, said) = ckptdb(folder.path(), &export);
    assert_eq!(code, 0, "{said}");
    let mut expected = before;
    expected.remove(Path::new("notes.txt"));
    expected.remove(Path::new("NQ_ts-x_evt-best.zip"));
    let back = all(&folder.path().join("back"));
    let differing: Vec<_> = expected
        .iter()
        .filter(|file| back.get(file.0) != Some(file.1))
        .collect();
    let names: Vec<_> = differing.iter().map(|file| file.0).collect();
    assert!(names.is_empty(), "{names:?}");
    assert!(back == expected);
    // What is there is not written over by accident.
    let (code, _, said) = ckptdb(folder.path(), &export);
    assert!(code == 1 && said.contains("--force"), "{said}");
}

#[test]
fn an_import_that_is_cut_off_goes_on_where_it_was() {
    let folder = TempDir::new().unwrap();
    let old = folder.path().join("old");
    agents(&old, "NQ", 30);
    let store = Store::create(folder.path().join("runs.ckptdb")).unwrap();
    let options = ImportOptions::default();
    let plan = Plan::of(&old, &options).unwrap();
    assert_eq!((plan.checkpoints.len(), plan.left.len()), (30, 0));
    let mut calls = 0;
    let cut = plan.run(&old, &store, &options, &mut |_, _| {
        calls += 1;
        calls <= 10
    });
    let cut = cut.unwrap();
    assert!(cut.stopped && cut.saved == 10, "{cut:?}");
    assert_eq!(store.job("NQ").unwrap().list().unwrap().count(), 10);
    let done = plan.run(&old, &store, &options, &mut |_, _| true).unwrap();
    assert_eq!((done.saved, done.already, done.left.len()), (20, 10, 0));
    assert!(!done.stopped);
    let iterations: Vec<u64> = store
        .job("NQ")
        .unwrap()
        .list()
        .unwrap()
        .map(|found| found.unwrap().iteration)
        .collect();
    assert!(
        iterations.is_sorted_by(|a, b| a > b),
        "in order: {iterations:?}"
    );
}

fn plan_of(files: &[(&str, &[u8])]) -> (TempDir, Plan) {
    let folder = TempDir::new().unwrap();
    for (path, bytes) in files {
        write(&folder.path().join("old").join(path), bytes);
    }
    let plan = Plan::of(&folder.path().join("old"), &ImportOptions::default()).unwrap();
    (folder, plan)
}

fn left(plan: &Plan) -> Vec<(&str, &str)> {
    plan.left
        .iter()
        .map(|left| (left.path.to_str().unwrap(), left.why.as_str()))
        .collect()
}

#[test]
fn the_folders_of_usual_programs_are_understood() {
    let state = json!({"epoch": 1.5, "log_history": [
        {"step": 250, "loss": 0.7}, {"step": 500, "epoch": 1.5, "loss": 0.5, "eval_loss": 0.4},
        {"step": 500, "grad_norm": 2.0}, {"step": 750, "loss": 0.3}]})
    .to_string();
    let (_folder, plan) = plan_of(&[
        ("sb3/rl_model_1000_steps.zip", b"one"),
        ("sb3/rl_model_vecnormalize_1000_steps.pkl", b"statistics"),
        ("sb3/rl_model_replay_buffer_1000_steps.pkl", b"buffer"),
        ("sb3/phase2_3000_steps.zip", b"three"),
        ("hf/checkpoint-500/model.safetensors", b"weights"),
        ("hf/checkpoint-500/trainer_state.json", state.as_bytes()),
        ("hf/checkpoint-500/deep/er/rng.pth", b"random"),
        ("pl/epoch=3-step=1000-val_loss=0.31.ckpt", b"lightning"),
    ]);
    assert_eq!(left(&plan), []);
    let found: Vec<_> = plan
        .checkpoints
        .iter()
        .map(|planned| (planned.job.as_str(), planned.iteration))
        .collect();
    assert_eq!(
        found,
        [("hf", 500), ("pl", 1000), ("sb3", 1000), ("sb3", 3000)]
    );
    let [hf, pl, sb3, phase] = plan.checkpoints.as_slice() else {
        panic!("{plan:?}")
    };
    let files: Vec<&str> = hf.files.keys().map(String::as_str).collect();
    assert_eq!(
        files,
        ["deep/er/rng.pth", "model.safetensors", "trainer_state.json"]
    );
    assert_eq!(
        hf.metrics,
        BTreeMap::from([
            ("eval_loss".to_owned(), 0.4),
            ("grad_norm".to_owned(), 2.0),
            ("loss".to_owned(), 0.5)
        ])
    );
    assert_eq!(hf.attributes["epoch"], json!(1.5));
    assert_eq!(pl.metrics["val_loss"].to_bits(), 0.31_f64.to_bits());
    assert_eq!(pl.attributes["epoch"], json!(3));
    let files: Vec<&str> = sb3.files.keys().map(String::as_str).collect();
    assert_eq!(
        files,
        ["model.zip", "replay_buffer.pkl", "vecnormalize.pkl"]
    );
    assert_eq!(phase.attributes["phase"], json!(2));
}

#[test]
fn a_file_without_an_iteration_is_a_name_of_what_it_copies_or_tells_its_own() {
    let settings = json!({"num_timesteps": 2500, "policy_class": {}}).to_string();
    let own = zip(&[("data", settings.as_bytes()), ("policy.pth", b"weights")]);
    let (_folder, plan) = plan_of(&[
        ("rl_model_1000_steps.zip", b"one"),
        ("rl_model_2000_steps.zip", b"two"),
        ("final_model.zip", b"two"),
        ("best_model.zip", &own),
        ("other_model.zip", b"whatever"),
    ]);
    assert_eq!(
        left(&plan),
        [("other_model.zip", "no template fits its name")]
    );
    let found: Vec<_> = plan
        .checkpoints
        .iter()
        .map(|planned| (planned.iteration, planned.tags.clone()))
        .collect();
    let tagged = |tag: &str| vec![tag.to_owned()];
    assert_eq!(
        found,
        [
            (1000, vec![]),
            (2000, tagged("final_model")),
            (2500, tagged("best_model"))
        ]
    );
    assert!(plan.checkpoints.iter().all(|planned| planned.job == "old"));
}

#[test]
fn what_contradicts_itself_or_another_is_left_alone_with_the_reason() {
    let name = |iteration: u64, event: &str| {
        format!("NQ_ts-{iteration:07}_evt-{event}_val-+0.100_sharpe-+1.00_seed-7.zip")
    };
    let [one, best, other, wrong] = [(1, "periodic"), (1, "best"), (1, "final"), (2, "final")]
        .map(|(iteration, event)| name(iteration, event));
    let metadata = wrong.replace(".zip", "_metadata.json");
    let (_folder, plan) = plan_of(&[
        (&one, b"same"),
        (&best, b"same"),
        (&other, b"not the same"),
        (&wrong, b"two"),
        (&metadata, br#"{"timestep": 3}"#),
        (
            "NQ_ts-0000004_evt-x_val-+0.1_sharpe-+1.00_seed-7_metadata.json",
            b"{}",
        ),
        (
            "-x_ts-0000005_evt-x_val-+0.1_sharpe-+1.00_seed-7.zip",
            b"five",
        ),
    ]);
    let [planned] = plan.checkpoints.as_slice() else {
        panic!("{plan:?}")
    };
    assert_eq!(
        planned.events,
        [Event::Periodic, Event::Best("val_reward".to_owned())]
    );
    let left: BTreeMap<_, _> = left(&plan).into_iter().collect();
    assert!(left[other.as_str()].contains("has other bytes"), "{left:?}");
    assert!(
        left[wrong.as_str()].contains("its metadata timestep 3"),
        "{left:?}"
    );
    assert!(left["-x_ts-0000005_evt-x_val-+0.1_sharpe-+1.00_seed-7.zip"].contains("leading `-`"));
    assert_eq!(left.len(), 5, "{left:?}");
}

#[test]
fn metadata_that_are_no_json_do_not_keep_a_checkpoint_out() {
    let stem = "NQ_ts-0000001_evt-manual_val--0.125_sharpe-+1.00_seed-a7";
    let (zip, metadata) = (format!("{stem}.zip"), format!("{stem}_metadata.json"));
    let (folder, plan) = plan_of(&[(&zip, b"one"), (&metadata, b"{\"timestep\": 1,")]);
    let [planned] = plan.checkpoints.as_slice() else {
        panic!("{plan:?}")
    };
    assert_eq!(
        planned.metrics["val_reward"].to_bits(),
        (-0.125_f64).to_bits()
    );
    assert_eq!(planned.attributes["seed"], json!("a7"));
    assert!(planned.notes[0].contains("is no JSON object"));
    let store = Store::in_memory().unwrap();
    let options = ImportOptions::default();
    let old = folder.path().join("old");
    assert_eq!(
        plan.run(&old, &store, &options, &mut |_, _| true)
            .unwrap()
            .saved,
        1
    );
    // What is not there is not made up.
    let saved = store.resolve("NQ@1").unwrap();
    let template: NameTemplate = "{market}_{loss:.2f}.zip".parse().unwrap();
    let told = write_named(&saved, &template, folder.path(), false).unwrap_err();
    assert!(told.to_string().contains("`loss`"), "{told}");
    let back = folder.path().join("back");
    write_named(&saved, &DEFAULT_TEMPLATE.parse().unwrap(), &back, false).unwrap();
    assert!(all(&back) == all(&old));
}

#[test]
fn the_command_line_says_what_it_understood_as_json_and_what_is_wrong_with_an_option() {
    let (folder, _) = plan_of(&[("a_5_x.bin", b"five"), ("b.txt", b"text")]);
    let import = |more: &[&str]| {
        let arguments = [&["import", "old", "--json", "-n"][..], more].concat();
        ckptdb(folder.path(), &arguments)
    };
    let (code, text, _) = import(&[
        "--template",
        "{name}_{iteration:d}_x.bin",
        "--job",
        "runs/{name}",
    ]);
    assert_eq!(code, 0);
    let said: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(
        (&said["schema"], &said["dry_run"]),
        (&"ckptdb.import/1".into(), &true.into())
    );
    assert_eq!(said["checkpoints"][0]["job"], "runs/a");
    assert_eq!(
        said["checkpoints"][0]["files"],
        json!({"model.bin": "a_5_x.bin"})
    );
    assert_eq!(said["left"][0]["path"], "b.txt");
    for (more, why) in [
        (&["--template", "{a"][..], "no end"),
        (&["--metric", "loss"], "val_loss:min"),
        (&["--metric", "loss:most"], "val_loss:min"),
    ] {
        let (code, _, said) = import(more);
        assert!(code == 2 && said.contains(why), "{said}");
    }
    let (code, _, said) = ckptdb(folder.path(), &["import", "nowhere", "-n"]);
    assert!(code == 2 && said.contains("save takes files"), "{said}");
    let (code, _, said) = ckptdb(folder.path(), &["import", "old", "-s", "none.ckptdb"]);
    assert!(code == 10 && said.contains("hint"), "{said}");
}

#[test]
fn no_file_takes_the_place_of_another_and_what_looks_like_a_checkpoint_is_no_companion() {
    let (_folder, plan) = plan_of(&[
        ("rl_1000_steps.zip", b"the model"),
        ("rl_1000_steps_model.zip", b"another"),
        ("rl_1000_steps-old.zip", b"an old one"),
        ("rl_1000_steps_metadata.json", b"{}"),
        ("rl_1000_steps.metadata.json", b"{ }"),
        ("checkpoint-5/config.json", b"[5]"),
        ("checkpoint-5_config.json", b"[6]"),
        ("epoch=3-step=10.ckpt", b"one"),
        ("epoch=3-step=20-val_loss=1e-05.ckpt", b"two"),
    ]);
    let files: BTreeMap<_, _> = plan
        .checkpoints
        .iter()
        .map(|planned| {
            let files = planned.files.iter();
            let files = files.map(|(entry, path)| (entry.as_str(), path.to_str().unwrap()));
            (planned.iteration, files.collect::<BTreeMap<_, _>>())
        })
        .collect();
    assert_eq!(files[&1000]["model.zip"], "rl_1000_steps.zip");
    assert_eq!(files[&1000].len(), 2, "{files:?}");
    assert_eq!(files[&5]["config.json"], "checkpoint-5/config.json");
    assert_eq!((files[&10].len(), files[&20].len()), (1, 1));
    let left: Vec<_> = left(&plan).into_iter().map(|(path, _)| path).collect();
    assert_eq!(left.len(), 4, "{left:?}");
    for path in [
        "rl_1000_steps_model.zip",
        "rl_1000_steps-old.zip",
        "checkpoint-5_config.json",
    ] {
        assert!(left.contains(&path), "{path}: {left:?}");
    }
}

#[cfg(unix)]
#[test]
fn what_can_not_be_read_keeps_nothing_else_out() {
    let folder = TempDir::new().unwrap();
    let old = folder.path().join("old");
    write(&old.join("rl_1000_steps.zip"), "one");
    write(&old.join("checkpoint-5/weights.bin"), "five");
    for broken in ["rl_2000_steps.zip", "other.zip", "checkpoint-5/gone.bin"] {
        std::os::unix::fs::symlink("nowhere", old.join(broken)).unwrap();
    }
    std::os::unix::fs::symlink("..", old.join("checkpoint-5/up")).unwrap();
    let plan = Plan::of(&old, &ImportOptions::default()).unwrap();
    let found: Vec<u64> = plan
        .checkpoints
        .iter()
        .map(|planned| planned.iteration)
        .collect();
    let left: Vec<_> = left(&plan).into_iter().map(|(path, _)| path).collect();
    assert_eq!(found, [1000], "{left:?}");
    for path in [
        "rl_2000_steps.zip",
        "other.zip",
        "checkpoint-5",
        "checkpoint-5/up",
    ] {
        assert!(left.contains(&path), "{path}: {left:?}");
    }
}

#[test]
fn a_file_that_was_changed_is_no_file_that_is_there_and_a_tag_moves_with_its_file() {
    let folder = TempDir::new().unwrap();
    let old = folder.path().join("old");
    let store = Store::create(folder.path().join("runs.ckptdb")).unwrap();
    let options = ImportOptions::default();
    let import = || {
        let plan = Plan::of(&old, &options).unwrap();
        plan.run(&old, &store, &options, &mut |_, _| true).unwrap()
    };
    write(&old.join("rl_1000_steps.zip"), "one");
    write(&old.join("best_model.zip"), "one");
    assert_eq!(import().saved, 1);
    write(&old.join("rl_2000_steps.zip"), "two");
    write(&old.join("best_model.zip"), "two");
    let done = import();
    assert_eq!(
        (done.saved, done.already, done.left.len()),
        (1, 1, 0),
        "{done:?}"
    );
    assert_eq!(store.resolve("old@tag:best_model").unwrap().iteration, 2000);
    // As long as before, and later.
    write(&old.join("rl_1000_steps.zip"), "ONE");
    let changed = std::fs::File::options()
        .write(true)
        .open(old.join("rl_1000_steps.zip"));
    let later = std::time::SystemTime::now() + std::time::Duration::from_secs(100);
    changed.unwrap().set_modified(later).unwrap();
    let done = import();
    assert_eq!((done.already, done.left.len()), (1, 1), "{done:?}");
    assert!(done.left[0].why.contains("with other bytes"), "{done:?}");
    // Only touched, it is the same.
    write(&old.join("rl_1000_steps.zip"), "one");
    let touched = std::fs::File::options()
        .write(true)
        .open(old.join("rl_1000_steps.zip"));
    touched.unwrap().set_modified(later).unwrap();
    assert_eq!(import().already, 2);
}

#[test]
fn metadata_of_python_s_own_kind_are_read_and_odd_names_are_noted() {
    let stem = "NQ_ts-0001000_evt-best_val_reward_val-+0.100_sharpe-+1.00_seed-7";
    let metadata = br#"{"iteration": 1000, "step": 7, "val_reward": 0.1001, "sharpe": NaN,
        "": 1, "seed": 8, "metrics": {"x y~": 1.0, "acc": 0.5}}"#;
    let names = [".zip", "_metadata.json"].map(|end| format!("{stem}{end}"));
    let (folder, plan) = plan_of(&[(&names[0], b"one"), (&names[1], metadata)]);
    let [planned] = plan.checkpoints.as_slice() else {
        panic!("{plan:?}")
    };
    assert_eq!(
        planned.metrics["val_reward"].to_bits(),
        0.1001_f64.to_bits()
    );
    assert_eq!(planned.metrics["acc"].to_bits(), 0.5_f64.to_bits());
    assert_eq!(
        (&planned.attributes["seed"], planned.notes.len()),
        (&json!(8), 2)
    );
    let store = Store::in_memory().unwrap();
    let (old, options) = (folder.path().join("old"), ImportOptions::default());
    assert_eq!(
        plan.run(&old, &store, &options, &mut |_, _| true)
            .unwrap()
            .saved,
        1
    );
    // It goes out under the name that it came with.
    let back = folder.path().join("back");
    let saved = store.resolve("NQ@1000").unwrap();
    write_named(&saved, &DEFAULT_TEMPLATE.parse().unwrap(), &back, false).unwrap();
    assert!(all(&back) == all(&old));
}

#[cfg(unix)]
#[test]
fn ctrl_c_ends_an_import_between_two_checkpoints_and_the_same_again_goes_on() {
    use rustix::process::{Pid, Signal, kill_process};

    let folder = TempDir::new().unwrap();
    for iteration in 1..=400 {
        let path = format!("old/phase1_{iteration}_steps.zip");
        write(&folder.path().join(path), noise(iteration, 20_000));
    }
    let arguments = ["import", "old", "-s", "runs.ckptdb", "--create", "--json"];
    let mut program = std::process::Command::new(env!("CARGO_BIN_EXE_ckptdb"));
    let program = program.args(arguments).current_dir(folder.path());
    let program = program.stdout(std::process::Stdio::piped());
    let mut child = program.spawn().unwrap();
    let has_some = || {
        let store = Store::open(folder.path().join("runs.ckptdb")).ok()?;
        store.job("old").ok()?.latest().ok()?
    };
    while has_some().is_none() {
        assert!(child.try_wait().unwrap().is_none(), "it has ended");
        std::thread::sleep(std::time::Duration::from_millis(1));
    }
    let id = Pid::from_raw(i32::try_from(child.id()).unwrap()).unwrap();
    kill_process(id, Signal::INT).unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(130));
    let said: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let saved = said["saved"].as_u64().unwrap();
    assert!(
        said["stopped"] == true && (1..400).contains(&saved),
        "{saved}"
    );
    let (code, said, _) = ckptdb(folder.path(), &arguments);
    assert_eq!(code, 0);
    let said: serde_json::Value = serde_json::from_str(&said).unwrap();
    assert_eq!(said["already"].as_u64().unwrap(), saved);
    assert_eq!(said["saved"].as_u64().unwrap(), 400 - saved);
    assert_eq!(said["stopped"], false);
}

#[test]
fn an_export_in_which_two_would_be_one_file_writes_none() {
    let folder = TempDir::new().unwrap();
    let store = Store::create(folder.path().join("runs.ckptdb")).unwrap();
    for job in ["a", "b"] {
        store
            .job(job)
            .unwrap()
            .save(1)
            .bytes("model.bin", job.as_bytes())
            .commit()
            .unwrap();
    }
    drop(store);
    let export = |template: &str| {
        let path = [
            "-s",
            "runs.ckptdb",
            "-o",
            "out",
            "--force",
            "--template",
            template,
        ];
        ckptdb(
            folder.path(),
            &[&["export", "*", "--all"][..], &path].concat(),
        )
    };
    let (code, _, said) = export("m_{iteration}.bin");
    assert!(code == 1 && said.contains("would be one file"), "{said}");
    assert!(!folder.path().join("out").exists());
    let (code, _, said) = export("{job}_{iteration}.bin");
    assert_eq!(code, 0, "{said}");
    assert_eq!(all(&folder.path().join("out")).len(), 2);
}

#[test]
fn nothing_that_is_written_takes_the_place_of_the_store_or_of_another_program_s_file() {
    let folder = TempDir::new().unwrap();
    let store = Store::create(folder.path().join("runs.ckptdb")).unwrap();
    let save = store.job("a").unwrap().save(1);
    save.bytes("model.bin", b"a").commit().unwrap();
    let save = store.job("copy").unwrap().save(1);
    save.bytes("runs.ckptdb", b"not a store").commit().unwrap();
    drop(store);
    for arguments in [
        &["report", "-o", "runs.ckptdb", "--force"][..],
        &[
            "export",
            "a@1",
            "--entry",
            "model.bin",
            "-o",
            "runs.ckptdb",
            "--force",
        ],
    ] {
        let (code, _, said) = ckptdb(folder.path(), &[arguments, &["-s", "runs.ckptdb"]].concat());
        assert!(code == 2 && said.contains("is the store"), "{said}");
    }
    // An entry may be called as the store is called, and so may a file by a template.
    let whole = [
        "export",
        "copy@1",
        "-o",
        ".",
        "--force",
        "-s",
        "runs.ckptdb",
    ];
    let (code, _, said) = ckptdb(folder.path(), &whole);
    assert!(code == 2 && said.contains("is the store"), "{said}");
    let renamed = ckptdb(
        folder.path(),
        &["jobs", "rename", "a", "runs", "-s", "runs.ckptdb"],
    );
    assert_eq!(renamed.0, 0);
    let named = ["export", "runs@1", "--template", "{job}.ckptdb"];
    let to = ["-o", ".", "--force", "-s", "runs.ckptdb"];
    let (code, _, said) = ckptdb(folder.path(), &[&named[..], &to].concat());
    assert!(code == 2 && said.contains("is the store"), "{said}");
    std::fs::write(folder.path().join("mine.html"), "mine").unwrap();
    let report = ["report", "-o", "mine.html", "-s", "runs.ckptdb"];
    let (code, _, said) = ckptdb(folder.path(), &report);
    assert!(code == 1 && said.contains("--force"), "{said}");
    assert_eq!(
        ckptdb(folder.path(), &[&report[..], &["--force"]].concat()).0,
        0
    );
    assert_eq!(ckptdb(folder.path(), &report).0, 0, "a report is replaced");
}
