//! Shared code of the integration tests and of the programs that they start.
#![allow(
    missing_debug_implementations,
    missing_docs,
    clippy::exhaustive_enums,
    clippy::must_use_candidate,
    clippy::new_without_default,
    clippy::unwrap_used,
    reason = "tests have no users, and a failed unwrap is a failed test"
)]

pub mod certificates;
pub mod shop;
pub mod wires;
