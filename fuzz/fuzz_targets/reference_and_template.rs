//! References, names, exports.
#![cfg_attr(fuzzing, no_main)]

#[cfg(fuzzing)]
libfuzzer_sys::fuzz_target!(|data: &[u8]| ckptdb_fuzz::reference_and_template(data));

#[cfg(not(fuzzing))]
fn main() {}
