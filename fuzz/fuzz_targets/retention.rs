//! Retention over any history.
#![cfg_attr(fuzzing, no_main)]

#[cfg(fuzzing)]
libfuzzer_sys::fuzz_target!(|data: &[u8]| ckptdb_fuzz::retention(data));

#[cfg(not(fuzzing))]
fn main() {}
