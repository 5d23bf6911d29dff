//! Files that others read and write: safetensors, NumPy's archives, folders, checkpoints of other
//! programs.

mod copying;
mod folder;
mod import;
mod named;
#[cfg(feature = "npz")]
mod npz;
mod safetensors;
mod template;

pub use folder::{add_path, folder_files, write_bytes, write_entry, write_folder};
pub use import::{
    DEFAULT_TEMPLATE, IMPORTED_FROM, ImportOptions, Imported, LeftAlone, MODIFIED_AT, Plan, Planned,
};
pub use named::{named_files, write_files, write_named};
#[cfg(feature = "npz")]
pub use npz::write_npz;
pub use safetensors::{SafetensorsFile, write_safetensors};
pub use template::{Field, NameTemplate};

/// Name of the document that holds a safetensors file's free-form map.
pub const METADATA_ENTRY: &str = "__metadata__";

/// Name of the entry, before its extension, that an imported checkpoint's own file becomes.
pub const MODEL_ENTRY: &str = "model";

/// What an export wrote.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Exported {
    /// Tensors written.
    pub tensors: u64,
    /// Documents and files written.
    pub files: u64,
    /// Bytes of the entries written.
    pub bytes: u64,
    /// Selected entries that the target can't hold.
    pub skipped: Vec<String>,
}
