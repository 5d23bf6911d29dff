//! Chunk rows, extents and codecs.
#![cfg_attr(fuzzing, no_main)]

#[cfg(fuzzing)]
libfuzzer_sys::fuzz_target!(|data: &[u8]| ckptdb_fuzz::chunk_decode(data));

#[cfg(not(fuzzing))]
fn main() {}
