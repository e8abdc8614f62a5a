//! What we tell quinn. Each value was measured on loopback, and is said to be so; quinn's defaults
//! stand for the rest.

use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::time::Duration;

use quinn::{EndpointConfig, IdleTimeout, MtuDiscoveryConfig, TransportConfig, VarInt};
use socket2::{Domain, Protocol, Socket, Type};

/// The largest packet to look for: 1.7 times the rate of 4 KiB calls where the path carries it, no
/// difference elsewhere.
const MTU: u16 = 6000;

/// The socket buffers to ask for; the system grants what it allows. Its usual 208 KiB lose packets
/// under four bodies of 1 MiB.
const SOCKET_BUFFER: usize = 8 << 20;

/// A connection that is silent for so long is dead.
const IDLE: Duration = Duration::from_secs(5);

/// So often an idle connection shows that it is alive.
const KEEP_ALIVE: Duration = Duration::from_secs(2);

/// Streams of one connection: that of small calls, and eight large bodies on their way. Further
/// bodies wait at their client: on streams that wait here they would fill the window that the
/// others need.
pub(super) const MAX_STREAMS: u32 = 9;

/// Unread bytes of one connection; quinn has no limit by default.
const RECEIVE_WINDOW: u32 = 32 << 20;

pub(super) fn transport() -> Arc<TransportConfig> {
    let mut mtu = MtuDiscoveryConfig::default();
    mtu.upper_bound(MTU);
    let mut config = TransportConfig::default();
    config
        .mtu_discovery_config(Some(mtu))
        .max_idle_timeout(IdleTimeout::try_from(IDLE).ok())
        .keep_alive_interval(Some(KEEP_ALIVE))
        .max_concurrent_bidi_streams(VarInt::from_u32(MAX_STREAMS))
        .max_concurrent_uni_streams(VarInt::from_u32(0))
        .datagram_receive_buffer_size(None)
        .receive_window(VarInt::from_u32(RECEIVE_WINDOW));
    Arc::new(config)
}

pub(crate) fn endpoint() -> EndpointConfig {
    let mut config = EndpointConfig::default();
    // Fails only for sizes that QUIC does not have.
    if config.max_udp_payload_size(MTU).is_err() {
        tracing::debug!("the packet size is quinn's default");
    }
    config
}

/// Binds a UDP socket with room for bursts.
pub(crate) fn bind(address: SocketAddr) -> io::Result<UdpSocket> {
    let socket = Socket::new(Domain::for_address(address), Type::DGRAM, Some(Protocol::UDP))?;
    // What is not granted costs speed, nothing else.
    let _ = socket.set_recv_buffer_size(SOCKET_BUFFER);
    let _ = socket.set_send_buffer_size(SOCKET_BUFFER);
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    Ok(socket.into())
}
