//! A shop: orders come in over HTTP and are paid.
#![allow(missing_docs, clippy::exhaustive_enums, clippy::exhaustive_structs, reason = "a sample")]

pub mod billing;
pub mod web;
