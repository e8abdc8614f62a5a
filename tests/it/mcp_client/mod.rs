//! Strategy `mcp`: calls of services as calls of tools, over QUIC and Streamable HTTP.

mod calls;
mod harness;
mod hostile;
mod rows;
mod scripted_server;
mod sessions;
mod transcripts;
mod web_servers;
