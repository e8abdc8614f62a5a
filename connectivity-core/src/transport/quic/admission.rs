//! Who gets in at a QUIC endpoint, and how it is closed: the same for every protocol that listens on one.

use std::sync::Arc;
use std::time::Duration;

use quinn::{Endpoint, Incoming, VarInt};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::transport::Drain;

/// An endpoint that lets in so many connections.
pub(crate) struct Admission {
    endpoint: Endpoint,
    places: Arc<Semaphore>,
    unproven: usize,
}

impl Admission {
    /// Gives an endpoint `places` connections at once; above `unproven` of them a client has to prove its address first.
    pub(crate) fn new(endpoint: Endpoint, places: usize, unproven: usize) -> Self {
        Self { endpoint, places: Arc::new(Semaphore::new(places)), unproven }
    }

    /// Waits for a connection that may come in, and its place; `None` when the endpoint is closed.
    ///
    /// # Cancel safety
    /// No connection is lost.
    pub(crate) async fn next(&self) -> Option<(Incoming, OwnedSemaphorePermit)> {
        loop {
            let incoming = self.endpoint.accept().await?;
            let is_crowded = self.endpoint.open_connections() > self.unproven;
            if !incoming.remote_address_validated() && is_crowded && incoming.may_retry() {
                // Costs a client a round trip, and a spoofed address everything.
                let _ = incoming.retry();
                continue;
            }
            match Arc::clone(&self.places).try_acquire_owned() {
                Ok(place) => return Some((incoming, place)),
                Err(_full) => incoming.refuse(),
            }
        }
    }

    /// Lets nobody in any more, waits until the connections have `ended` or the drain is over, and closes.
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
