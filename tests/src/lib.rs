//! What the integration tests and the program they start have in common.
#![allow(
    missing_docs,
    clippy::exhaustive_enums,
    clippy::must_use_candidate,
    clippy::unwrap_used,
    reason = "tests have no users, and a failed unwrap is a failed test"
)]

pub mod shop;
