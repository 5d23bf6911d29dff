//! Records, nodes and index keys.
#![cfg_attr(fuzzing, no_main)]

#[cfg(fuzzing)]
libfuzzer_sys::fuzz_target!(|data: &[u8]| ckptdb_fuzz::record_decode(data));

#[cfg(not(fuzzing))]
fn main() {}
