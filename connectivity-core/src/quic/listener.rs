//! The server side of strategy `quic`.

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

/// Connections at once unless said.
const MAX_CONNECTIONS: usize = 1024;

/// A handshake takes no longer.
const HANDSHAKE: Duration = Duration::from_secs(10);

/// Handshakes that wait before a client has to prove its address first, and at the most.
const PENDING_UNPROVEN: usize = 64;
const MAX_PENDING: usize = 1024;

/// Listens for QUIC, TLS 1.3, on an address such as `0.0.0.0:4433`.
///
/// An address that other machines can reach needs a rule who may call: [`Tls::client_ca`], or
/// [`open_to_everyone`](Self::open_to_everyone).
#[derive(Debug)]
pub struct QuicListener {
    address: String,
    tls: Tls,
    open_to_everyone: bool,
}

impl QuicListener {
    /// Listens on an address, with this identity; port 0 lets the system choose.
    #[must_use]
    pub fn new(address: impl Into<String>, tls: Tls) -> Self {
        Self { address: address.into(), tls, open_to_everyone: false }
    }

    /// Lets everybody call who can reach the address.
    #[must_use]
    pub fn open_to_everyone(mut self) -> Self {
        self.open_to_everyone = true;
        self
    }

    async fn bind(&self, threads: &Threads) -> Result<(Endpoint, Freed), ServeError> {
        let binding =
            Binding { address: &self.address, tls: &self.tls, open: self.open_to_everyone };
        let address = binding.resolve().await?;
        let _first = threads.first().handle().enter();
        binding.bind(address, ALPN, |config| {
            config.transport_config(transport_config());
            config.max_incoming(MAX_PENDING).incoming_buffer_size_total(16 << 20);
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
            let (endpoint, freed) = self.bind(&threads).await?;
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
                // Another server can bind the address from here on.
                ended.wait().await;
                freed.wait().await;
            }))
        })
    }
}

async fn accept(endpoint: Endpoint, serving: Serving, threads: Arc<Threads>, mut drain: Drain) {
    let admission = Admission::new(endpoint, MAX_CONNECTIONS, PENDING_UNPROVEN);
    // Every connection holds a sender: when the last is gone, so are they.
    let (alive, mut gone) = mpsc::channel::<()>(1);
    loop {
        let admitted = tokio::select! {
            biased;
            () = drain.begun() => break,
            admitted = admission.next() => admitted,
        };
        let Some(admitted) = admitted else { break };
        let thread = threads.assign(is_bulk(&admitted.incoming.orig_dst_cid()));
        let (serving, drain, alive) = (serving.on(thread), drain.clone(), alive.clone());
        thread.handle().spawn(async move {
            let _alive = alive;
            if let Err(cause) = connection(admitted, serving, drain).await {
                tracing::debug!(%cause, "a connection ended");
            }
        });
    }
    drop(alive);
    let ended = async {
        // Nothing is ever sent.
        let _ = gone.recv().await;
    };
    admission.close(ended, drain).await;
}

/// The large calls of a connection that run: a client may have as many streams more.
#[derive(Debug)]
struct Running {
    connection: Connection,
    calls: Mutex<u32>,
}

impl Running {
    fn change(&self, change: impl FnOnce(u32) -> u32) {
        let mut calls = self.calls.lock().unwrap_or_else(PoisonError::into_inner);
        *calls = change(*calls);
        self.connection.set_max_concurrent_bi_streams(MAX_STREAMS.saturating_add(*calls).into());
    }
}

impl Streams for Running {
    fn begin(&self) {
        self.change(|calls| calls + 1);
    }

    fn end(&self) {
        self.change(|calls| calls - 1);
    }
}

/// Serves one connection on the thread it was dealt to.
async fn connection(
    admitted: Admitted,
    serving: Serving,
    mut drain: Drain,
) -> Result<(), quinn::ConnectionError> {
    let Some(established) = admitted.establish(HANDSHAKE).await? else { return Ok(()) };
    let Established { connection, peer, origin, place: _place } = established;
    let running = Running { connection: connection.clone(), calls: Mutex::default() };
    let client = Client { peer, origin, streams: Some(Arc::new(running)) };
    let mut streams = JoinSet::new();
    let (mut draining, mut ending) = (false, drain.clone());
    let mut served = 0;
    // A client closes its stream of small calls when it is asked to leave, and keeps the connection
    // of large ones for a while: without a stream there is nothing to wait for.
    while !(draining && streams.is_empty()) {
        tokio::select! {
            biased;
            () = drain.begun(), if !draining => draining = true,
            stream = connection.accept_bi() => match stream {
                Ok((writer, mut reader)) => {
                    served = writer.id().index() + 1;
                    let (serving, client, drain) = (serving.clone(), client.clone(), drain.clone());
                    streams.spawn(async move {
                        if let Some(beginning) = Beginning::read(&mut reader).await {
                            serve(serving, client, beginning, reader, writer, drain).await;
                        }
                    });
                }
                Err(_closed) => break,
            },
            () = ending.over() => break,
            Some(_) = streams.join_next(), if !streams.is_empty() => {}
        }
    }
    streams.abort_all();
    close::leave(&connection, served);
    Ok(())
}
