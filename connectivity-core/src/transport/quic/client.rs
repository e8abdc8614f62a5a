//! The client side of strategy `quic`.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use quinn::crypto::rustls::QuicClientConfig;
use quinn::{ClientConfig, ConnectionError, Endpoint, TransportErrorCode};

use super::endpoints::{self, Endpoints};
use super::{ALPN, bulk, close, settings};
use crate::call::BoxFuture;
use crate::routes::{Route, RouteError, RouteTls};
use crate::transport::mux::{Caller, Connection, Dial, DialError, Link};
use crate::transport::wire::Role;
use crate::transport::{BuildContext, Remote, Transport, tls};

/// A handshake with one address takes no longer; the deadline of the call ends it earlier.
const HANDSHAKE: Duration = Duration::from_secs(5);

/// The connection of large bodies is kept for so long after the last one.
const BULK_LINGERS: Duration = Duration::from_secs(10);

/// Sends calls over QUIC: rows with `strategy = 'quic'`, whose endpoint is a host and a port, such as `10.0.0.5:4433`.
///
/// Small calls share one stream; a body over 64 KiB has a stream of its own, on a second connection, so that it holds up none of
/// them. Routes to one endpoint with the same TLS keys share their connections. The server's certificate is verified: by the
/// platform, by `ca_file`, or by `pin_sha256`, as the row says.
#[derive(Clone, Debug, Default)]
pub struct QuicTransport {
    links: Arc<Mutex<HashMap<Key, Weak<Link<QuicDial>>>>>,
    endpoints: Arc<Endpoints>,
}

/// What routes must have in common to share a connection.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Key {
    endpoint: String,
    /// The TLS keys of the row, and what their files held.
    tls: String,
}

impl QuicTransport {
    /// Makes the transport.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    fn link(&self, target: Target, config: ClientConfig, key: Key) -> Arc<Link<QuicDial>> {
        let mut links = self.links.lock().unwrap_or_else(PoisonError::into_inner);
        links.retain(|_, link| link.strong_count() > 0);
        if let Some(link) = links.get(&key).and_then(Weak::upgrade) {
            return link;
        }
        let link = Arc::new(Link::new(QuicDial {
            target,
            config,
            endpoints: Arc::clone(&self.endpoints),
            bulk: tokio::sync::Mutex::default(),
        }));
        links.insert(key, Arc::downgrade(&link));
        link
    }
}

impl Transport for QuicTransport {
    fn build(&self, route: &Route, _context: &BuildContext<'_>) -> Result<Remote, RouteError> {
        let text = route.endpoint().ok_or_else(|| RouteError::endpoint("strategy quic needs one"))?;
        let row = route.config().tls();
        let target = Target::parse(text, row)?;
        // Before the files are read, so that a change in between is seen as one.
        let digest = tls::files_digest(row);
        let key = Key { endpoint: text.to_owned(), tls: format!("{row:?} {digest:?}") };
        let config = client_config(row)?;
        let (row, warning) = (row.clone(), tls::warning(row));
        let remote = Caller::remote(route, self.link(target, config, key));
        let remote = remote.with_unchanged(move || tls::files_digest(&row) == digest);
        Ok(match warning {
            Some(warning) => remote.with_warnings(move || vec![warning.clone()]),
            None => remote,
        })
    }
}

fn client_config(row: &RouteTls) -> Result<ClientConfig, RouteError> {
    let config = tls::client_config(row, &[ALPN])?;
    let crypto = QuicClientConfig::try_from(config);
    let crypto = crypto.map_err(|cause| RouteError::new(format_args!("no TLS for QUIC: {cause}")))?;
    let mut config = ClientConfig::new(Arc::new(crypto));
    config.transport_config(settings::transport());
    Ok(config)
}

/// The host and port of a row, and the name its certificate must have.
#[derive(Clone, Debug)]
struct Target {
    address: String,
    server_name: String,
}

impl Target {
    fn parse(text: &str, row: &RouteTls) -> Result<Self, RouteError> {
        let wrong = |what| RouteError::endpoint(format_args!("{what}; write a host and a port, such as 10.0.0.5:4433"));
        let (host, port) = text.rsplit_once(':').ok_or_else(|| wrong("it has no port"))?;
        if port.parse::<u16>().is_ok_and(|port| port > 0) {
            let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
            let name = tls::server_name(row, host)?;
            return Ok(Self { address: text.to_owned(), server_name: name.to_str().into_owned() });
        }
        Err(wrong("its port is no number from 1 to 65535"))
    }
}

/// Connects to one endpoint.
pub(crate) struct QuicDial {
    target: Target,
    config: ClientConfig,
    endpoints: Arc<Endpoints>,
    /// The connection of large bodies, while anybody needs it.
    bulk: tokio::sync::Mutex<Weak<Connected>>,
}

/// What a connection is for.
#[derive(Clone, Copy)]
enum Traffic {
    Small,
    Bulk,
}

/// A connection, and the endpoint it belongs to: both live on the runtime of the call that dialled.
struct Connected {
    connection: quinn::Connection,
    _endpoint: Arc<Endpoint>,
}

impl QuicDial {
    async fn connect(&self, traffic: Traffic) -> Result<Connected, DialError> {
        let cannot =
            |cause: &dyn std::fmt::Display| DialError::connect(format_args!("{}: {cause}", self.target.address));
        let addresses = tokio::net::lookup_host(&self.target.address).await.map_err(|cause| cannot(&cause))?;
        let mut last = cannot(&"the name has no address");
        for address in addresses {
            match self.connect_to(address, traffic).await {
                Ok(connected) => return Ok(connected),
                Err(cause) => last = cannot(&cause),
            }
        }
        Err(last)
    }

    async fn connect_to(&self, address: SocketAddr, traffic: Traffic) -> Result<Connected, String> {
        let mut config = self.config.clone();
        let endpoint = match traffic {
            Traffic::Small => self.endpoints.shared(address),
            Traffic::Bulk => {
                config.initial_dst_cid_provider(Arc::new(bulk::marked));
                endpoints::alone(address)
            }
        };
        let endpoint = endpoint.map_err(|cause| cause.to_string())?;
        let connecting = endpoint.connect_with(config, address, &self.target.server_name);
        let connecting = connecting.map_err(|cause| cause.to_string())?;
        match tokio::time::timeout(HANDSHAKE, connecting).await {
            Ok(Ok(connection)) => Ok(Connected { connection, _endpoint: endpoint }),
            Ok(Err(cause)) => Err(explain(&cause)),
            Err(_elapsed) => Err("nobody answers".to_owned()),
        }
    }

    /// Opens the stream of small calls, and waits for the other side to answer on it: in TLS 1.3 a client has finished its
    /// handshake before the server has looked at the client's certificate, and a call must not be what finds out.
    async fn shared(&self) -> Result<Connection, DialError> {
        let connected = self.connect(Traffic::Small).await?;
        let connection = connected.connection.clone();
        let refused = |why: String| {
            let why = connection.close_reason().map_or(why, |cause| explain(&cause));
            DialError::connect(format_args!("{}: {why}", self.target.address))
        };
        let (writer, reader) = connection.open_bi().await.map_err(|cause| refused(cause.to_string()))?;
        let stream = Connection::start(reader, writer, Role::Shared, connected);
        match tokio::time::timeout(HANDSHAKE, stream.ready()).await {
            Ok(ready) => ready.map_err(refused)?,
            Err(_elapsed) => return Err(refused("nobody answers".to_owned())),
        }
        // Large bodies go where small calls go: to this server, not to the one before.
        *self.bulk.lock().await = Weak::new();
        Ok(stream)
    }

    async fn bulk(&self) -> Result<Arc<Connected>, DialError> {
        let mut bulk = self.bulk.lock().await;
        if let Some(connected) = bulk.upgrade().filter(|connected| connected.connection.close_reason().is_none()) {
            return Ok(connected);
        }
        let connected = Arc::new(self.connect(Traffic::Bulk).await?);
        *bulk = Arc::downgrade(&connected);
        Ok(connected)
    }

    async fn one(&self) -> Result<Connection, DialError> {
        let connected = self.bulk().await?;
        let (writer, reader) = connected.connection.open_bi().await.map_err(DialError::connect)?;
        let (connection, stream) = (connected.connection.clone(), writer.id().index());
        let single = Connection::start(reader, writer, Role::Single, Lingering(connected));
        Ok(single.with_unserved(move || close::is_unserved(&connection, stream)))
    }
}

/// Says in words why a handshake failed; for a certificate, what to do.
fn explain(cause: &ConnectionError) -> String {
    match cause {
        ConnectionError::TransportError(error) => tls::explain_reason(&error.reason).to_owned(),
        ConnectionError::ConnectionClosed(close) => match crypto_alert(close.error_code) {
            Some(alert) => tls::explain_alert(alert),
            None => cause.to_string(),
        },
        _ => cause.to_string(),
    }
}

/// The TLS alert in a transport error of the other side (RFC 9001, 4.8).
fn crypto_alert(code: TransportErrorCode) -> Option<u8> {
    u8::try_from(u64::from(code).checked_sub(0x100)?).ok()
}

/// Keeps the connection of large bodies for a while after it was used.
struct Lingering(Arc<Connected>);

impl Drop for Lingering {
    fn drop(&mut self) {
        let connected = Arc::clone(&self.0);
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(async move {
                tokio::time::sleep(BULK_LINGERS).await;
                drop(connected);
            });
        }
    }
}

impl Dial for QuicDial {
    fn dial(&self) -> BoxFuture<'_, Result<Connection, DialError>> {
        Box::pin(self.shared())
    }

    fn single(&self) -> BoxFuture<'_, Result<Connection, DialError>> {
        Box::pin(self.one())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_endpoint_is_a_host_and_a_port() {
        let parse = |text: &str| Target::parse(text, &RouteTls::default());
        assert_eq!(parse("billing.internal:4433").unwrap().server_name, "billing.internal");
        assert_eq!(parse("[::1]:4433").unwrap().server_name, "::1");
        for bad in ["billing", "10.0.0.5:0", "10.0.0.5:x", "10.0.0.5:70000", "https://x:1/"] {
            assert!(parse(bad).unwrap_err().to_string().contains("10.0.0.5:4433"), "{bad}");
        }
    }
}
