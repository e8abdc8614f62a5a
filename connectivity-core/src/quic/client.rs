//! Client side of strategy `quic`.

use std::sync::{Arc, Weak};
use std::time::Duration;

use super::dialer::{Connected, DialTarget, Dialer, HANDSHAKE, Traffic, explain};
use super::endpoints::{Endpoints, transport_config};
use super::{ALPN, close};
use crate::call::BoxFuture;
use crate::mux::frame::Role;
use crate::mux::{Connection, Feed, MuxDial, MuxRemote};
use crate::routes::{Route, RouteError};
use crate::tls;
use crate::transport::link::{Dial, DialError, Links};
use crate::transport::remote_name::RemoteName;
use crate::transport::{BuildContext, Remote, Transport};

/// How long the connection for large bodies is kept after its last use.
const BULK_LINGER: Duration = Duration::from_secs(10);

/// Sends calls over QUIC, for rows with `strategy = 'quic'`. Their endpoint is a host and a port,
/// such as `10.0.0.5:4433`.
///
/// Small calls share one stream. A body over 64 KiB gets a stream of its own on a second
/// connection, so that it delays none of them. Routes to one endpoint with the same TLS keys share
/// their connections. The server's certificate is verified: by the platform, by `ca_file` or by
/// `pin_sha256`, depending on the row.
#[derive(Clone, Debug, Default)]
pub struct QuicTransport {
    links: Arc<Links<Key, QuicDial>>,
    endpoints: Arc<Endpoints>,
}

/// The key under which routes share a connection.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Key {
    endpoint: String,
    /// The TLS keys of the row, and a digest of the files they name.
    tls: String,
}

impl QuicTransport {
    /// Creates the transport.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }
}

impl Transport for QuicTransport {
    fn build(&self, route: &Route, _context: &BuildContext<'_>) -> Result<Remote, RouteError> {
        let row = &route.config().tls;
        // Before the files are read, so that a change in between is detected.
        let digest = tls::files_digest(row);
        let dialer = self.dialer(route)?;
        let key = Key {
            endpoint: route.endpoint().unwrap_or_default().to_owned(),
            tls: format!("{row:?} {digest:?}"),
        };
        let link = self.links.get(key, || QuicDial { dialer, bulk: tokio::sync::Mutex::default() });
        let (row, warning) = (row.clone(), tls::warning(row));
        let remote = MuxRemote::remote(route, link);
        let remote = match tls::names_files(&row) {
            true => remote.with_unchanged(move || tls::files_digest(&row) == digest),
            false => remote,
        };
        Ok(match warning {
            Some(warning) => remote.with_warnings(move || vec![warning.clone()]),
            None => remote,
        })
    }

    fn check(&self, route: &Route) -> Result<(), RouteError> {
        self.dialer(route).map(drop)
    }

    fn check_calls(&self, route: &Route, context: &BuildContext<'_>) -> Result<(), RouteError> {
        RemoteName::check(route, context)
    }
}

impl QuicTransport {
    fn dialer(&self, route: &Route) -> Result<Dialer, RouteError> {
        let text =
            route.endpoint().ok_or_else(|| RouteError::endpoint("strategy quic needs one"))?;
        let row = &route.config().tls;
        Dialer::new(
            DialTarget::parse(text, row)?,
            row,
            &[ALPN],
            transport_config(),
            Arc::clone(&self.endpoints),
        )
    }
}

/// Dials one endpoint.
pub(crate) struct QuicDial {
    dialer: Dialer,
    /// The connection for large bodies, while a stream uses it.
    bulk: tokio::sync::Mutex<Weak<Connected>>,
}

impl QuicDial {
    /// Opens the stream of small calls and waits for the server's first reply on it. In TLS 1.3 a
    /// client has finished its handshake before the server has checked the client's certificate,
    /// and a refusal must fail the dial, not a call.
    async fn shared_stream(&self) -> Result<Connection, DialError> {
        let connected = self.dialer.connect(Traffic::Small).await?;
        let connection = connected.connection.clone();
        let refused = |reason: String| {
            let reason = connection.close_reason().map_or(reason, |cause| explain(&cause));
            self.dialer.cannot(reason).broken()
        };
        let opened = tokio::time::timeout(HANDSHAKE, connection.open_bi()).await;
        let opened = opened.map_err(|_elapsed| refused("it takes no stream".to_owned()))?;
        let (writer, reader) = opened.map_err(|cause| refused(cause.to_string()))?;
        let stream = Connection::start(Feed::Task, (reader, writer), Role::Shared, connected);
        match tokio::time::timeout(HANDSHAKE, stream.ready()).await {
            Ok(ready) => ready.map_err(refused)?,
            Err(_elapsed) => return Err(refused("nobody answers".to_owned())),
        }
        // Dial large bodies anew, so that they go to the same server as the small calls and not to
        // its predecessor.
        *self.bulk.lock().await = Weak::new();
        Ok(stream)
    }

    async fn bulk_connection(&self) -> Result<Arc<Connected>, DialError> {
        let mut bulk = self.bulk.lock().await;
        if let Some(connected) =
            bulk.upgrade().filter(|connected| connected.connection.close_reason().is_none())
        {
            return Ok(connected);
        }
        let connected = Arc::new(self.dialer.connect(Traffic::Bulk).await?);
        *bulk = Arc::downgrade(&connected);
        Ok(connected)
    }

    async fn single_stream(&self) -> Result<Connection, DialError> {
        let connected = self.bulk_connection().await?;
        let (writer, reader) = connected.connection.open_bi().await.map_err(DialError::connect)?;
        let (connection, stream) = (connected.connection.clone(), writer.id().index());
        let single =
            Connection::start(Feed::Task, (reader, writer), Role::Single, Lingering(connected));
        Ok(single.with_unserved(move || close::is_unserved(&connection, stream)))
    }
}

/// Keeps the connection for large bodies open for a while after its last use.
struct Lingering(Arc<Connected>);

impl Drop for Lingering {
    fn drop(&mut self) {
        let connected = Arc::clone(&self.0);
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(async move {
                tokio::time::sleep(BULK_LINGER).await;
                drop(connected);
            });
        }
    }
}

impl Dial for QuicDial {
    type Connection = Connection;

    fn dial(&self) -> BoxFuture<'_, Result<Connection, DialError>> {
        Box::pin(self.shared_stream())
    }
}

impl MuxDial for QuicDial {
    fn single(&self) -> BoxFuture<'_, Result<Connection, DialError>> {
        Box::pin(self.single_stream())
    }
}
