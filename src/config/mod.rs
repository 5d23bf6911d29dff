//! Configuration: `ckptdb.toml`, or `[tool.ckptdb]` of a `pyproject.toml`.
//!
//! Pure: texts go in, settings with their origins come out. Who reads files and the environment
//! is the caller. A key is looked for in this order: what the code set, the environment, the
//! sections for jobs by name pattern (of several the last that matches), the file's own tables,
//! the default.

mod keys;
mod layers;
mod parse;
mod units;
mod value;

pub use keys::{KEYS, Key};
pub use layers::{Config, Origin, Setting, Settings};
pub use units::{duration, size};
pub use value::{Kind, MinFreeValue, Value};
