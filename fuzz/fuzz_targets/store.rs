//! Hands libFuzzer's bytes to the check of the same name. A panic of redb that the lock server catches is none here.

#![no_main]

libfuzzer_sys::fuzz_target!(init: std::panic::set_hook(Box::new(|_| {})), |bytes: &[u8]| checks::store::check(bytes));
