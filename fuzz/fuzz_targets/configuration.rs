//! Any text as a configuration.
#![cfg_attr(fuzzing, no_main)]

#[cfg(fuzzing)]
libfuzzer_sys::fuzz_target!(|data: &[u8]| ckptdb_fuzz::configuration(data));

#[cfg(not(fuzzing))]
fn main() {}
