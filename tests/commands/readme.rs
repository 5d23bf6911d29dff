//! The commands of README.md can be typed as they stand there.

use ckptdb::{DType, TensorSlice};
use tempfile::TempDir;

use crate::support::{ckptdb, noise, walk};

const README: &str = include_str!("../../README.md");

/// The commands of its console blocks that are ckptdb's, a line each.
fn commands() -> Vec<String> {
    let blocks = README.split("```console\n").skip(1);
    let blocks = blocks.map(|block| block.split("```").next().unwrap().replace("\\\n", " "));
    let lines: Vec<String> = blocks
        .flat_map(|block| block.lines().map(str::to_owned).collect::<Vec<_>>())
        .collect();
    let own = lines.iter().filter_map(|line| line.strip_prefix("ckptdb "));
    own.map(str::to_owned).collect()
}

#[test]
fn every_command_of_the_readme_does_what_it_says() {
    let folder = TempDir::new().unwrap();
    for (name, seed) in [("model", 1), ("optimizer", 2)] {
        let bytes = walk(seed, 1, 5000);
        let tensor = TensorSlice::new(DType::F32, &[bytes.len() / 4], &bytes).unwrap();
        let file = folder.path().join(format!("{name}.safetensors"));
        safetensors::serialize_to_file([("weight", tensor)], None, &file).unwrap();
    }
    std::fs::write(folder.path().join("config.json"), "{\"lr\": 0.001}").unwrap();
    std::fs::create_dir(folder.path().join("old")).unwrap();
    let old = folder.path().join("old/rl_model_1000_steps.zip");
    std::fs::write(old, noise(3, 5000)).unwrap();
    let commands = commands();
    assert!(commands.len() >= 9, "{commands:?}");
    for command in &commands {
        let mut words: Vec<&str> = command.split_whitespace().collect();
        // Somebody looks on until he has seen enough.
        if words[0] == "watch" {
            words.extend(["--times", "1"]);
        }
        let (code, stdout, stderr) = ckptdb(folder.path(), &words);
        assert_eq!(code, 0, "{command}: {stderr}");
        assert!(!stdout.is_empty(), "{command}");
    }
    let best = std::fs::read(folder.path().join("best.safetensors")).unwrap();
    let tensors = safetensors::SafeTensors::deserialize(&best).unwrap();
    let weight = tensors.tensor("model/weight").unwrap();
    assert_eq!(weight.data(), walk(1, 1, 5000));
    assert!(folder.path().join("report.html").exists());
}
