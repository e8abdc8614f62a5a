//! Opens sessions with the server that a row names.

use std::sync::Arc;
use std::time::Duration;

use quinn::{Connection, ConnectionError, IdleTimeout, TransportConfig, VarInt};
use rmcp::service::ClientInitializeError;

use super::http::HttpDial;
use super::refusal::{NO_SESSION, initialize_refusal};
use super::response_filter::ToolsChanged;
use super::session::{ReplyPath, Session};
use super::stream::{CloseReason, Stream};
use crate::call::BoxFuture;
use crate::http::client::guard::Guard;
use crate::mcp::protocol::{ALPN, MAGIC};
use crate::quic::dialer::{self, DialTarget, Dialer, HANDSHAKE, Traffic};
use crate::quic::endpoints::Endpoints;
use crate::routes::{RouteConfig, RouteError};
use crate::transport::link::{Dial, DialError};

/// Idle timeout: a connection that is silent for this long is dead.
const IDLE_TIMEOUT: Duration = Duration::from_secs(10);

/// Interval between keep-alive packets on an idle connection.
const KEEP_ALIVE_INTERVAL: Duration = Duration::from_secs(3);

/// Flow control: maximum unread bytes of one connection.
const RECEIVE_WINDOW: u32 = 8 << 20;

/// Code and reason for closing a connection, the same as in the Go original's client.
const CLOSE: (VarInt, &[u8]) = (VarInt::from_u32(0), b"client closing");

/// Size limit of the part of a reply message that is not payload. The text blocks, which repeat the
/// payload with escaped quotes, are not included.
const MESSAGE_OVERHEAD: usize = 64 * 1024;

/// Opens sessions with one server.
pub(super) enum McpDial {
    Quic { dialer: Dialer, max_message: usize, tools_changed: ToolsChanged },
    Http(HttpDial),
}

impl McpDial {
    /// Creates a QUIC dialer for a row whose endpoint is a host and a port, after checking the row.
    pub(super) fn quic(
        endpoint: &str,
        config: &RouteConfig,
        endpoints: Arc<Endpoints>,
    ) -> Result<Self, RouteError> {
        if !config.headers.is_empty() {
            return Err(RouteError::config(
                "headers",
                "a host and a port are QUIC, which has none; write a URL",
            ));
        }
        let (row, max_message) = (&config.tls, max_message(config));
        let dialer =
            Dialer::new(DialTarget::parse(endpoint, row)?, row, &[ALPN], transport(), endpoints)?;
        Ok(Self::Quic { dialer, max_message, tools_changed: ToolsChanged::default() })
    }

    /// Creates an HTTP dialer for a row whose endpoint is a URL, after checking the row.
    pub(super) fn http(
        endpoint: &str,
        config: &RouteConfig,
        guard: &Guard,
    ) -> Result<Self, RouteError> {
        HttpDial::new(endpoint, config, guard, max_message(config)).map(Self::Http)
    }
}

impl McpDial {
    /// Returns a warning about the server for `inspect`, if there is one.
    pub(super) fn warning(&self) -> Option<String> {
        match self {
            Self::Quic { tools_changed, .. } => tools_changed.warning(),
            Self::Http(http) => http.tools_changed.warning(),
        }
    }
}

/// Returns the size limit of a server's message. A result contains its value twice, the second time
/// as escaped text.
fn max_message(config: &RouteConfig) -> usize {
    config.max_reply_bytes.saturating_mul(3).saturating_add(MESSAGE_OVERHEAD)
}

fn transport() -> Arc<TransportConfig> {
    let mut config = TransportConfig::default();
    config
        .max_idle_timeout(IdleTimeout::try_from(IDLE_TIMEOUT).ok())
        .keep_alive_interval(Some(KEEP_ALIVE_INTERVAL))
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
            Self::Quic { dialer, max_message, tools_changed } => {
                Box::pin(over_quic(dialer, *max_message, tools_changed.clone()))
            }
            Self::Http(http) => Box::pin(http.dial()),
        }
    }
}

/// Opens the only stream of a session. In TLS 1.3 a client finishes its handshake before the server
/// verifies the client's certificate. A rejection therefore surfaces while the session is being
/// opened, not in a call.
async fn over_quic(
    dialer: &Dialer,
    max_message: usize,
    tools_changed: ToolsChanged,
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
        stream.map_err(|cause| dialer.cannot(peer_close_reason(&connection).unwrap_or(cause)))?;
    let close_reason = CloseReason::new();
    let owner = CloseOnDrop { connected, close_reason: close_reason.clone() };
    let stream = Stream::new(reader, writer, max_message, close_reason.clone(), owner);
    let to_dial_error = |cause: &ClientInitializeError| {
        dialer.cannot(
            initialize_refusal(cause)
                .or_else(|| close_reason.get().map(|cause| cause.text))
                .unwrap_or_else(|| NO_SESSION.to_owned()),
        )
    };
    let end_reason = close_reason.clone();
    Session::open(stream, tools_changed, ReplyPath::Stream, to_dial_error, move || end_reason.get())
        .await
}

/// Closes the connection when the session is dropped, unless the peer has closed it.
struct CloseOnDrop {
    connected: dialer::Connected,
    close_reason: CloseReason,
}

impl Drop for CloseOnDrop {
    fn drop(&mut self) {
        match peer_close_reason(&self.connected.connection) {
            Some(cause) => self.close_reason.replace(cause),
            None => self.connected.connection.close(CLOSE.0, CLOSE.1),
        }
    }
}

/// Returns why the peer closed a connection, if it did.
fn peer_close_reason(connection: &Connection) -> Option<String> {
    let cause =
        connection.close_reason().filter(|cause| *cause != ConnectionError::LocallyClosed)?;
    Some(dialer::explain(&cause))
}
