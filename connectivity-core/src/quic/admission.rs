//! Who gets in at a QUIC endpoint, and how it is closed: the same for every protocol that listens
//! on one.

use std::time::Duration;

use quinn::{Connection, ConnectionError, Endpoint, Incoming, VarInt};
use rustls::pki_types::CertificateDer;

use crate::context::Peer;
use crate::tls;
use crate::transport::connection_slots::{ConnectionSlot, Opening};
use crate::transport::{ConnectionSlots, Drain, Origin};

/// What a connection is closed with for which there is no place.
const FULL: (VarInt, &[u8]) = (VarInt::from_u32(2), b"too many connections");

/// A QUIC endpoint and the places of its connections.
pub(crate) struct Admission {
    endpoint: Endpoint,
    connection_slots: ConnectionSlots,
    unproven: usize,
}

/// A connection that may come in.
pub(crate) struct Admitted {
    pub(crate) incoming: Incoming,
    opening: Opening,
}

/// A connection after its handshake: who is at the other end, and the place that it has.
pub(crate) struct Established {
    pub(crate) connection: Connection,
    pub(crate) peer: Option<Peer>,
    pub(crate) origin: Origin,
    pub(crate) place: ConnectionSlot,
}

impl Admitted {
    /// Waits for the handshake; `None` if it takes longer than `limit`, or there is no place.
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

/// The client that has shown a certificate.
fn peer_of(connection: &Connection) -> Option<Peer> {
    let certificates =
        connection.peer_identity()?.downcast::<Vec<CertificateDer<'static>>>().ok()?;
    tls::peer_of(&certificates)
}

impl Admission {
    /// Gives an endpoint `limit` connections at once; above `unproven` of them a client has to
    /// prove its address first.
    pub(crate) fn new(endpoint: Endpoint, limit: usize, unproven: usize) -> Self {
        Self { endpoint, connection_slots: ConnectionSlots::new(limit), unproven }
    }

    /// Waits for a connection that may come in; `None` when the endpoint is closed.
    ///
    /// # Cancel safety
    /// No connection is lost.
    pub(crate) async fn next(&self) -> Option<Admitted> {
        loop {
            let incoming = self.endpoint.accept().await?;
            let is_crowded = self.endpoint.open_connections() > self.unproven;
            if !incoming.remote_address_validated() && is_crowded && incoming.may_retry() {
                // Costs a client a round trip, and a spoofed address everything.
                let _ = incoming.retry();
                continue;
            }
            if self.connection_slots.are_taken() {
                incoming.refuse();
                continue;
            }
            let opening =
                self.connection_slots.open(Origin::Address(incoming.remote_address().ip()));
            return Some(Admitted { incoming, opening });
        }
    }

    /// Lets nobody in any more, waits until the connections have `ended` or the drain is over, and
    /// closes.
    pub(crate) async fn close(self, ended: impl Future<Output = ()>, mut drain: Drain) {
        let refusing = async {
            // Silence would cost the client 5 s before it looks elsewhere.
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
