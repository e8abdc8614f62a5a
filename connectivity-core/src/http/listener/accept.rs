//! The accept loop, and the task of each connection.

use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::time::Duration;

use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Handle;
use tokio::task::JoinSet;

use super::client_stream::ClientStream;
use super::requests::Requests;
use super::seat::Seat;
use crate::http::gateway::UnsentAnswers;
use crate::transport::large_requests::LargeRequests;
use crate::transport::{ConnectionSlots, Drain, Origin};

/// The time a client has for the head of a request, and the longest time that a connection may be
/// idle between two.
const HEADER_TIMEOUT: Duration = Duration::from_secs(15);

/// The longest time that a client may leave a response unread.
const STALL_TIMEOUT: Duration = Duration::from_secs(15);

/// The longest head of a request, in bytes.
const MAX_HEAD: usize = 64 * 1024;

/// The pause after a failed `accept`, for example when the process is out of file descriptors. The
/// loop goes on.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// A listener that accepts connections.
pub(super) struct Accepting {
    /// The IO threads, and the application of each.
    apps: Vec<(Handle, axum::Router)>,
    connection_slots: ConnectionSlots,
    unsent: UnsentAnswers,
    large: LargeRequests,
    drain: Drain,
}

impl Accepting {
    pub(super) fn new(
        apps: Vec<(Handle, axum::Router)>,
        max_connections: usize,
        drain: Drain,
    ) -> Self {
        let connection_slots = ConnectionSlots::of_requests(max_connections);
        Self {
            apps,
            connection_slots,
            unsent: UnsentAnswers::default(),
            large: LargeRequests::new(),
            drain,
        }
    }

    /// Accepts connections until the drain begins, then waits until all have ended.
    pub(super) async fn run(self, socket: std::net::TcpListener) {
        let listener = match TcpListener::from_std(socket) {
            Ok(listener) => listener,
            Err(cause) => return tracing::error!(%cause, "the socket cannot be used"),
        };
        let (mut connections, mut stop) = (JoinSet::new(), self.drain.clone());
        let mut apps = self.apps.iter().cycle();
        loop {
            tokio::select! {
                biased;
                () = stop.begun() => break,
                Some(_) = connections.join_next(), if !connections.is_empty() => {}
                (stream, address) = self.accept(&listener) => {
                    if let Some((thread, app)) = apps.next() {
                        let app = app.clone();
                        self.spawn_connection(&mut connections, thread, app, stream, address);
                    }
                }
            }
        }
        drop(listener);
        while connections.join_next().await.is_some() {}
    }

    /// Waits for a free slot, then for a client. Other clients wait in the backlog of the system.
    async fn accept(&self, listener: &TcpListener) -> (TcpStream, SocketAddr) {
        self.connection_slots.wait_for_slot().await;
        loop {
            match listener.accept().await {
                Ok(accepted) => return accepted,
                Err(cause) => {
                    tracing::warn!(%cause, "a connection could not be accepted");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }

    fn spawn_connection(
        &self,
        connections: &mut JoinSet<()>,
        thread: &Handle,
        app: axum::Router,
        stream: TcpStream,
        address: SocketAddr,
    ) {
        let origin = Origin::Address(address.ip().to_canonical());
        let (unsent, large) = (self.unsent.of(&origin), self.large.share_of(&origin));
        let requests =
            Requests { app, seat: Seat::new(self.connection_slots.clone(), origin), unsent, large };
        let (stream, drain) = (stream.into_std(), self.drain.clone());
        let connection = async move {
            if let Err(cause) = serve(stream, requests, drain).await {
                tracing::debug!(%cause, "a connection cannot be served");
            }
        };
        connections.spawn_on(connection, thread);
    }
}

/// Serves a connection until it ends, a newer connection evicts it, or the drain is over.
async fn serve(
    stream: io::Result<std::net::TcpStream>,
    requests: Requests,
    mut drain: Drain,
) -> io::Result<()> {
    // From here on the stream belongs to the runtime of this thread.
    let stream = TcpStream::from_std(stream?)?;
    stream.set_nodelay(true)?;
    let (io, seat) =
        (TokioIo::new(ClientStream::new(stream, STALL_TIMEOUT)), requests.seat.clone());
    let mut builder = http1::Builder::new();
    builder.timer(TokioTimer::new()).header_read_timeout(HEADER_TIMEOUT).max_buf_size(MAX_HEAD);
    let mut connection = pin!(builder.serve_connection(io, requests));
    let (mut cutoff, mut draining) = (drain.clone(), false);
    loop {
        tokio::select! {
            biased;
            ended = connection.as_mut() => {
                if let Err(cause) = ended {
                    tracing::debug!(%cause, "a connection ended");
                }
                return Ok(());
            }
            () = cutoff.over() => return Ok(()),
            () = drain.begun(), if !draining => {
                draining = true;
                connection.as_mut().graceful_shutdown();
            }
            // After the connection, whose poll determines whether a request runs.
            () = poll_fn(|cx| seat.poll_evicted(cx)) => return Ok(()),
        }
    }
}
