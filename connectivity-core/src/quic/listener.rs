//! Server side of strategy `quic`.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use quinn::{Connection, Endpoint};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::admission::{Admission, Admitted, Established};
use super::binding::Binding;
use super::endpoints::{MAX_STREAMS, transport_config};
use super::socket::Freed;
use super::threads::{Threads, is_bulk};
use super::{ALPN, close};
use crate::call::BoxFuture;
use crate::mux::{Beginning, Client, Serving, Streams, serve};
use crate::tls::Tls;
use crate::transport::Inbound;
use crate::transport::{Drain, Listener, Listening, ServeError};

/// The default limit of connections.
const MAX_CONNECTIONS: usize = 1024;

/// The handshake timeout.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);

/// The number of open connections above which a client must validate its address first, and the
/// most handshakes that wait.
const VALIDATE_ABOVE: usize = 64;
const MAX_HANDSHAKES: usize = 1024;

/// Listens for QUIC (TLS 1.3) on an address such as `0.0.0.0:4433`.
///
/// An address that other machines can reach needs a rule about who may call: [`Tls::client_ca`] or
/// [`open_to_everyone`](Self::open_to_everyone).
#[derive(Debug)]
pub struct QuicListener {
    address: String,
    tls: Tls,
    open_to_everyone: bool,
}

impl QuicListener {
    /// Creates a listener for an address, with this identity; with port 0 the system chooses one.
    #[must_use]
    pub fn new(address: impl Into<String>, tls: Tls) -> Self {
        Self { address: address.into(), tls, open_to_everyone: false }
    }

    /// Accepts calls from every client that can reach the address.
    #[must_use]
    pub fn open_to_everyone(mut self) -> Self {
        self.open_to_everyone = true;
        self
    }

    async fn bind(&self, threads: &Threads) -> Result<(Endpoint, Freed), ServeError> {
        let binding =
            Binding { address: &self.address, tls: &self.tls, open: self.open_to_everyone };
        let address = binding.resolve().await?;
        let _runtime = threads.first().handle().enter();
        binding.bind(address, &[ALPN], |config| {
            config.transport_config(transport_config());
            config.max_incoming(MAX_HANDSHAKES).incoming_buffer_size_total(16 << 20);
        })
    }
}

impl Listener for QuicListener {
    fn listen(
        self: Box<Self>,
        inbound: Inbound,
        drain: Drain,
    ) -> BoxFuture<'static, Result<Listening, ServeError>> {
        Box::pin(async move {
            let cannot = |cause| ServeError::Bind { address: self.address.clone(), cause };
            let (threads, ended) = Threads::start().map_err(cannot)?;
            let (endpoint, socket_freed) = self.bind(&threads).await?;
            let address: SocketAddr = endpoint.local_addr().map_err(cannot)?;
            let serving = Serving::new(inbound);
            let accepting = threads.first().handle().spawn(accept(
                endpoint,
                serving,
                Arc::clone(&threads),
                drain,
            ));
            Ok(Listening::new(address, async move {
                if let Err(cause) = accepting.await {
                    tracing::error!(%cause, "the listener ended");
                }
                drop(threads);
                // From here on another server can bind the address.
                ended.wait().await;
                socket_freed.wait().await;
            }))
        })
    }
}

async fn accept(endpoint: Endpoint, serving: Serving, threads: Arc<Threads>, mut drain: Drain) {
    let admission = Admission::new(endpoint, MAX_CONNECTIONS, VALIDATE_ABOVE);
    // Every connection holds a sender: `recv` returns once the last connection has ended.
    let (alive, mut all_ended) = mpsc::channel::<()>(1);
    loop {
        let admitted = tokio::select! {
            biased;
            () = drain.begun() => break,
            admitted = admission.next() => admitted,
        };
        let Some(admitted) = admitted else { break };
        let thread = threads.assign(is_bulk(&admitted.incoming.orig_dst_cid()));
        let (serving, drain, alive) = (serving.on_thread(thread), drain.clone(), alive.clone());
        thread.handle().spawn(async move {
            let _alive = alive;
            if let Err(cause) = connection(admitted, serving, drain).await {
                tracing::debug!(%cause, "a connection ended");
            }
        });
    }
    drop(alive);
    let ended = async {
        // No value is ever sent.
        let _ = all_ended.recv().await;
    };
    admission.close(ended, drain).await;
}

/// Counts the large calls that run on a connection: the client may have that many more streams.
#[derive(Debug)]
struct RunningCalls {
    connection: Connection,
    calls: Mutex<u32>,
}

impl RunningCalls {
    fn change(&self, change: impl FnOnce(u32) -> u32) {
        let mut calls = self.calls.lock().unwrap_or_else(PoisonError::into_inner);
        *calls = change(*calls);
        self.connection.set_max_concurrent_bi_streams(MAX_STREAMS.saturating_add(*calls).into());
    }
}

impl Streams for RunningCalls {
    fn call_started(&self) {
        self.change(|calls| calls + 1);
    }

    fn call_ended(&self) {
        self.change(|calls| calls - 1);
    }
}

/// Serves one connection on the thread it was assigned to.
async fn connection(
    admitted: Admitted,
    serving: Serving,
    mut drain: Drain,
) -> Result<(), quinn::ConnectionError> {
    let Some(established) = admitted.establish(HANDSHAKE_TIMEOUT).await? else { return Ok(()) };
    let Established { connection, peer, origin, place: _slot } = established;
    let running = RunningCalls { connection: connection.clone(), calls: Mutex::default() };
    let client = Client { peer, origin, streams: Some(Arc::new(running)) };
    let mut streams = JoinSet::new();
    let (mut draining, mut cutoff) = (false, drain.clone());
    let mut accepted = 0;
    // During a drain a client closes its stream of small calls, but keeps the connection for large
    // bodies open for a while. Without streams there is nothing to wait for.
    while !(draining && streams.is_empty()) {
        tokio::select! {
            biased;
            () = drain.begun(), if !draining => draining = true,
            stream = connection.accept_bi() => match stream {
                Ok((writer, mut reader)) => {
                    accepted = writer.id().index() + 1;
                    let (serving, client, drain) = (serving.clone(), client.clone(), drain.clone());
                    streams.spawn(async move {
                        if let Some(beginning) = Beginning::read(&mut reader).await {
                            serve(serving, client, beginning, reader, writer, drain).await;
                        }
                    });
                }
                Err(_closed) => break,
            },
            () = cutoff.over() => break,
            Some(_) = streams.join_next(), if !streams.is_empty() => {}
        }
    }
    streams.abort_all();
    close::close_drained(&connection, accepted);
    Ok(())
}
