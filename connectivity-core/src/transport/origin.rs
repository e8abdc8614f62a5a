//! The origin of a connection, by which a listener divides its limits.

use std::net::IpAddr;

/// The origin of a connection: the authenticated identity, else the address, else the process.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(
    not(all(feature = "quic", feature = "unix")),
    allow(dead_code, reason = "each strategy knows its own")
)]
pub(crate) enum Origin {
    Identity(String),
    Address(IpAddr),
    /// The process id; `None` if the system cannot tell it, as for a process in another container.
    Process(Option<i32>),
}
