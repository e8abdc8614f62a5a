//! Admission of connections at a QUIC endpoint, and its close; shared by all protocols over QUIC.

use std::time::Duration;

use quinn::{Connection, ConnectionError, Endpoint, Incoming, VarInt};
use rustls::pki_types::CertificateDer;

use crate::context::Peer;
use crate::tls;
use crate::transport::connection_slots::{ConnectionSlot, Opening};
use crate::transport::{ConnectionSlots, Drain, Origin};

/// The close code and reason of a connection over the limit.
const FULL: (VarInt, &[u8]) = (VarInt::from_u32(2), b"too many connections");

/// A QUIC endpoint and its connection slots.
pub(crate) struct Admission {
    endpoint: Endpoint,
    connection_slots: ConnectionSlots,
    unproven: usize,
}

/// A connection that was admitted to its handshake.
pub(crate) struct Admitted {
    pub(crate) incoming: Incoming,
    opening: Opening,
}

/// A connection after its handshake: its client, and its slot.
pub(crate) struct Established {
    pub(crate) connection: Connection,
    pub(crate) peer: Option<Peer>,
    pub(crate) origin: Origin,
    pub(crate) place: ConnectionSlot,
}

impl Admitted {
    /// Waits for the handshake. Returns `None` if it takes longer than `limit`, or if no slot is
    /// free.
    pub(crate) async fn establish(
        self,
        limit: Duration,
    ) -> Result<Option<Established>, ConnectionError> {
        let Self { incoming, mut opening } = self;
        let connecting = incoming.accept()?;
        let address = connecting.remote_address().ip();
        let connection = match opening.wait(tokio::time::timeout(limit, connecting)).await {
            Some(Ok(connection)) => connection?,
            Some(Err(_)) | None => return Ok(None),
        };
        let peer = peer_of(&connection);
        let identity = peer.as_ref().map(|peer| Origin::Identity(peer.name().to_owned()));
        let origin = identity.unwrap_or(Origin::Address(address));
        let Some(place) = opening.establish(origin.clone()) else {
            connection.close(FULL.0, FULL.1);
            return Ok(None);
        };
        Ok(Some(Established { connection, peer, origin, place }))
    }
}

/// Returns the identity in the client's certificate, if it presented one.
fn peer_of(connection: &Connection) -> Option<Peer> {
    let certificates =
        connection.peer_identity()?.downcast::<Vec<CertificateDer<'static>>>().ok()?;
    tls::peer_of(&certificates)
}

impl Admission {
    /// Creates the admission for at most `limit` connections. While more than `unproven` are open,
    /// a client must validate its address first.
    pub(crate) fn new(endpoint: Endpoint, limit: usize, unproven: usize) -> Self {
        Self { endpoint, connection_slots: ConnectionSlots::new(limit), unproven }
    }

    /// Waits for the next connection to admit. Returns `None` when the endpoint is closed.
    ///
    /// # Cancel safety
    /// Dropping the future loses no connection.
    pub(crate) async fn next(&self) -> Option<Admitted> {
        loop {
            let incoming = self.endpoint.accept().await?;
            let is_crowded = self.endpoint.open_connections() > self.unproven;
            if !incoming.remote_address_validated() && is_crowded && incoming.may_retry() {
                // Costs a genuine client one round trip, and stops a spoofed address.
                let _ = incoming.retry();
                continue;
            }
            if self.connection_slots.is_full() {
                incoming.refuse();
                continue;
            }
            let opening =
                self.connection_slots.open(Origin::Address(incoming.remote_address().ip()));
            return Some(Admitted { incoming, opening });
        }
    }

    /// Refuses new connections, waits until `ended` completes or the drain is over, and closes the
    /// endpoint.
    pub(crate) async fn close(self, ended: impl Future<Output = ()>, mut drain: Drain) {
        let refusing = async {
            // Without a refusal the client would wait 5 s before it tries another address.
            while let Some(incoming) = self.endpoint.accept().await {
                incoming.refuse();
            }
            std::future::pending().await
        };
        tokio::select! {
            biased;
            () = ended => {}
            () = drain.over() => {}
            () = refusing => {}
        }
        self.endpoint.close(VarInt::from_u32(0), b"the server has stopped");
        let _ = tokio::time::timeout(Duration::from_millis(200), self.endpoint.wait_idle()).await;
    }
}
