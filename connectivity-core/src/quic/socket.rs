//! A UDP socket that sends only a few packets per system call.

use std::io::{self, IoSliceMut};
use std::net::{SocketAddr, UdpSocket};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use quinn::udp::{RecvMeta, Transmit};
use quinn::{
    AsyncUdpSocket, Endpoint, EndpointConfig, Runtime, ServerConfig, TokioRuntime, UdpPoller,
};
use tokio::sync::oneshot;

/// The most packets per system call (GSO segments). Each connection keeps a buffer for as many
/// packets as quinn may send at once, 10 by default: at the size that MTU discovery looks for these
/// are 64 KB, at both ends, for as long as the connection lives.
const MAX_SEGMENTS: usize = 4;

/// Creates an endpoint on the runtime that the caller has entered. The second value completes when
/// its address is free again.
pub(crate) fn endpoint(
    config: EndpointConfig,
    server: Option<ServerConfig>,
    socket: UdpSocket,
) -> io::Result<(Endpoint, Freed)> {
    let (alive, closed) = oneshot::channel();
    let socket = Socket { inner: TokioRuntime.wrap_udp_socket(socket)?, alive: Arc::new(alive) };
    let endpoint = Endpoint::new_with_abstract_socket(
        config,
        server,
        Arc::new(socket),
        Arc::new(TokioRuntime),
    )?;
    Ok((endpoint, Freed(closed)))
}

/// Completes when a socket has been closed. Tasks keep its endpoint alive for a while after the
/// last handle was dropped.
#[derive(Debug)]
pub(crate) struct Freed(oneshot::Receiver<()>);

impl Freed {
    pub(crate) async fn wait(self) {
        // No value is ever sent: this completes when the last sender is dropped.
        let _ = self.0.await;
    }
}

#[derive(Debug)]
struct Socket {
    inner: Arc<dyn AsyncUdpSocket>,
    /// Dropped after the socket, here and in every poller.
    alive: Arc<oneshot::Sender<()>>,
}

#[derive(Debug)]
struct Poller {
    inner: Pin<Box<dyn UdpPoller>>,
    _alive: Arc<oneshot::Sender<()>>,
}

impl UdpPoller for Poller {
    fn poll_writable(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.inner.as_mut().poll_writable(cx)
    }
}

impl AsyncUdpSocket for Socket {
    fn create_io_poller(self: Arc<Self>) -> Pin<Box<dyn UdpPoller>> {
        let (inner, alive) = (Arc::clone(&self.inner).create_io_poller(), Arc::clone(&self.alive));
        Box::pin(Poller { inner, _alive: alive })
    }

    fn try_send(&self, transmit: &Transmit<'_>) -> io::Result<()> {
        self.inner.try_send(transmit)
    }

    fn poll_recv(
        &self,
        cx: &mut Context<'_>,
        buffers: &mut [IoSliceMut<'_>],
        meta: &mut [RecvMeta],
    ) -> Poll<io::Result<usize>> {
        self.inner.poll_recv(cx, buffers, meta)
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.inner.local_addr()
    }

    fn max_transmit_segments(&self) -> usize {
        self.inner.max_transmit_segments().min(MAX_SEGMENTS)
    }

    fn max_receive_segments(&self) -> usize {
        self.inner.max_receive_segments()
    }

    fn may_fragment(&self) -> bool {
        self.inner.may_fragment()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::quic::endpoints::bind_udp;

    #[tokio::test]
    async fn few_packets_go_at_once_and_all_come_in() {
        let bind =
            || TokioRuntime.wrap_udp_socket(bind_udp(([127, 0, 0, 1], 0).into()).unwrap()).unwrap();
        let (alive, _closed) = oneshot::channel();
        let (plain, limited) = (bind(), Socket { inner: bind(), alive: Arc::new(alive) });
        assert!((1..=MAX_SEGMENTS).contains(&limited.max_transmit_segments()));
        assert_eq!(limited.max_receive_segments(), plain.max_receive_segments());
        assert_eq!(limited.may_fragment(), plain.may_fragment());
    }
}
