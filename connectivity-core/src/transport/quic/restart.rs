//! What lets a restarted process tell those who still talk to the one before it that it knows nothing of them (a stateless reset,
//! RFC 9000, 10.3). Without that they learn it from silence, seconds later.

use std::sync::Arc;
use std::time::Duration;

use quinn::{ConnectionId, ConnectionIdGenerator, EndpointConfig};
use ring::hmac;
use ring::rand::{SecureRandom, SystemRandom};

/// The length of our connection ids.
const ID: usize = 8;

/// Lets an endpoint be recognised after a restart, by a secret that survives it.
pub(crate) fn survive(config: &mut EndpointConfig, secret: &[u8]) {
    config.reset_key(Arc::new(hmac::Key::new(hmac::HMAC_SHA256, secret)));
    config.cid_generator(|| Box::new(Ids(SystemRandom::new())));
}

/// Makes random ids. Quinn's own, by default, bear a mark of their process, and others are dropped in silence.
struct Ids(SystemRandom);

impl ConnectionIdGenerator for Ids {
    fn generate_cid(&mut self) -> ConnectionId {
        let mut id = [0; ID];
        self.0.fill(&mut id).expect("a system without random numbers has no TLS either");
        ConnectionId::new(&id)
    }

    fn cid_len(&self) -> usize {
        ID
    }

    fn cid_lifetime(&self) -> Option<Duration> {
        None
    }
}
