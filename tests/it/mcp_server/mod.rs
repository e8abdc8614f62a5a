//! Services as MCP tools: transcripts of the Go original's client, malicious clients, and access
//! control.

mod admin;
mod client;
mod hostile;
mod http;
mod peers;
mod schemas;
mod transcripts;
mod unread;
