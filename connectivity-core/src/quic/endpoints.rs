//! QUIC configuration, and the endpoints of this process's clients.
//!
//! Values that a measurement decided were measured on loopback, and their comments say so; quinn's
//! defaults apply to everything else.

use std::collections::HashMap;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use quinn::{
    Endpoint, EndpointConfig, IdleTimeout, MtuDiscoveryConfig, TokioRuntime, TransportConfig,
    VarInt,
};
use socket2::{Domain, Protocol, Socket, Type};
use tokio::runtime::{Handle, Id};

use super::socket;

/// Upper bound of MTU discovery: 1.7 times the rate of 4 KiB calls where the path carries it, no
/// difference elsewhere.
const MAX_MTU: u16 = 6000;

/// Requested size of the socket buffers; the system grants what it allows. Its usual 208 KiB lose
/// packets under four bodies of 1 MiB.
const SOCKET_BUFFER: usize = 8 << 20;

/// Idle timeout: a connection that is silent for this long is dead.
const IDLE_TIMEOUT: Duration = Duration::from_secs(5);

/// Interval of keep-alive packets on an idle connection.
const KEEP_ALIVE_INTERVAL: Duration = Duration::from_secs(2);

/// Streams per connection: the one for small calls, and eight large bodies in transit. Further
/// bodies wait at the client: on streams that wait here they would fill the receive window that the
/// other streams need.
pub(super) const MAX_STREAMS: u32 = 9;

/// Unread bytes per connection; quinn has no limit by default.
const RECEIVE_WINDOW: u32 = 32 << 20;

/// Returns the transport configuration of both ends.
pub(super) fn transport_config() -> Arc<TransportConfig> {
    let mut mtu = MtuDiscoveryConfig::default();
    mtu.upper_bound(MAX_MTU);
    let mut config = TransportConfig::default();
    config
        .mtu_discovery_config(Some(mtu))
        .max_idle_timeout(IdleTimeout::try_from(IDLE_TIMEOUT).ok())
        .keep_alive_interval(Some(KEEP_ALIVE_INTERVAL))
        .max_concurrent_bidi_streams(VarInt::from_u32(MAX_STREAMS))
        .max_concurrent_uni_streams(VarInt::from_u32(0))
        .datagram_receive_buffer_size(None)
        .receive_window(VarInt::from_u32(RECEIVE_WINDOW));
    Arc::new(config)
}

/// Returns the endpoint configuration of both ends.
pub(super) fn endpoint_config() -> EndpointConfig {
    let mut config = EndpointConfig::default();
    // Fails only for sizes that QUIC does not have.
    if config.max_udp_payload_size(MAX_MTU).is_err() {
        tracing::debug!("the packet size is quinn's default");
    }
    config
}

/// Binds a UDP socket with buffers for bursts.
pub(super) fn bind_udp(address: SocketAddr) -> io::Result<UdpSocket> {
    let socket = Socket::new(Domain::for_address(address), Type::DGRAM, Some(Protocol::UDP))?;
    // A smaller buffer costs only speed.
    let _ = socket.set_recv_buffer_size(SOCKET_BUFFER);
    let _ = socket.set_send_buffer_size(SOCKET_BUFFER);
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    Ok(socket.into())
}

/// Client endpoints that connections share. quinn reads each endpoint into megabytes of its own,
/// which bursts of packets fill.
///
/// An endpoint belongs to the runtime whose connections use it, and lives as long as they do.
#[derive(Debug, Default)]
pub(crate) struct Endpoints(Mutex<HashMap<(Id, bool), Weak<Endpoint>>>);

impl Endpoints {
    /// Returns the endpoint of this runtime that can reach the address, and creates it if needed.
    pub(super) fn shared(&self, address: SocketAddr) -> io::Result<Arc<Endpoint>> {
        let key = (Handle::current().id(), address.is_ipv6());
        let mut endpoints = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(endpoint) = endpoints.get(&key).and_then(Weak::upgrade) {
            return Ok(endpoint);
        }
        endpoints.retain(|_, endpoint| endpoint.strong_count() > 0);
        let (endpoint, _closed) = socket::endpoint(endpoint_config(), None, bind_client(address)?)?;
        let endpoint = Arc::new(endpoint);
        endpoints.insert(key, Arc::downgrade(&endpoint));
        Ok(endpoint)
    }
}

/// Creates an endpoint that no other connection shares: large bodies would fill the buffers of
/// small calls.
pub(super) fn dedicated(address: SocketAddr) -> io::Result<Arc<Endpoint>> {
    Endpoint::new(endpoint_config(), None, bind_client(address)?, Arc::new(TokioRuntime))
        .map(Arc::new)
}

/// Binds a socket of any local address and port that can reach the remote address.
fn bind_client(remote: SocketAddr) -> io::Result<UdpSocket> {
    let local: SocketAddr = match remote {
        SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
        SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
    };
    bind_udp(local)
}
