//! MCP sessions over QUIC, compatible with the Go original: `docs/mcp-over-quic.md`.

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

/// Default limit of concurrent sessions.
const MAX_SESSIONS: usize = 256;

/// Timeout of each of: the handshake, the first four bytes, the first request.
const OPEN_TIMEOUT: Duration = Duration::from_secs(10);

/// Write timeout: how long a client may leave a reply unread.
const WRITE_TIMEOUT: Duration = Duration::from_secs(30);

/// Idle timeout: a connection that is silent for this long is dead.
const IDLE_TIMEOUT: Duration = Duration::from_secs(60);

/// Interval between keep-alive packets on an idle connection.
const KEEP_ALIVE_INTERVAL: Duration = Duration::from_secs(15);

/// Flow control: maximum unread bytes of one connection.
const RECEIVE_WINDOW: u32 = 1 << 20;

/// How long the last replies may take to arrive before the connection is closed.
const LINGER: Duration = Duration::from_secs(1);

/// Number of connections above which a client must validate its address first.
const PENDING_UNPROVEN: usize = 32;

/// Maximum number of handshakes that wait to be accepted.
const MAX_PENDING: usize = 64;

/// Close codes of a connection.
const CLOSE_NORMAL: VarInt = VarInt::from_u32(0);
const CLOSE_VIOLATION: VarInt = VarInt::from_u32(3);

type Configure = Box<dyn FnOnce(Mcp) -> Mcp + Send + Sync>;

/// Listener for MCP sessions over QUIC (ALPN `mcp-quic-v1`), TLS 1.3. Limits: 256 sessions, 128
/// requests in flight per session, messages of 10 MiB, a reply unread for 30 s.
///
/// An address that other machines can reach needs a rule for who may call: [`Tls::client_ca`], or
/// [`open_to_everyone`](Self::open_to_everyone).
pub struct McpListener {
    address: String,
    tls: Tls,
    offer: Offer,
    open_to_everyone: bool,
    max_sessions: usize,
}

enum Offer {
    /// The services that the server exposes.
    OfServer(Vec<Configure>),
    Own(Box<Mcp>),
}

impl McpListener {
    /// Creates a listener on an address such as `0.0.0.0:4434`, with this identity. With port 0 the
    /// system chooses a port.
    #[must_use]
    pub fn new(address: impl Into<String>, tls: Tls) -> Self {
        Self::with(address.into(), tls, Offer::OfServer(Vec::new()))
    }

    /// Creates a listener that offers these tools instead of the services that its server exposes,
    /// for example those of [`Mcp::admin`].
    #[must_use]
    pub fn offering(mcp: Mcp, address: impl Into<String>, tls: Tls) -> Self {
        Self::with(address.into(), tls, Offer::Own(Box::new(mcp)))
    }

    fn with(address: String, tls: Tls, offer: Offer) -> Self {
        Self { address, tls, offer, open_to_everyone: false, max_sessions: MAX_SESSIONS }
    }

    /// Configures what is offered, such as limits and raw services.
    #[must_use]
    pub fn mcp(mut self, configure: impl FnOnce(Mcp) -> Mcp + Send + Sync + 'static) -> Self {
        self.offer = match self.offer {
            Offer::OfServer(mut configures) => {
                configures.push(Box::new(configure));
                Offer::OfServer(configures)
            }
            Offer::Own(mcp) => Offer::Own(Box::new(configure(*mcp))),
        };
        self
    }

    /// Allows every client that can reach the address. Does not apply to the admin tools.
    #[must_use]
    pub fn open_to_everyone(mut self) -> Self {
        self.open_to_everyone = true;
        self
    }

    /// Sets the limit of concurrent sessions. Default: 256. Further connections are refused.
    #[must_use]
    pub fn max_sessions(mut self, limit: usize) -> Self {
        self.max_sessions = limit;
        self
    }

    fn build_inner(&mut self, inbound: Inbound, work: Workplace) -> Arc<Inner> {
        let mcp = match std::mem::replace(&mut self.offer, Offer::OfServer(Vec::new())) {
            Offer::Own(mcp) => *mcp,
            Offer::OfServer(configures) => {
                configures.into_iter().fold(Mcp::new(inbound), |mcp, configure| configure(mcp))
            }
        };
        mcp.into_inner(work)
    }

    async fn bind(
        &self,
        requires_auth: bool,
        thread: &IoThread<Work>,
    ) -> Result<(Endpoint, Freed), ServeError> {
        let open = self.open_to_everyone && !requires_auth;
        let binding = Binding { address: &self.address, tls: &self.tls, open };
        let address = binding.resolve().await?;
        let _guard = thread.handle().enter();
        binding.bind(address, &[ALPN], |config| {
            config.transport_config(transport());
            config.max_incoming(MAX_PENDING).incoming_buffer_size_total(1 << 20);
        })
    }
}

fn transport() -> Arc<TransportConfig> {
    let mut config = TransportConfig::default();
    config
        .max_idle_timeout(IdleTimeout::try_from(IDLE_TIMEOUT).ok())
        .keep_alive_interval(Some(KEEP_ALIVE_INTERVAL))
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
            let address_text = self.address.clone();
            let bind_error = |cause| ServeError::Bind { address: address_text.clone(), cause };
            // Sockets have a thread of their own, so that keep-alives are answered even if tools
            // block all other threads.
            let (threads, ended) = IoThreads::start("mcp", 1).map_err(bind_error)?;
            let work =
                Workplace::off_thread(threads.get(0), Handle::current(), InlinePolicies::default());
            let inner = self.build_inner(inbound, work);
            let (endpoint, freed) =
                self.bind(inner.catalogue.requires_auth(), threads.get(0)).await?;
            let address: SocketAddr = endpoint.local_addr().map_err(bind_error)?;
            let runtime = threads.get(0).handle().clone();
            runtime.spawn(async move {
                accept(endpoint, inner, self.max_sessions, drain).await;
                drop(threads);
            });
            Ok(Listening::new(address, async move {
                ended.wait().await;
                // From here on another server can bind the address.
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
    let Some(established) = admitted.establish(OPEN_TIMEOUT).await? else { return Ok(()) };
    let Established { connection, peer, place: _slot, .. } = established;
    let (code, reason): (_, &[u8]) =
        match tokio::time::timeout(OPEN_TIMEOUT, open(&connection)).await {
            Ok(Ok(Some(stream))) => {
                let ended = session(connection.clone(), peer, stream, inner, drain.clone()).await;
                // The last replies are still on their way.
                tokio::select! {
                    _ = tokio::time::timeout(LINGER, connection.closed()) => {}
                    () = drain.over() => {}
                }
                match ended {
                    End::TooLong => (CLOSE_VIOLATION, b"a message was too long"),
                    End::Closed | End::Broken => (CLOSE_NORMAL, b"the session has ended"),
                }
            }
            Ok(Ok(None)) => (CLOSE_VIOLATION, b"invalid magic bytes"),
            Ok(Err(closed)) => return Err(closed),
            Err(_elapsed) => (CLOSE_VIOLATION, b"no session was begun in time"),
        };
    connection.close(code, reason);
    Ok(())
}

/// Accepts the only stream and reads its first bytes. Returns `None` if they are not `MCP1`.
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
    let limits = Limits {
        open_timeout: Some(OPEN_TIMEOUT),
        write_timeout: Some(WRITE_TIMEOUT),
        max_message: inner.max_message,
    };
    let (writer, reader) = stream;
    tokio::select! {
        biased;
        ended = session::serve(inner, peer, (reader, writer), limits, Some(drain)) => ended,
        // While a session ends, no task reads the stream, so a closed connection is detected here.
        _ = connection.closed() => End::Broken,
    }
}
