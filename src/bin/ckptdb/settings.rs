//! The configuration that applies here: the file, then the environment.

use std::env;
use std::path::{Path, PathBuf};

use ckptdb::config::Config;

use crate::failure::{Exit, Failure};

const FILE: &str = "ckptdb.toml";
const PYPROJECT: &str = "pyproject.toml";

/// The configuration of the nearest folder from here upward that has one; where there is none, the
/// defaults. The environment goes before it.
pub(crate) fn load() -> Result<Config, Failure> {
    let config = match find(&env::current_dir()?) {
        Some(path) => read(&path)?,
        None => Config::default(),
    };
    let variables = env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)));
    Ok(config.with_environment(variables)?)
}

fn find(start: &Path) -> Option<PathBuf> {
    start.ancestors().find_map(|folder| {
        let own = folder.join(FILE);
        if own.is_file() {
            return Some(own);
        }
        let python = folder.join(PYPROJECT);
        python.is_file().then_some(python)
    })
}

fn read(path: &Path) -> Result<Config, Failure> {
    let text = std::fs::read_to_string(path).map_err(|error| {
        let message = format!("`{}` can't be read: {error}", path.display());
        Failure::new(Exit::Failed, message)
    })?;
    let name = path.display().to_string();
    let is_pyproject = path.file_name().is_some_and(|name| name == PYPROJECT);
    Ok(if is_pyproject {
        Config::parse_pyproject(&text, &name)?
    } else {
        Config::parse(&text, &name)?
    })
}
