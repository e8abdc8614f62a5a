//! One binary for all integration tests: they share the contracts and build once.
#![allow(missing_docs, reason = "tests")]

mod shop;

mod calls;
mod reload;
