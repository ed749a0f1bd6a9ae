#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| cow_fuzz::run("layer", bytes));
