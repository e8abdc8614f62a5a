//! The Model Context Protocol, both ways: the services of a router as tools, and tools as services.
//! On rmcp; `docs/mcp-over-quic.md` has the bytes over QUIC.

mod client;
mod protocol;
mod server;

pub use client::McpTransport;
pub use server::{Mcp, McpListener, RawForm};
