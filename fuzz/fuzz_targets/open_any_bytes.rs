//! Opening any bytes.
#![cfg_attr(fuzzing, no_main)]

#[cfg(fuzzing)]
libfuzzer_sys::fuzz_target!(|data: &[u8]| ckptdb_fuzz::open_any_bytes(data));

#[cfg(not(fuzzing))]
fn main() {}
