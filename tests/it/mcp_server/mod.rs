//! Services as tools of MCP: what the Go original's client sends, what hostile ones do, and who may
//! call.

mod admin;
mod client;
mod hostile;
mod http;
mod peers;
mod schemas;
mod transcripts;
mod unread;
