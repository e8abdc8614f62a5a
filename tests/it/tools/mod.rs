//! Strategy `mcp`: calls of services as calls of tools, over QUIC and Streamable HTTP.

mod calls;
mod doors;
mod hostile;
mod near;
mod rows;
mod scripted;
mod sessions;
mod transcripts;
