//! The names that programs give their checkpoints, and what they mean.

use std::collections::BTreeMap;
use std::path::Path;
use std::str::FromStr;

use super::super::template::{Field, ITERATION, NameTemplate};
use super::DEFAULT_TEMPLATE;
use crate::error::Result;

/// Names of checkpoints, and of the files that belong to them.
#[derive(Clone, Debug)]
pub(super) struct Layout {
    pub(super) main: NameTemplate,
    /// Files beside it that do not begin with its name, and the entries that they become.
    companions: Vec<(&'static str, NameTemplate)>,
}

/// Lightning's: pairs of names and values, `epoch=3-step=1000-val_loss=0.31.ckpt`.
const LIGHTNING: &str = ".ckpt";

/// Those that are known, after the caller's.
///
/// # Errors
/// None that a test does not meet: they are all written here.
pub(super) fn layouts(own: &[NameTemplate]) -> Result<Vec<Layout>> {
    let plain = |main: NameTemplate| Layout {
        main,
        companions: Vec::new(),
    };
    let mut all: Vec<Layout> = own.iter().cloned().map(plain).collect();
    all.push(plain(NameTemplate::from_str(DEFAULT_TEMPLATE)?));
    all.push(plain("phase{phase:d}_{iteration:d}_steps.zip".parse()?));
    // Stable-Baselines3's CheckpointCallback.
    all.push(Layout {
        main: "{prefix}_{iteration:d}_steps.zip".parse()?,
        companions: vec![
            (
                "vecnormalize.pkl",
                "{prefix}_vecnormalize_{iteration:d}_steps.pkl".parse()?,
            ),
            (
                "replay_buffer.pkl",
                "{prefix}_replay_buffer_{iteration:d}_steps.pkl".parse()?,
            ),
        ],
    });
    // Hugging Face's Trainer.
    all.push(plain("checkpoint-{iteration:d}/".parse()?));
    Ok(all)
}

impl Layout {
    /// What a path of a file, or of a folder, says by this layout.
    fn read(&self, path: &Path, is_folder: bool) -> Option<BTreeMap<String, Field>> {
        if self.main.is_folder() != is_folder {
            return None;
        }
        let mut name = tail(path, self.main.components())?;
        if is_folder {
            name.push('/');
        }
        self.main.read(&name)
    }

    /// The entry that a file is, and the name of its checkpoint without the extension, if its own
    /// name says so.
    pub(super) fn companion(&self, name: &str) -> Option<(&'static str, String)> {
        self.companions.iter().find_map(|(entry, template)| {
            let fields = template.read(name)?;
            let main = self.main.write(&|field| fields.get(field).cloned()).ok()?;
            let stem = Path::new(&main).file_stem()?.to_str()?;
            Some((*entry, stem.to_owned()))
        })
    }
}

/// The last so many parts of a path.
fn tail(path: &Path, count: usize) -> Option<String> {
    let parts: Vec<&str> = path.iter().filter_map(|part| part.to_str()).collect();
    let from = parts.len().checked_sub(count)?;
    Some(parts.get(from..)?.join("/"))
}

/// What a path says by the first layout that fits.
pub(super) fn named(
    layouts: &[Layout],
    path: &Path,
    is_folder: bool,
) -> Option<BTreeMap<String, Field>> {
    let fitting = layouts
        .iter()
        .find_map(|layout| layout.read(path, is_folder));
    let by_pairs = || lightning(path.file_name()?.to_str()?);
    fitting.or_else(|| if is_folder { None } else { by_pairs() })
}

fn is_version(part: &str) -> bool {
    part.strip_prefix('v')
        .is_some_and(|number| number.parse::<u32>().is_ok())
}

/// What a name of Lightning's says; `step` is the iteration.
fn lightning(name: &str) -> Option<BTreeMap<String, Field>> {
    let stem = name.strip_suffix(LIGHTNING)?;
    let mut fields = BTreeMap::new();
    let mut last: Option<String> = None;
    for part in stem.split('-') {
        match (part.split_once('='), &last) {
            (Some((name, value)), _) if !name.is_empty() => {
                fields.insert(name.to_owned(), value.to_owned());
                last = Some(name.to_owned());
            }
            // A negative number or exponent, which begins with what parts the pairs.
            (None, Some(name))
                if fields
                    .get(name)
                    .is_some_and(|text| text.is_empty() || text.ends_with('e')) =>
            {
                let number = fields.remove(name).unwrap_or_default();
                fields.insert(name.clone(), format!("{number}-{part}"));
            }
            // A second file of the same name has a version.
            (None, Some(_)) if is_version(part) => {}
            _ => return None,
        }
    }
    let step = fields.remove("step")?.parse().ok()?;
    let mut read = BTreeMap::from([(ITERATION.to_owned(), Field::Integer(step))]);
    for (name, value) in fields {
        let value = match (value.parse(), value.parse()) {
            (Ok(number), _) if name == "epoch" => Field::Integer(number),
            (_, Ok(number)) => Field::Float(number),
            _ => Field::Text(value),
        };
        read.insert(name, value);
    }
    Some(read)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(path: &str, is_folder: bool) -> Option<BTreeMap<String, Field>> {
        named(&layouts(&[]).unwrap(), Path::new(path), is_folder)
    }

    #[test]
    fn the_names_of_usual_programs_are_read() {
        let phase = read("run/phase2_50000_steps.zip", false).unwrap();
        assert_eq!(
            (&phase["phase"], &phase["iteration"]),
            (&Field::Integer(2), &Field::Integer(50_000))
        );
        let sb3 = read("rl_model_1000_steps.zip", false).unwrap();
        assert_eq!(sb3["prefix"], Field::Text("rl_model".to_owned()));
        assert_eq!(
            read("out/checkpoint-500", true).unwrap()["iteration"],
            Field::Integer(500)
        );
        let lightning = read("epoch=3-step=1000-val_loss=-0.31-v1.ckpt", false).unwrap();
        assert_eq!(lightning["epoch"], Field::Integer(3));
        assert_eq!(lightning["iteration"], Field::Integer(1000));
        assert_eq!(lightning["val_loss"], Field::Float(-0.31));
        let small = read("epoch=3-step=1000-val_loss=1e-05.ckpt", false).unwrap();
        assert_eq!(small["val_loss"], Field::Float(1e-5));
        assert!(read("step=10-val-loss=0.3.ckpt", false).is_none());
    }

    #[test]
    fn what_has_no_iteration_is_not_read() {
        for name in [
            "best_model.zip",
            "last.ckpt",
            "epoch=3.ckpt",
            "epoch=3-step=x.ckpt",
            "notes.txt",
            "checkpoint-500",
        ] {
            assert!(read(name, false).is_none(), "{name}");
        }
        assert!(read("checkpoint-best", true).is_none());
    }

    #[test]
    fn a_companion_belongs_to_the_checkpoint_of_its_iteration() {
        let layouts = layouts(&[]).unwrap();
        let companion = |name: &str| layouts.iter().find_map(|layout| layout.companion(name));
        let of_steps = |entry| Some((entry, "rl_model_1000_steps".to_owned()));
        assert_eq!(
            companion("rl_model_vecnormalize_1000_steps.pkl"),
            of_steps("vecnormalize.pkl")
        );
        assert_eq!(
            companion("rl_model_replay_buffer_1000_steps.pkl"),
            of_steps("replay_buffer.pkl")
        );
        assert_eq!(companion("rl_model_1000_steps.pkl"), None);
    }
}
