//! A shop: orders come in over HTTP, are checked out, and paid.
#![allow(missing_docs, clippy::exhaustive_enums, clippy::exhaustive_structs, reason = "a sample")]

pub mod billing;
pub mod checkout;
pub mod web;
