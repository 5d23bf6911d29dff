//! Operations on a failing disk.
#![cfg_attr(fuzzing, no_main)]

#[cfg(fuzzing)]
libfuzzer_sys::fuzz_target!(|data: &[u8]| ckptdb_fuzz::ops_iofault(data));

#[cfg(not(fuzzing))]
fn main() {}
