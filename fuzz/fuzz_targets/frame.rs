//! Frames from anybody: `cargo +nightly fuzz run frame -- -max_total_time=60`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| connectivity_core::fuzzing::frame(bytes));
