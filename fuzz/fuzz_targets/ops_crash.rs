//! Operations and power failures.
#![cfg_attr(fuzzing, no_main)]

#[cfg(fuzzing)]
libfuzzer_sys::fuzz_target!(|data: &[u8]| ckptdb_fuzz::ops_crash(data));

#[cfg(not(fuzzing))]
fn main() {}
