//! Begins sessions with the server that a row names.

use std::sync::Arc;
use std::time::Duration;

use quinn::{Connection, ConnectionError, IdleTimeout, TransportConfig, VarInt};
use rmcp::service::ClientInitializeError;

use super::http::HttpDial;
use super::response_filter::ToolsChanged;
use super::session::{Answers, Session};
use super::stream::{CloseReason, Stream};
use crate::call::BoxFuture;
use crate::http::client::guard::Guard;
use crate::mcp::protocol::{ALPN, MAGIC};
use crate::quic::dialer::{self, DialTarget, Dialer, HANDSHAKE, Traffic};
use crate::quic::endpoints::Endpoints;
use crate::routes::{RouteConfig, RouteError};
use crate::transport::link::{Dial, DialError};

/// A connection that is silent for so long is dead.
const IDLE: Duration = Duration::from_secs(10);

/// So often an idle connection shows that it is alive.
const KEEP_ALIVE: Duration = Duration::from_secs(3);

/// Unread bytes of one connection.
const RECEIVE_WINDOW: u32 = 8 << 20;

/// What the connection is closed with, as the original's client says it.
const DONE: (VarInt, &[u8]) = (VarInt::from_u32(0), b"client closing");

/// What of an answer is no payload, beside the texts that say the same again with their quotes
/// escaped.
const ENVELOPE: usize = 64 * 1024;

/// Begins sessions with one server.
pub(super) enum McpDial {
    Quic { dialer: Dialer, max_message: usize, changed: ToolsChanged },
    Http(HttpDial),
}

impl McpDial {
    /// Checks a row whose endpoint is a host and a port.
    pub(super) fn quic(
        endpoint: &str,
        config: &RouteConfig,
        endpoints: Arc<Endpoints>,
    ) -> Result<Self, RouteError> {
        if !config.headers().is_empty() {
            return Err(RouteError::config(
                "headers",
                "a host and a port are QUIC, which has none; write a URL",
            ));
        }
        let (row, max_message) = (config.tls(), max_message(config));
        let dialer =
            Dialer::new(DialTarget::parse(endpoint, row)?, row, ALPN, transport(), endpoints)?;
        Ok(Self::Quic { dialer, max_message, changed: ToolsChanged::default() })
    }

    /// Checks a row whose endpoint is a URL.
    pub(super) fn http(
        endpoint: &str,
        config: &RouteConfig,
        guard: &Guard,
    ) -> Result<Self, RouteError> {
        HttpDial::new(endpoint, config, guard, max_message(config)).map(Self::Http)
    }
}

impl McpDial {
    /// What is odd about the server, for `inspect`.
    pub(super) fn warning(&self) -> Option<String> {
        match self {
            Self::Quic { changed, .. } => changed.warning(),
            Self::Http(http) => http.changed.warning(),
        }
    }
}

/// The longest message of a server: a result stands in it twice, the second time as a text.
fn max_message(config: &RouteConfig) -> usize {
    config.max_reply_bytes().saturating_mul(3).saturating_add(ENVELOPE)
}

fn transport() -> Arc<TransportConfig> {
    let mut config = TransportConfig::default();
    config
        .max_idle_timeout(IdleTimeout::try_from(IDLE).ok())
        .keep_alive_interval(Some(KEEP_ALIVE))
        .max_concurrent_bidi_streams(VarInt::from_u32(0))
        .max_concurrent_uni_streams(VarInt::from_u32(0))
        .datagram_receive_buffer_size(None)
        .receive_window(VarInt::from_u32(RECEIVE_WINDOW));
    Arc::new(config)
}

impl Dial for McpDial {
    type Connection = Session;

    fn dial(&self) -> BoxFuture<'_, Result<Session, DialError>> {
        match self {
            Self::Quic { dialer, max_message, changed } => {
                Box::pin(over_quic(dialer, *max_message, changed.clone()))
            }
            Self::Http(http) => Box::pin(http.dial()),
        }
    }
}

/// Opens the one stream of a session. In TLS 1.3 a client has finished its handshake before the
/// server has looked at the client's certificate; what begins the session finds out, and no call.
async fn over_quic(
    dialer: &Dialer,
    max_message: usize,
    changed: ToolsChanged,
) -> Result<Session, DialError> {
    let connected = dialer.connect(Traffic::Small).await?;
    let connection = connected.connection.clone();
    let stream = async {
        let (mut writer, reader) = connection.open_bi().await.map_err(|cause| cause.to_string())?;
        writer.write_all(&MAGIC).await.map_err(|cause| cause.to_string())?;
        Ok::<_, String>((writer, reader))
    };
    let stream = tokio::time::timeout(HANDSHAKE, stream)
        .await
        .unwrap_or_else(|_elapsed| Err("it takes no stream".to_owned()));
    let (writer, reader) =
        stream.map_err(|cause| dialer.cannot(closed(&connection).unwrap_or(cause)))?;
    let why = CloseReason::new();
    let owner = Closing { connected, why: why.clone() };
    let stream = Stream::new(reader, writer, max_message, why.clone(), owner);
    let explained = |cause: &ClientInitializeError| {
        dialer.cannot(
            refusal(cause)
                .or_else(|| why.get().map(|cause| cause.text))
                .unwrap_or_else(|| NO_SESSION.to_owned()),
        )
    };
    let ended = why.clone();
    Session::open(stream, changed, Answers::OnOneStream, explained, move || ended.get()).await
}

/// Closes the connection with the session, if the other side has not.
struct Closing {
    connected: dialer::Connected,
    why: CloseReason,
}

impl Drop for Closing {
    fn drop(&mut self) {
        match closed(&self.connected.connection) {
            Some(cause) => self.why.is_in_fact(cause),
            None => self.connected.connection.close(DONE.0, DONE.1),
        }
    }
}

/// Says why the other side closed a connection, if it did.
fn closed(connection: &Connection) -> Option<String> {
    let cause =
        connection.close_reason().filter(|cause| *cause != ConnectionError::LocallyClosed)?;
    Some(dialer::explain(&cause))
}

/// What is to be said of a server that neither begins a session nor says why.
pub(super) const NO_SESSION: &str = "the server does not begin a session of MCP";

/// Says why the server itself would not begin a session.
pub(super) fn refusal(cause: &ClientInitializeError) -> Option<String> {
    match cause {
        ClientInitializeError::JsonRpcError(error) => Some(refused(error.code.0, &error.message)),
        ClientInitializeError::LegacyFallbackFailed { fallback, .. } => refusal(fallback),
        ClientInitializeError::NoCompatibleProtocolVersion { .. } => {
            Some("the server speaks no version of MCP that is known here".to_owned())
        }
        _ => None,
    }
}

/// An error of JSON-RPC in words.
pub(super) fn refused(code: i32, message: &str) -> String {
    format!("the server refuses it with code {code}: {}", quoted(message))
}

/// What a server wrote is data: escaped, and no longer than a person reads.
pub(super) fn quoted(text: &str) -> String {
    const LIMIT: usize = 500;
    let mut quoted: String = text.chars().take(LIMIT).flat_map(char::escape_debug).collect();
    if text.chars().nth(LIMIT).is_some() {
        quoted.push('…');
    }
    quoted
}
