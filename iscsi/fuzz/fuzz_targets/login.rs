#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| iscsi_fuzz::run("login", bytes));
