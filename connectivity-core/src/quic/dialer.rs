//! Dials one QUIC endpoint, independent of the protocol on it.

use std::collections::VecDeque;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use quinn::crypto::rustls::QuicClientConfig;
use quinn::{ClientConfig, ConnectionError, Endpoint, TransportConfig, TransportErrorCode};

use super::endpoints::{self, Endpoints};
use super::threads::bulk_connection_id;
use crate::routes::{RouteError, RouteTls};
use crate::tls;
use crate::transport::link::DialError;

/// The handshake timeout of one address; the deadline of the call may end it earlier.
pub(crate) const HANDSHAKE: Duration = Duration::from_secs(5);

/// How long to wait for one address before the next is dialled concurrently.
const ATTEMPT_DELAY: Duration = Duration::from_millis(250);

/// The host and port of a row, and the name that the server's certificate must have.
#[derive(Clone, Debug)]
pub(crate) struct DialTarget {
    address: String,
    server_name: String,
}

impl DialTarget {
    pub(crate) fn parse(text: &str, row: &RouteTls) -> Result<Self, RouteError> {
        let invalid = |problem| {
            RouteError::endpoint(format_args!(
                "{problem}; write a host and a port, such as 10.0.0.5:4433"
            ))
        };
        let (host, port) = text.rsplit_once(':').ok_or_else(|| invalid("it has no port"))?;
        if !port.parse::<u16>().is_ok_and(|port| port > 0) {
            return Err(invalid("its port is no number from 1 to 65535"));
        }
        let host = match host.strip_prefix('[') {
            Some(host) => {
                host.strip_suffix(']').ok_or_else(|| invalid("its bracket is not closed"))?
            }
            None if host.contains(':') => {
                return Err(invalid("an address of IPv6 stands in brackets"));
            }
            None => host,
        };
        if host.parse::<IpAddr>().is_ok_and(|ip| ip.is_multicast() || ip == Ipv4Addr::BROADCAST) {
            return Err(invalid("that is no address of one machine"));
        }
        let name = tls::server_name(row, host)?;
        Ok(Self { address: text.to_owned(), server_name: name.to_str().into_owned() })
    }
}

/// The use of a connection.
#[derive(Clone, Copy)]
pub(crate) enum Traffic {
    Small,
    Bulk,
}

/// A connection and its endpoint; both live on the runtime of the call that dialled.
pub(crate) struct Connected {
    pub(crate) connection: quinn::Connection,
    _endpoint: Arc<Endpoint>,
}

/// Dials one endpoint.
pub(crate) struct Dialer {
    target: DialTarget,
    config: ClientConfig,
    endpoints: Arc<Endpoints>,
    /// The address of the last successful dial.
    last_reached: Mutex<Option<SocketAddr>>,
}

/// Why an address could not be reached.
enum AttemptError {
    /// Its server refuses connections. A server that shuts down does so too, so the address is
    /// dialled again while dials to other addresses are pending: a new server may listen there by
    /// then.
    Refused(String),
    Silent,
    Other(String),
}

impl AttemptError {
    fn into_cause(self) -> String {
        match self {
            Self::Refused(cause) | Self::Other(cause) => cause,
            Self::Silent => "nobody answers".to_owned(),
        }
    }
}

/// Returns the order in which addresses are dialled: first the last one reached, then alternating
/// between the address families (RFC 8305, 4).
fn dial_order(resolved: &[SocketAddr], last_reached: Option<SocketAddr>) -> Vec<SocketAddr> {
    let first_family = resolved.first().is_some_and(SocketAddr::is_ipv6);
    let (one, other): (Vec<_>, Vec<_>) =
        resolved.iter().partition(|address| address.is_ipv6() == first_family);
    let alternating =
        (0..one.len().max(other.len())).flat_map(|n| [one.get(n), other.get(n)]).flatten().copied();
    let first = last_reached.filter(|last_reached| resolved.contains(last_reached));
    first.into_iter().chain(alternating.filter(|address| Some(*address) != first)).collect()
}

impl Dialer {
    /// Checks the TLS keys of a row, and reads the files they name.
    pub(crate) fn new(
        target: DialTarget,
        row: &RouteTls,
        alpn: &[&[u8]],
        transport: Arc<TransportConfig>,
        endpoints: Arc<Endpoints>,
    ) -> Result<Self, RouteError> {
        let crypto = QuicClientConfig::try_from(tls::client_config(row, alpn)?);
        let crypto =
            crypto.map_err(|cause| RouteError::new(format_args!("no TLS for QUIC: {cause}")))?;
        let mut config = ClientConfig::new(Arc::new(crypto));
        config.transport_config(transport);
        Ok(Self { target, config, endpoints, last_reached: Mutex::default() })
    }

    /// Resolves the name and connects to the first of its addresses that responds.
    ///
    /// # Cancel safety
    /// Dropping the future abandons the dials in progress.
    pub(crate) async fn connect(&self, traffic: Traffic) -> Result<Connected, DialError> {
        let resolved = tokio::net::lookup_host(&self.target.address)
            .await
            .map_err(|cause| self.cannot(cause))?;
        self.connect_to_first(&resolved.collect::<Vec<_>>(), traffic).await
    }

    /// Dials the addresses one after the other with a delay (RFC 8305), beginning with the last one
    /// reached, and returns the first connection.
    async fn connect_to_first(
        &self,
        resolved: &[SocketAddr],
        traffic: Traffic,
    ) -> Result<Connected, DialError> {
        let mut addresses: VecDeque<_> = dial_order(resolved, self.last_reached()).into();
        let (mut dials, mut last) = (FuturesUnordered::new(), None);
        let dial = async |address, pause, is_first| {
            tokio::time::sleep(pause).await;
            (address, is_first, self.connect_to(address, traffic).await)
        };
        // Addresses whose first dial has no outcome yet.
        let mut undecided = addresses.len();
        while undecided > 0 {
            if let Some(address) = addresses.pop_front() {
                dials.push(dial(address, Duration::ZERO, true));
            }
            let next = async {
                match addresses.is_empty() {
                    true => std::future::pending().await,
                    false => tokio::time::sleep(ATTEMPT_DELAY).await,
                }
            };
            tokio::select! {
                biased;
                Some((address, is_first, dialled)) = dials.next() => {
                    undecided -= usize::from(is_first);
                    match dialled {
                        Ok(connected) => {
                            self.remember(address);
                            return Ok(connected);
                        }
                        Err(error) => {
                            if matches!(error, AttemptError::Refused(_)) {
                                dials.push(dial(address, ATTEMPT_DELAY, false));
                            }
                            // An error that an address reports takes precedence over the silence of
                            // another.
                            let is_silent = matches!(error, AttemptError::Silent);
                            last = last.filter(|_| is_silent).or(Some(error));
                        }
                    }
                }
                () = next => {}
            }
        }
        Err(self.cannot(
            last.map_or_else(|| "the name has no address".to_owned(), AttemptError::into_cause),
        ))
    }

    fn remember(&self, address: SocketAddr) {
        *self.last_reached.lock().unwrap_or_else(PoisonError::into_inner) = Some(address);
    }

    fn last_reached(&self) -> Option<SocketAddr> {
        *self.last_reached.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn connect_to(
        &self,
        address: SocketAddr,
        traffic: Traffic,
    ) -> Result<Connected, AttemptError> {
        let mut config = self.config.clone();
        let endpoint = match traffic {
            Traffic::Small => self.endpoints.shared(address),
            Traffic::Bulk => {
                config.initial_dst_cid_provider(Arc::new(bulk_connection_id));
                endpoints::dedicated(address)
            }
        };
        let endpoint = endpoint.map_err(|cause| AttemptError::Other(cause.to_string()))?;
        let connecting = endpoint.connect_with(config, address, &self.target.server_name);
        let connecting = connecting.map_err(|cause| AttemptError::Other(cause.to_string()))?;
        match tokio::time::timeout(HANDSHAKE, connecting).await {
            Ok(Ok(connection)) => Ok(Connected { connection, _endpoint: endpoint }),
            Ok(Err(ConnectionError::TimedOut)) | Err(_) => Err(AttemptError::Silent),
            Ok(Err(cause)) if is_refusal(&cause) => Err(AttemptError::Refused(explain(&cause))),
            Ok(Err(cause)) => Err(AttemptError::Other(explain(&cause))),
        }
    }

    /// Returns an error that names the endpoint.
    pub(crate) fn cannot(&self, cause: impl std::fmt::Display) -> DialError {
        DialError::connect(format_args!("{}: {cause}", self.target.address))
    }
}

/// Describes why a handshake failed; for a certificate, also what to do.
pub(crate) fn explain(cause: &ConnectionError) -> String {
    match cause {
        ConnectionError::TransportError(error) => tls::explain_reason(&error.reason).to_owned(),
        ConnectionError::ConnectionClosed(close) => match crypto_alert(close.error_code) {
            Some(alert) => tls::explain_alert(alert),
            None => cause.to_string(),
        },
        // The reason is text from the peer, so escape it.
        _ => cause.to_string().escape_debug().to_string(),
    }
}

/// Returns whether a server has refused a connection before its handshake.
fn is_refusal(cause: &ConnectionError) -> bool {
    let ConnectionError::ConnectionClosed(close) = cause else { return false };
    close.error_code == TransportErrorCode::CONNECTION_REFUSED
}

/// Returns the TLS alert in a transport error of the peer (RFC 9001, 4.8).
fn crypto_alert(code: TransportErrorCode) -> Option<u8> {
    u8::try_from(u64::from(code).checked_sub(0x100)?).ok()
}

#[cfg(test)]
mod tests {
    use std::net::Ipv6Addr;

    use quinn::ServerConfig;
    use quinn::crypto::rustls::QuicServerConfig;

    use super::*;
    use crate::tls::Tls;

    fn server(alpn: &[u8]) -> Endpoint {
        let identity = Tls::self_signed(["localhost"]).unwrap();
        let crypto = QuicServerConfig::try_from(identity.server_config(&[alpn]).unwrap()).unwrap();
        let config = ServerConfig::with_crypto(Arc::new(crypto));
        Endpoint::server(config, "127.0.0.1:0".parse().unwrap()).unwrap()
    }

    fn dialer(to: SocketAddr, alpn: &[u8], insecure: bool) -> Dialer {
        let row = RouteTls { insecure, ..RouteTls::default() };
        let target = DialTarget::parse(&format!("localhost:{}", to.port()), &row).unwrap();
        Dialer::new(target, &row, &[alpn], Arc::default(), Arc::default()).unwrap()
    }

    #[test]
    fn families_are_dialled_in_turns_and_what_was_reached_first() {
        let [a, b, c, d] =
            ["[::1]:1", "[::2]:1", "127.0.0.1:1", "127.0.0.2:1"].map(|text| text.parse().unwrap());
        assert_eq!(dial_order(&[a, b, c, d], None), [a, c, b, d]);
        assert_eq!(dial_order(&[a, b, c, d], Some(d)), [d, a, c, b]);
        assert_eq!(dial_order(&[c, a], Some(b)), [c, a], "it is no address of the name any more");
        assert!(dial_order(&[], Some(a)).is_empty());
    }

    #[tokio::test]
    async fn a_silent_first_address_of_a_name_costs_a_moment() {
        for alpn in [&b"connectivity/1"[..], b"mcp-quic-v1"] {
            let server = server(alpn);
            let server_address = server.local_addr().unwrap();
            tokio::spawn(async move {
                while let Some(incoming) = server.accept().await {
                    tokio::spawn(incoming.into_future());
                }
            });
            // No server listens there, and UDP reports no error.
            let silent = SocketAddr::from((Ipv6Addr::LOCALHOST, server_address.port()));
            let dialer = dialer(server_address, alpn, true);
            let resolved = [silent, server_address];
            for _ in 0..2 {
                let dialled = dialer.connect_to_first(&resolved, Traffic::Small);
                let dialled = tokio::time::timeout(HANDSHAKE, dialled)
                    .await
                    .expect("nobody waits for the first");
                assert_eq!(dialled.ok().unwrap().connection.remote_address(), server_address);
            }
            assert_eq!(
                dialer.last_reached(),
                Some(server_address),
                "it is dialled first from then on"
            );
        }
    }

    /// A server that shuts down refuses, and its successor listens at the same address a moment
    /// later.
    #[tokio::test]
    async fn an_address_that_refuses_is_dialled_again_while_nobody_answers_at_another() {
        let server = server(b"connectivity/1");
        let server_address = server.local_addr().unwrap();
        tokio::spawn(async move {
            server.accept().await.unwrap().refuse();
            while let Some(incoming) = server.accept().await {
                tokio::spawn(incoming.into_future());
            }
        });
        let resolved =
            [server_address, SocketAddr::from((Ipv6Addr::LOCALHOST, server_address.port()))];
        let dialled = dialer(server_address, b"connectivity/1", true)
            .connect_to_first(&resolved, Traffic::Small)
            .await;
        assert_eq!(dialled.ok().unwrap().connection.remote_address(), server_address);
    }

    #[tokio::test]
    async fn a_failure_tells_what_an_address_said_not_that_another_was_silent() {
        let server = server(b"connectivity/1");
        let server_address = server.local_addr().unwrap();
        tokio::spawn(async move {
            while let Some(incoming) = server.accept().await {
                tokio::spawn(incoming.into_future());
            }
        });
        let resolved =
            [server_address, SocketAddr::from((Ipv6Addr::LOCALHOST, server_address.port()))];
        let dialled = dialer(server_address, b"connectivity/1", false)
            .connect_to_first(&resolved, Traffic::Small)
            .await;
        let error = dialled.err().unwrap();
        assert!(error.message.contains("unknown issuer"), "{}", error.message);
    }

    #[test]
    fn an_endpoint_is_a_host_and_a_port() {
        let parse = |text: &str| DialTarget::parse(text, &RouteTls::default());
        assert_eq!(parse("billing.internal:4433").unwrap().server_name, "billing.internal");
        assert_eq!(parse("[::1]:4433").unwrap().server_name, "::1");
        for bad in ["billing", "10.0.0.5:0", "10.0.0.5:x", "10.0.0.5:70000", "https://x:1/"] {
            assert!(parse(bad).unwrap_err().to_string().contains("10.0.0.5:4433"), "{bad}");
        }
    }
}
