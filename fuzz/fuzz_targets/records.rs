//! Hands libFuzzer's bytes to the check of the same name.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| checks::records::check(bytes));
