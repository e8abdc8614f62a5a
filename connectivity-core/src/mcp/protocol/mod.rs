//! Parts that both sides of an MCP session share: the framing of a stream, the send queue, and the
//! names that this crate adds to the protocol.

pub(crate) mod framer;
pub(crate) mod message;
pub(crate) mod send_queue;

/// Key that wraps a value that is not an object: older clients accept only objects.
pub(crate) const RESULT: &str = "result";

/// Notification from a server that is shutting down: requests that it has not read by then do not
/// run. Clients other than this crate's ignore it.
pub(crate) const SHUTDOWN_NOTIFICATION: &str = "notifications/connectivity/leaving";

/// Experimental capability by which a client of this crate recognizes a server of this crate.
pub(crate) const CAPABILITY: &str = "connectivity";

/// Maximum number of commas in a message.
pub(crate) const MAX_MEMBERS: usize = 1 << 18;

/// Key in a request's `_meta` that shortens or extends the timeout of the call, in milliseconds.
pub(crate) const TIMEOUT_MS: &str = "connectivity/timeout-ms";

/// Key in a request's `_meta` for the W3C trace context.
pub(crate) const TRACE_PARENT: &str = "traceparent";

/// ALPN id: the protocol's name and version, negotiated in the handshake.
pub(crate) const ALPN: &[u8] = b"mcp-quic-v1";

/// First bytes of the stream.
pub(crate) const MAGIC: [u8; 4] = *b"MCP1";
