//! Rebuilding a store from any bytes.
#![cfg_attr(fuzzing, no_main)]

#[cfg(fuzzing)]
libfuzzer_sys::fuzz_target!(|data: &[u8]| ckptdb_fuzz::salvage(data));

#[cfg(not(fuzzing))]
fn main() {}
