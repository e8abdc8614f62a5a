//! Frames from anybody: `cargo +nightly fuzz run frame fuzz/corpus/frame fuzz/seeds/frame`. What it
//! finds goes to the first folder; the second holds a seed of each kind of frame.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| connectivity_core::fuzzing::frame(bytes));
