//! One binary for all integration tests: they share the contracts and build once.
#![allow(missing_docs, unreachable_pub, reason = "tests have no users")]

mod shop;

mod calls;
mod contract;
mod http;
mod reload;
