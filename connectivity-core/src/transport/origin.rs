//! Whom a listener shares its limits out by.

use std::net::IpAddr;

/// Where a connection comes from: who was authenticated, else the address, else the process.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(
    not(all(feature = "quic", feature = "unix")),
    allow(dead_code, reason = "each strategy knows its own")
)]
pub(crate) enum Origin {
    Identity(String),
    Address(IpAddr),
    /// As the system numbers it; nobody knows those of other machines' containers.
    Process(Option<i32>),
}
