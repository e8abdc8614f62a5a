//! A socket that sends a few packets at a time.

use std::io::{self, IoSliceMut};
use std::net::{SocketAddr, UdpSocket};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use quinn::udp::{RecvMeta, Transmit};
use quinn::{AsyncUdpSocket, Endpoint, EndpointConfig, Runtime, ServerConfig, TokioRuntime, UdpPoller};

/// Packets that one call of the system takes. Each connection keeps a buffer for as many as quinn may send at once, 10 by default:
/// of the size that we look for these are 64 KB, at both ends, for as long as the connection lives.
const AT_ONCE: usize = 4;

/// Makes an endpoint on the runtime that is entered.
pub(crate) fn endpoint(
    config: EndpointConfig,
    server: Option<ServerConfig>,
    socket: UdpSocket,
) -> io::Result<Endpoint> {
    let socket = Socket(TokioRuntime.wrap_udp_socket(socket)?);
    Endpoint::new_with_abstract_socket(config, server, Arc::new(socket), Arc::new(TokioRuntime))
}

#[derive(Debug)]
struct Socket(Arc<dyn AsyncUdpSocket>);

impl AsyncUdpSocket for Socket {
    fn create_io_poller(self: Arc<Self>) -> Pin<Box<dyn UdpPoller>> {
        Arc::clone(&self.0).create_io_poller()
    }

    fn try_send(&self, transmit: &Transmit<'_>) -> io::Result<()> {
        self.0.try_send(transmit)
    }

    fn poll_recv(
        &self,
        cx: &mut Context<'_>,
        buffers: &mut [IoSliceMut<'_>],
        meta: &mut [RecvMeta],
    ) -> Poll<io::Result<usize>> {
        self.0.poll_recv(cx, buffers, meta)
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.0.local_addr()
    }

    fn max_transmit_segments(&self) -> usize {
        self.0.max_transmit_segments().min(AT_ONCE)
    }

    fn max_receive_segments(&self) -> usize {
        self.0.max_receive_segments()
    }

    fn may_fragment(&self) -> bool {
        self.0.may_fragment()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::transport::quic::settings;

    #[tokio::test]
    async fn few_packets_go_at_once_and_all_come_in() {
        let bind = || TokioRuntime.wrap_udp_socket(settings::bind(([127, 0, 0, 1], 0).into()).unwrap()).unwrap();
        let (theirs, ours) = (bind(), Socket(bind()));
        assert!((1..=AT_ONCE).contains(&ours.max_transmit_segments()));
        assert_eq!(ours.max_receive_segments(), theirs.max_receive_segments());
        assert_eq!(ours.may_fragment(), theirs.may_fragment());
    }
}
