//! Sessions over QUIC, as the Go original has them: `docs/mcp-over-quic.md`.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use quinn::{Connection, Endpoint, IdleTimeout, RecvStream, SendStream, TransportConfig, VarInt};
use tokio::runtime::Handle;
use tokio::task::JoinSet;

use super::line::End;
use super::session::{self, Limits};
use super::{Inner, Mcp};
use crate::call::BoxFuture;
use crate::context::Peer;
use crate::mcp::protocol::{ALPN, MAGIC};
use crate::quic::admission::{Admission, Admitted, Established};
use crate::quic::binding::Binding;
use crate::quic::socket::Freed;
use crate::tls::Tls;
use crate::transport::Inbound;
use crate::transport::io::{InlinePolicies, IoThread, IoThreads, Work, Workplace};
use crate::transport::{Drain, Listener, Listening, ServeError};

/// Sessions at once unless said.
const MAX_SESSIONS: usize = 256;

/// How long a client may take for each of these: the handshake, the first four bytes, the first
/// request.
const OPENING: Duration = Duration::from_secs(10);

/// How long a client may leave an answer unread.
const STALL: Duration = Duration::from_secs(30);

/// A connection that is silent for so long is dead.
const IDLE: Duration = Duration::from_secs(60);

/// So often an idle connection shows that it is alive.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// Unread bytes of one connection.
const RECEIVE_WINDOW: u32 = 1 << 20;

/// How long the last answers may take to arrive before the connection is closed.
const LINGER: Duration = Duration::from_secs(1);

/// Connections from which on a client has to prove its address first, and handshakes that wait at
/// the most.
const PENDING_UNPROVEN: usize = 32;
const MAX_PENDING: usize = 64;

/// What a connection is closed with.
const DONE: VarInt = VarInt::from_u32(0);
const VIOLATION: VarInt = VarInt::from_u32(3);

type Configure = Box<dyn FnOnce(Mcp) -> Mcp + Send + Sync>;

/// Listens for sessions of MCP over QUIC (ALPN `mcp-quic-v1`), TLS 1.3. Limits: 256 sessions, 128
/// requests at once in each, messages of 10 MiB, an answer unread for 30 s.
///
/// An address that other machines can reach needs a rule who may call: [`Tls::client_ca`], or
/// [`open_to_everyone`](Self::open_to_everyone).
pub struct McpListener {
    address: String,
    tls: Tls,
    offer: Offer,
    open_to_everyone: bool,
    max_sessions: usize,
}

enum Offer {
    /// What the server exposes.
    OfServer(Vec<Configure>),
    Own(Box<Mcp>),
}

impl McpListener {
    /// Listens on an address such as `0.0.0.0:4434`, with this identity; port 0 lets the system
    /// choose.
    #[must_use]
    pub fn new(address: impl Into<String>, tls: Tls) -> Self {
        Self::with(address.into(), tls, Offer::OfServer(Vec::new()))
    }

    /// Offers these tools instead of what its server exposes: those of [`Mcp::admin`], for example.
    #[must_use]
    pub fn offering(mcp: Mcp, address: impl Into<String>, tls: Tls) -> Self {
        Self::with(address.into(), tls, Offer::Own(Box::new(mcp)))
    }

    fn with(address: String, tls: Tls, offer: Offer) -> Self {
        Self { address, tls, offer, open_to_everyone: false, max_sessions: MAX_SESSIONS }
    }

    /// Changes what is offered: its limits, its raw services.
    #[must_use]
    pub fn mcp(mut self, configure: impl FnOnce(Mcp) -> Mcp + Send + Sync + 'static) -> Self {
        self.offer = match self.offer {
            Offer::OfServer(mut all) => {
                all.push(Box::new(configure));
                Offer::OfServer(all)
            }
            Offer::Own(mcp) => Offer::Own(Box::new(configure(*mcp))),
        };
        self
    }

    /// Lets everybody call who can reach the address. It does not hold for the tools of the admin.
    #[must_use]
    pub fn open_to_everyone(mut self) -> Self {
        self.open_to_everyone = true;
        self
    }

    /// Bounds the sessions at once: 256 unless said. A connection over that is refused.
    #[must_use]
    pub fn max_sessions(mut self, limit: usize) -> Self {
        self.max_sessions = limit;
        self
    }

    fn offered(&mut self, inbound: Inbound, work: Workplace) -> Arc<Inner> {
        let mcp = match std::mem::replace(&mut self.offer, Offer::OfServer(Vec::new())) {
            Offer::Own(mcp) => *mcp,
            Offer::OfServer(all) => {
                all.into_iter().fold(Mcp::new(inbound), |mcp, configure| configure(mcp))
            }
        };
        mcp.into_inner(work)
    }

    async fn bind(
        &self,
        guarded: bool,
        thread: &IoThread<Work>,
    ) -> Result<(Endpoint, Freed), ServeError> {
        let open = self.open_to_everyone && !guarded;
        let binding = Binding { address: &self.address, tls: &self.tls, open };
        let address = binding.resolve().await?;
        let _there = thread.handle().enter();
        binding.bind(address, ALPN, |config| {
            config.transport_config(transport());
            config.max_incoming(MAX_PENDING).incoming_buffer_size_total(1 << 20);
        })
    }
}

fn transport() -> Arc<TransportConfig> {
    let mut config = TransportConfig::default();
    config
        .max_idle_timeout(IdleTimeout::try_from(IDLE).ok())
        .keep_alive_interval(Some(KEEP_ALIVE))
        .max_concurrent_bidi_streams(VarInt::from_u32(1))
        .max_concurrent_uni_streams(VarInt::from_u32(0))
        .datagram_receive_buffer_size(None)
        .receive_window(VarInt::from_u32(RECEIVE_WINDOW));
    Arc::new(config)
}

impl Listener for McpListener {
    fn listen(
        mut self: Box<Self>,
        inbound: Inbound,
        drain: Drain,
    ) -> BoxFuture<'static, Result<Listening, ServeError>> {
        Box::pin(async move {
            let named = self.address.clone();
            let cannot = |cause| ServeError::Bind { address: named.clone(), cause };
            // Sockets have a thread of their own: keep-alives are answered even where tools block
            // all others.
            let (threads, ended) = IoThreads::start("mcp", 1).map_err(cannot)?;
            let work =
                Workplace::apart(threads.get(0), Handle::current(), InlinePolicies::default());
            let inner = self.offered(inbound, work);
            let (endpoint, freed) = self.bind(inner.catalogue.is_guarded(), threads.get(0)).await?;
            let address: SocketAddr = endpoint.local_addr().map_err(cannot)?;
            let there = threads.get(0).handle().clone();
            there.spawn(async move {
                accept(endpoint, inner, self.max_sessions, drain).await;
                drop(threads);
            });
            Ok(Listening::new(address, async move {
                ended.wait().await;
                // Another server can bind the address from here on.
                freed.wait().await;
            }))
        })
    }
}

impl std::fmt::Debug for McpListener {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("McpListener")
            .field("address", &self.address)
            .field("tls", &self.tls)
            .finish_non_exhaustive()
    }
}

async fn accept(endpoint: Endpoint, inner: Arc<Inner>, max_sessions: usize, mut drain: Drain) {
    let admission = Admission::new(endpoint, max_sessions, PENDING_UNPROVEN);
    let mut sessions = JoinSet::new();
    loop {
        let admitted = tokio::select! {
            biased;
            () = drain.begun() => break,
            Some(_) = sessions.join_next(), if !sessions.is_empty() => continue,
            admitted = admission.next() => admitted,
        };
        let Some(admitted) = admitted else { break };
        let (inner, drain) = (Arc::clone(&inner), drain.clone());
        sessions.spawn(async move {
            if let Err(cause) = connection(admitted, inner, drain).await {
                tracing::debug!(%cause, "a session's connection ended");
            }
        });
    }
    let ended = async { while sessions.join_next().await.is_some() {} };
    admission.close(ended, drain).await;
}

async fn connection(
    admitted: Admitted,
    inner: Arc<Inner>,
    mut drain: Drain,
) -> Result<(), quinn::ConnectionError> {
    let Some(established) = admitted.establish(OPENING).await? else { return Ok(()) };
    let Established { connection, peer, place: _place, .. } = established;
    let (code, reason): (_, &[u8]) = match tokio::time::timeout(OPENING, open(&connection)).await {
        Ok(Ok(Some(stream))) => {
            let ended = session(connection.clone(), peer, stream, inner, drain.clone()).await;
            // What was written last is still on its way.
            tokio::select! {
                _ = tokio::time::timeout(LINGER, connection.closed()) => {}
                () = drain.over() => {}
            }
            match ended {
                End::TooLong => (VIOLATION, b"a message was too long"),
                End::Closed | End::Broken => (DONE, b"the session has ended"),
            }
        }
        Ok(Ok(None)) => (VIOLATION, b"invalid magic bytes"),
        Ok(Err(closed)) => return Err(closed),
        Err(_elapsed) => (VIOLATION, b"no session was begun in time"),
    };
    connection.close(code, reason);
    Ok(())
}

/// Takes the one stream, and how it begins; `None` if it begins otherwise.
async fn open(
    connection: &Connection,
) -> Result<Option<(SendStream, RecvStream)>, quinn::ConnectionError> {
    let (writer, mut reader) = connection.accept_bi().await?;
    let mut magic = [0; MAGIC.len()];
    let read = reader.read_exact(&mut magic).await;
    Ok((read.is_ok() && magic == MAGIC).then_some((writer, reader)))
}

async fn session(
    connection: Connection,
    peer: Option<Peer>,
    stream: (SendStream, RecvStream),
    inner: Arc<Inner>,
    drain: Drain,
) -> End {
    let limits = Limits { opening: Some(OPENING), stall: Some(STALL), message: inner.max_message };
    let (writer, reader) = stream;
    tokio::select! {
        biased;
        ended = session::serve(inner, peer, (reader, writer), limits, Some(drain)) => ended,
        // Nobody reads any more while a session ends.
        _ = connection.closed() => End::Broken,
    }
}
