//! All integration tests in one binary: they share the contracts and compile once.
#![allow(
    missing_docs,
    unreachable_pub,
    clippy::unwrap_used,
    reason = "tests have no users, and a failed unwrap is a failed test"
)]

mod admin;
mod async_traits;
mod bounds;
mod calls;
mod causes;
mod certificates;
mod connections;
mod contract;
mod dbsync;
mod embed;
mod existing_types;
mod eyeballs;
mod faults;
mod frames;
mod from_go;
mod guard;
mod handshakes;
mod http;
mod http_limits;
mod https;
mod isolation;
mod layers;
mod listeners;
mod mcp_client;
mod mcp_server;
mod opaque_errors;
mod policies;
mod processes;
mod quic;
mod reentry;
mod registering;
mod reload;
mod repetition;
mod rooms;
mod secrets;
mod sizes;
mod strategies;
mod unrouted;
mod values;
