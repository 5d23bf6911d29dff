//! What the fuzz targets do with an input, as plain functions: `fuzz_targets/` hands them what the
//! fuzzer makes up, `tests/replay.rs` the committed corpora. Each panics when the store does what
//! it may never do.

mod chunk_decode;
mod configuration;
mod deletion;
mod edits;
mod envelope;
mod open_any_bytes;
mod ops;
mod random;
mod record_decode;
mod reference_and_template;
mod retention;
mod safetensors_import;
mod salvage;
pub mod seeds;
mod victim;
mod watch;

// The simulated disk, the model and the oracle of the tests: one truth for both.
#[path = "../../tests/simulate/crash.rs"]
#[expect(dead_code, reason = "the tests' own walk through all states")]
mod crash;
#[path = "../../tests/simulate/disk.rs"]
mod disk;
#[path = "../../tests/simulate/fault.rs"]
mod fault;
#[path = "../../tests/simulate/image.rs"]
mod image;
#[path = "../../tests/simulate/iofaults.rs"]
#[expect(dead_code, reason = "the tests' own walk through all faults")]
mod iofaults;
#[path = "../../tests/simulate/model.rs"]
mod model;
#[path = "../../tests/simulate/op.rs"]
mod op;
#[path = "../../tests/simulate/oracle.rs"]
mod oracle;
#[path = "../../tests/simulate/quiet.rs"]
mod quiet;
#[path = "../../tests/simulate/run.rs"]
#[expect(dead_code, reason = "the tests' own work, by seeds")]
mod run;
#[path = "../../tests/simulate/states.rs"]
mod states;
#[path = "../../tests/simulate/tally.rs"]
#[expect(dead_code, reason = "the tests' own tables")]
mod tally;
#[path = "../../tests/simulate/work.rs"]
mod work;

/// A body, fit for the fuzzer and for the replay.
type Body = fn(&[u8]);

/// All targets by name.
pub const TARGETS: [(&str, Body); 11] = [
    ("chunk_decode", chunk_decode),
    ("configuration", configuration),
    ("deletion", deletion),
    ("open_any_bytes", open_any_bytes),
    ("ops_crash", ops_crash),
    ("ops_iofault", ops_iofault),
    ("record_decode", record_decode),
    ("reference_and_template", reference_and_template),
    ("retention", retention),
    ("safetensors_import", safetensors_import),
    ("salvage", salvage),
];

/// Decodes chunk rows, extents and stored chunks.
pub fn chunk_decode(data: &[u8]) {
    watch::watched(|| chunk_decode::chunk_decode(data));
}

/// Reads any text as a configuration.
pub fn configuration(data: &[u8]) {
    watch::watched(|| configuration::configuration(data));
}

/// Deletes, takes back and reclaims beside a model.
pub fn deletion(data: &[u8]) {
    watch::watched(|| deletion::deletion(data));
}

/// Opens any file, or a store with edits.
pub fn open_any_bytes(data: &[u8]) {
    watch::watched(|| open_any_bytes::open_any_bytes(data));
}

/// Lets the power fail during operations.
pub fn ops_crash(data: &[u8]) {
    watch::watched(|| ops::crash(data));
}

/// Lets calls of the disk fail during operations.
pub fn ops_iofault(data: &[u8]) {
    watch::watched(|| ops::iofault(data));
}

/// Decodes records, nodes and index keys.
pub fn record_decode(data: &[u8]) {
    watch::watched(|| record_decode::record_decode(data));
}

/// Parses references, and exports entries with any names.
pub fn reference_and_template(data: &[u8]) {
    watch::watched(|| reference_and_template::reference_and_template(data));
}

/// Plans retention over any history.
pub fn retention(data: &[u8]) {
    watch::watched(|| retention::retention(data));
}

/// Imports a safetensors file and exports it again.
pub fn safetensors_import(data: &[u8]) {
    watch::watched(|| safetensors_import::safetensors_import(data));
}

/// Rebuilds a store from a damaged one.
pub fn salvage(data: &[u8]) {
    watch::watched(|| salvage::salvage(data));
}
