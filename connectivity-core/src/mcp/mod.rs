//! The Model Context Protocol in both directions: the services of a router as tools, and tools as
//! services. Built on rmcp; `docs/mcp-over-quic.md` specifies the bytes over QUIC.

mod client;
mod protocol;
mod server;

pub use client::McpTransport;
pub use server::{Mcp, McpListener, RawForm};
