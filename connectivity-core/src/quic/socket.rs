//! A socket that sends a few packets at a time.

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

/// Packets that one call of the system takes. Each connection keeps a buffer for as many as quinn
/// may send at once, 10 by default: of the size that we look for these are 64 KB, at both ends, for
/// as long as the connection lives.
const AT_ONCE: usize = 4;

/// Makes an endpoint on the runtime that is entered, and tells when its address is free again.
pub(crate) fn endpoint(
    config: EndpointConfig,
    server: Option<ServerConfig>,
    socket: UdpSocket,
) -> io::Result<(Endpoint, Freed)> {
    let (bound, freed) = oneshot::channel();
    let socket = Socket { inner: TokioRuntime.wrap_udp_socket(socket)?, bound: Arc::new(bound) };
    let endpoint = Endpoint::new_with_abstract_socket(
        config,
        server,
        Arc::new(socket),
        Arc::new(TokioRuntime),
    )?;
    Ok((endpoint, Freed(freed)))
}

/// Completes when a socket has been closed. Its endpoint lives on in tasks for a while after the
/// last handle has gone.
#[derive(Debug)]
pub(crate) struct Freed(oneshot::Receiver<()>);

impl Freed {
    pub(crate) async fn wait(self) {
        // Nothing is ever sent: this ends when the last sender is dropped.
        let _ = self.0.await;
    }
}

#[derive(Debug)]
struct Socket {
    inner: Arc<dyn AsyncUdpSocket>,
    /// Dropped after the socket, here and in every poller.
    bound: Arc<oneshot::Sender<()>>,
}

#[derive(Debug)]
struct Poller {
    inner: Pin<Box<dyn UdpPoller>>,
    _bound: Arc<oneshot::Sender<()>>,
}

impl UdpPoller for Poller {
    fn poll_writable(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.inner.as_mut().poll_writable(cx)
    }
}

impl AsyncUdpSocket for Socket {
    fn create_io_poller(self: Arc<Self>) -> Pin<Box<dyn UdpPoller>> {
        let (inner, bound) = (Arc::clone(&self.inner).create_io_poller(), Arc::clone(&self.bound));
        Box::pin(Poller { inner, _bound: bound })
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
        self.inner.max_transmit_segments().min(AT_ONCE)
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
        let (bound, _freed) = oneshot::channel();
        let (theirs, ours) = (bind(), Socket { inner: bind(), bound: Arc::new(bound) });
        assert!((1..=AT_ONCE).contains(&ours.max_transmit_segments()));
        assert_eq!(ours.max_receive_segments(), theirs.max_receive_segments());
        assert_eq!(ours.may_fragment(), theirs.may_fragment());
    }
}
