//! The listener of a subscriber: who may push, and the connections of those who do.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use quinn::{Endpoint, IdleTimeout, ServerConfig, TransportConfig, VarInt};
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};

use super::error::SyncError;
use super::meta::SnapshotMeta;
use super::protocol::{
    ALPN_CHUNKS, ALPN_ORIGINAL, DONE, IDLE_TIMEOUT, KEEP_ALIVE_INTERVAL, REFUSED, speaks_chunks,
};
use super::receive::{Receiver, Refusal};
use crate::quic::admission::{Admission, Admitted, Established};
use crate::quic::binding::Binding;
use crate::quic::socket::Freed;
use crate::tls::Tls;
use crate::transport::Drain;

/// Limits of connections, and of those that have not proven their address.
const MAX_CONNECTIONS: usize = 64;
const UNPROVEN: usize = 16;
const MAX_PENDING: usize = 64;

const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);

/// Unread bytes of a connection. The original's sender closes 200 ms after its last byte, whatever
/// has arrived by then; this is read in far less.
const RECEIVE_WINDOW: u32 = 4 << 20;

/// How long a verdict may take to arrive before the connection is forgotten.
const LINGER: Duration = Duration::from_secs(1);

/// Who may push.
#[derive(Clone, Debug, Default)]
pub(super) struct Access {
    /// Names of clients; none is everyone that the identity of the listener accepts.
    pub(super) pushers: Vec<String>,
    pub(super) open_to_everyone: bool,
}

/// What is called with each snapshot that comes into force.
pub(super) type OnSwap = Arc<dyn Fn(&SnapshotMeta) + Send + Sync>;

/// What the connections of a subscriber share.
pub(super) struct Inbox {
    pub(super) receiver: Arc<Receiver>,
    access: Access,
    /// The snapshot that came into force last.
    swapped: watch::Sender<Option<SnapshotMeta>>,
    last_refusal: Mutex<Option<String>>,
}

/// Binds the address and accepts connections, on the runtime of the caller. Returns the address,
/// and a task that ends with the drain.
pub(super) async fn start(
    inbox: Arc<Inbox>,
    address: String,
    tls: Tls,
    drain: Drain,
) -> Result<(String, JoinHandle<()>), SyncError> {
    let binding = Binding { address: &address, tls: &tls, open: inbox.access.open_to_everyone };
    let resolved = binding.resolve().await?;
    let (endpoint, freed) = binding.bind(resolved, &[ALPN_CHUNKS, ALPN_ORIGINAL], configure)?;
    let bound = endpoint.local_addr().map_err(|cause| binding.cannot(cause))?;
    Ok((bound.to_string(), tokio::spawn(accept(endpoint, freed, inbox, drain))))
}

fn configure(config: &mut ServerConfig) {
    let mut transport = TransportConfig::default();
    transport
        .max_idle_timeout(IdleTimeout::try_from(IDLE_TIMEOUT).ok())
        .keep_alive_interval(Some(KEEP_ALIVE_INTERVAL))
        .max_concurrent_bidi_streams(VarInt::from_u32(1))
        .max_concurrent_uni_streams(VarInt::from_u32(0))
        .datagram_receive_buffer_size(None)
        .stream_receive_window(VarInt::from_u32(RECEIVE_WINDOW))
        .receive_window(VarInt::from_u32(RECEIVE_WINDOW));
    config.transport_config(Arc::new(transport));
    config.max_incoming(MAX_PENDING).incoming_buffer_size_total(1 << 20);
}

async fn accept(endpoint: Endpoint, freed: Freed, inbox: Arc<Inbox>, mut drain: Drain) {
    let admission = Admission::new(endpoint, MAX_CONNECTIONS, UNPROVEN);
    let mut pushes = JoinSet::new();
    loop {
        let admitted = tokio::select! {
            biased;
            () = drain.begun() => break,
            Some(_) = pushes.join_next(), if !pushes.is_empty() => continue,
            admitted = admission.next() => admitted,
        };
        let Some(admitted) = admitted else { break };
        pushes.spawn(connection(admitted, Arc::clone(&inbox)));
    }
    let ended = async { while pushes.join_next().await.is_some() {} };
    admission.close(ended, drain).await;
    pushes.shutdown().await;
    freed.wait().await;
}

/// Receives the push of one connection, and says what became of it by closing it.
async fn connection(admitted: Admitted, inbox: Arc<Inbox>) {
    let established = match admitted.establish(HANDSHAKE_TIMEOUT).await {
        Ok(Some(established)) => established,
        Ok(None) => return,
        Err(cause) => return tracing::debug!(%cause, "no connection of a publisher"),
    };
    let Established { connection, peer, origin, place: _slot } = established;
    let peer = peer.map(|peer| peer.name().to_owned());
    let result = match inbox.access.check(peer.as_deref()) {
        Ok(()) => inbox.receiver.receive(&connection, origin, speaks_chunks(&connection)).await,
        Err(refusal) => Err(refusal),
    };
    match result {
        Ok(swapped) => {
            inbox.set_last_refusal(None);
            connection.close(DONE.0.into(), DONE.1);
            if let Some(stored) = swapped {
                tracing::info!(version = stored.meta.version, "a snapshot is in force");
                inbox.swapped.send_replace(Some(stored.meta.clone()));
            }
        }
        Err(Refusal(text)) => {
            tracing::warn!(peer, refusal = text, "a push was refused");
            connection.close(REFUSED.into(), text.as_bytes());
            inbox.set_last_refusal(Some(text));
        }
    }
    let _ = tokio::time::timeout(LINGER, connection.closed()).await;
}

impl Access {
    /// Checks that a client may push.
    fn check(&self, peer: Option<&str>) -> Result<(), Refusal> {
        let known = |name: &str| self.pushers.iter().any(|pusher| pusher == name);
        match peer {
            _ if self.pushers.is_empty() => Ok(()),
            Some(name) if known(name) => Ok(()),
            Some(name) => Err(Refusal(format!("`{name}` may not push here"))),
            None => Err(Refusal("a client without a certificate may not push here".to_owned())),
        }
    }
}

impl Inbox {
    pub(super) fn new(receiver: Receiver, access: Access) -> Self {
        let (swapped, last_refusal) = (watch::Sender::new(None), Mutex::default());
        Self { receiver: Arc::new(receiver), access, swapped, last_refusal }
    }

    /// Returns a future that calls the application with each snapshot that comes into force, until
    /// this is dropped.
    pub(super) fn telling(&self, on_swap: OnSwap) -> impl Future<Output = ()> + use<> {
        tell(self.swapped.subscribe(), on_swap)
    }

    /// Returns why the last push was refused, if none was taken since.
    pub(super) fn last_refusal(&self) -> Option<String> {
        self.last_refusal.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn set_last_refusal(&self, refusal: Option<String>) {
        *self.last_refusal.lock().unwrap_or_else(PoisonError::into_inner) = refusal;
    }
}

/// Calls the application on a thread, as it may block, and call back. While it does, further
/// snapshots come into force; it hears of the last of them.
async fn tell(mut swapped: watch::Receiver<Option<SnapshotMeta>>, on_swap: OnSwap) {
    while swapped.changed().await.is_ok() {
        let Some(meta) = swapped.borrow_and_update().clone() else { continue };
        let on_swap = Arc::clone(&on_swap);
        let told = tokio::task::spawn_blocking(move || on_swap(&meta)).await;
        if told.is_err() {
            tracing::error!("the function of `on_swap` panicked");
        }
    }
}

impl fmt::Debug for Inbox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Inbox").field("receiver", &self.receiver).finish_non_exhaustive()
    }
}
