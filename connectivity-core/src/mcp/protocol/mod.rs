//! What both ends of a session of MCP share: how messages are cut out of a stream and written into
//! one, and our own words.

pub(crate) mod framer;
pub(crate) mod message;
pub(crate) mod send_queue;

/// The key of a value that is no object: older clients take nothing else.
pub(crate) const RESULT: &str = "result";

/// The notice of a server that it stops: requests that it has not read by then do not run. Others
/// than our client pass it over.
pub(crate) const LEAVING: &str = "notifications/connectivity/leaving";

/// The experimental capability by which a client of this crate knows a server of this crate.
pub(crate) const OURS: &str = "connectivity";

/// The most commas in a message.
pub(crate) const MAX_MEMBERS: usize = 1 << 18;

/// The key of a request's `_meta` that gives the call less or more time, in milliseconds.
pub(crate) const TIMEOUT_MS: &str = "connectivity/timeout-ms";

/// The key of a request's `_meta` with the W3C trace context.
pub(crate) const TRACE_PARENT: &str = "traceparent";

/// The protocol's name and version, as the handshake agrees on it.
pub(crate) const ALPN: &[u8] = b"mcp-quic-v1";

/// How the stream begins.
pub(crate) const MAGIC: [u8; 4] = *b"MCP1";
