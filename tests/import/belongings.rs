//! What belongs to which checkpoint: copies, archives that know their steps, statistics, dates.

use std::collections::BTreeMap;

use ckptdb::Store;
use ckptdb::interop::{ImportOptions, Plan};
use serde_json::json;

use super::archive::zip;
use super::{left, plan_of};

/// The same archive, saved at another time.
fn redated(archive: &[u8]) -> Vec<u8> {
    let mut later = archive.to_vec();
    for at in 0..archive.len() {
        for (signature, date) in [(b"PK\x03\x04", 12), (b"PK\x01\x02", 14)] {
            if archive[at..].starts_with(signature) {
                later[at + date] += 1;
            }
        }
    }
    assert!(later != archive);
    later
}

/// Two callbacks of Stable-Baselines3 save at one step, some seconds apart: the archives differ in
/// their dates. The one whose name says the step was the one that was left alone, and its
/// statistics with it.
#[test]
fn archives_of_the_same_members_are_one_checkpoint_and_a_name_with_an_iteration_goes_first() {
    let settings = json!({"num_timesteps": 100, "max_grad_norm": 0.5}).to_string();
    let one = zip(&[("data", settings.as_bytes()), ("policy.pth", b"weights")]);
    let other = zip(&[("data", settings.as_bytes()), ("policy.pth", b"weightz")]);
    let (_folder, plan) = plan_of(&[
        ("rl_model_100_steps.zip", &one),
        ("rl_model_vecnormalize_100_steps.pkl", b"statistics"),
        ("best_model.zip", &redated(&one)),
        ("best_model_vecnormalize.pkl", b"statistics"),
    ]);
    assert_eq!(left(&plan), []);
    let [planned] = plan.checkpoints.as_slice() else {
        panic!("{plan:?}")
    };
    assert_eq!(planned.tags, ["best_model"]);
    assert_eq!(planned.path.to_str(), Some("rl_model_100_steps.zip"));
    let entries: Vec<&str> = planned.files.keys().map(String::as_str).collect();
    assert_eq!(entries, ["model.zip", "vecnormalize.pkl"]);
    // One byte of a member makes another checkpoint of it, which is left with what belongs to it.
    let (_folder, plan) = plan_of(&[
        ("rl_model_100_steps.zip", &one),
        ("best_model.zip", &other),
        ("best_model_vecnormalize.pkl", b"statistics"),
    ]);
    let paths: Vec<_> = left(&plan).into_iter().map(|(path, _)| path).collect();
    assert_eq!(paths, ["best_model.zip", "best_model_vecnormalize.pkl"]);
    assert_eq!(
        plan.checkpoints[0].path.to_str(),
        Some("rl_model_100_steps.zip")
    );
}

/// The best of an agent lost its normaliser: what belongs to files without an iteration was looked
/// for before these were known.
#[test]
fn an_archive_that_knows_its_steps_has_its_statistics_however_its_settings_are_written() {
    let settings = r#"{"num_timesteps": 2500, "max_grad_norm": Infinity}"#;
    let own = zip(&[("data", settings.as_bytes()), ("policy.pth", b"weights")]);
    let (_folder, plan) = plan_of(&[
        ("best_model.zip", &own),
        ("best_model_vecnormalize.pkl", b"statistics"),
        (
            "best_model_metadata.json",
            br#"{"timestep": 2500, "metrics": {"loss": 15.396469791847807}}"#,
        ),
    ]);
    assert_eq!(left(&plan), []);
    let planned = &plan.checkpoints[0];
    assert_eq!((planned.iteration, planned.files.len()), (2500, 3));
    assert_eq!(planned.metrics["loss"].to_string(), "15.396469791847807");
    assert!(planned.attributes.contains_key("modified_at_ms"));
}

#[test]
fn an_archive_whose_name_ends_in_a_number_needs_no_extension() {
    let name = "NQ_ts-0000040_evt-periodic_val-+0.500_sharpe-+1.25_seed-7";
    let own = zip(&[("data", b"{}"), ("policy.pth", b"weights")]);
    let statistics = format!("{name}_vecnormalize.pkl");
    let other = "NQ_ts-0000041_evt-periodic_val-+0.500_sharpe-+1.25_seed-7";
    let (_folder, plan) = plan_of(&[(name, &own), (&statistics, b"s"), (other, b"no archive")]);
    assert_eq!(left(&plan), [(other, "no template fits its name")]);
    let planned = &plan.checkpoints[0];
    assert_eq!(
        (planned.iteration, planned.metrics["sharpe_ratio"]),
        (40, 1.25)
    );
    let entries: Vec<&str> = planned.files.keys().map(String::as_str).collect();
    assert_eq!(entries, ["model", "vecnormalize.pkl"]);
}

#[test]
fn an_imported_checkpoint_is_as_old_as_its_file() {
    let (folder, plan) = plan_of(&[
        ("rl_model_100_steps.zip", b"one"),
        ("rl_model_200_steps.zip", b"two"),
    ]);
    let old = folder.path().join("old");
    let time = std::time::SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(1_700_000_000);
    let file = std::fs::File::options()
        .write(true)
        .open(old.join("rl_model_100_steps.zip"));
    file.unwrap().set_modified(time).unwrap();
    let from_the_future = std::time::SystemTime::now() + std::time::Duration::from_hours(250);
    let file = std::fs::File::options()
        .write(true)
        .open(old.join("rl_model_200_steps.zip"));
    file.unwrap().set_modified(from_the_future).unwrap();
    drop(plan);
    let plan = Plan::of(&old, &ImportOptions::default()).unwrap();
    let store = Store::in_memory().unwrap();
    plan.run(&old, &store, &ImportOptions::default(), &mut |_, _| true)
        .unwrap();
    let job = store.job("old").unwrap();
    let saved_at = |iteration| job.at(iteration).unwrap().unwrap().saved_at.as_millis();
    assert_eq!(saved_at(100), 1_700_000_000_000);
    let now = std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap();
    assert!(saved_at(200) <= i64::try_from(now.as_millis()).unwrap());
    assert!(store.resolve("-30d").unwrap().iteration == 100);
    assert!(
        store
            .verify(ckptdb::VerifyDepth::Full)
            .unwrap()
            .damage
            .is_empty()
    );
}

/// A link that leads nowhere kept every archive without a number out, and was told of as theirs.
#[cfg(unix)]
#[test]
fn a_link_that_leads_nowhere_keeps_nothing_else_out() {
    let settings = json!({"num_timesteps": 2500}).to_string();
    let own = zip(&[("data", settings.as_bytes()), ("policy.pth", b"weights")]);
    let (folder, _) = plan_of(&[
        ("best_model.zip", &own),
        ("rl_500_steps.zip", b"one"),
        ("checkpoint-500/model.bin", b"another"),
        ("._rl_1000_steps.zip", b"what macOS leaves"),
        ("rl_1000_steps.zip", b"two"),
    ]);
    let old = folder.path().join("old");
    std::os::unix::fs::symlink("nowhere", old.join("dangling_5_steps.zip")).unwrap();
    let plan = Plan::of(&old, &ImportOptions::default()).unwrap();
    let found: Vec<_> = plan.checkpoints.iter().map(|one| one.iteration).collect();
    assert_eq!(found, [500, 1000, 2500]);
    assert_eq!(plan.checkpoints[2].tags, ["best_model"]);
    let left: BTreeMap<_, _> = left(&plan).into_iter().collect();
    assert_eq!(left.len(), 3, "{left:?}");
    assert!(
        left["dangling_5_steps.zip"].contains("dangling_5_steps.zip"),
        "{left:?}"
    );
    assert_eq!(left["._rl_1000_steps.zip"], "it is hidden");
    assert!(
        left["rl_500_steps.zip"].contains("is checkpoint-500 already"),
        "{left:?}"
    );
}

/// Of two copies, the one without statistics came first, and those of the other were left.
#[test]
fn what_belongs_to_one_of_two_copies_belongs_to_the_checkpoint() {
    let stem = |event: &str| format!("NQ_ts-0000007_evt-{event}_val-+0.100_sharpe-+1.00_seed-7");
    let (best, periodic) = (stem("best"), stem("periodic"));
    let (_folder, plan) = plan_of(&[
        (&format!("{best}.zip"), b"same"),
        (&format!("{best}_notes.txt"), b"notes"),
        (&format!("{periodic}.zip"), b"same"),
        (&format!("{periodic}_vecnormalize.pkl"), b"statistics"),
        (
            &format!("{periodic}_metadata.json"),
            br#"{"val_reward": 0.10001}"#,
        ),
    ]);
    assert_eq!(left(&plan), []);
    let planned = &plan.checkpoints[0];
    let entries: Vec<&str> = planned.files.keys().map(String::as_str).collect();
    assert_eq!(
        entries,
        [
            "metadata.json",
            "model.zip",
            "notes.txt",
            "vecnormalize.pkl"
        ]
    );
    assert_eq!(planned.bytes, 4 + 5 + 10 + 23);
    assert_eq!(planned.metrics["val_reward"].to_string(), "0.10001");
    // What belongs to one that is left is left with it, and so is its copy.
    let (_folder, plan) = plan_of(&[
        (&format!("{best}.zip"), b"same"),
        (&format!("{best}_metadata.json"), br#"{"timestep": 8}"#),
        (&format!("{best}_vecnormalize.pkl"), b"statistics"),
        ("best_model.zip", b"same"),
    ]);
    assert!(plan.checkpoints.is_empty());
    assert_eq!(plan.left.len(), 4, "{:?}", plan.left);
}

#[test]
fn a_number_that_is_none_in_the_metadata_is_that_of_the_name() {
    let stem = "NQ_ts-0000007_evt-best_val-+0.100_sharpe-+1.00_seed-7";
    let (_folder, plan) = plan_of(&[
        (&format!("{stem}.zip"), b"same"),
        (
            &format!("{stem}_metadata.json"),
            br#"{"val_reward": NaN, "metrics": {"loss": NaN}}"#,
        ),
    ]);
    let planned = &plan.checkpoints[0];
    assert_eq!(planned.metrics["val_reward"].to_string(), "0.1");
    assert!(planned.metrics["loss"].is_nan());
    assert_eq!(planned.notes, ["`val_reward` is NaN in its metadata"]);
}

#[test]
fn a_look_at_a_folder_ends_when_it_is_to() {
    let (folder, _) = plan_of(&[("rl_500_steps.zip", b"one")]);
    let options = ImportOptions::default();
    options.monitor.cancel();
    let ended = Plan::of(&folder.path().join("old"), &options);
    assert!(
        matches!(ended, Err(ckptdb::Error::Cancelled { .. })),
        "{ended:?}"
    );
}

/// The years between a file and its import are not lost by a process that vanishes after it.
#[test]
fn time_is_not_lost_since_the_date_of_a_file() {
    let store = Store::in_memory().unwrap();
    let job = store.job("NQ").unwrap();
    let save = job.save(100).bytes("policy", b"weights");
    save.saved_at(ckptdb::Timestamp::from_millis(0))
        .commit()
        .unwrap();
    let options = || ckptdb::session::SessionOptions {
        signals: false,
        ..Default::default()
    };
    std::mem::forget(job.session(options()).unwrap());
    drop(job.session(options()).unwrap());
    let sessions = job.sessions().unwrap();
    assert_eq!((sessions.vanished, sessions.resumed), (1, 2));
    assert!(
        sessions.lost_time < std::time::Duration::from_hours(1),
        "{sessions:?}"
    );
}
