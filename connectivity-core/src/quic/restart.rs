//! What lets a restarted process tell those who still talk to the one before it that it knows
//! nothing of them (a stateless reset, RFC 9000, 10.3). Without that they learn it from silence,
//! seconds later.

use std::sync::Arc;
use std::time::Duration;

use quinn::{ConnectionId, ConnectionIdGenerator, EndpointConfig};
use ring::hmac;
use ring::rand::{SecureRandom, SystemRandom};

/// The length of our connection ids.
const ID: usize = 8;

/// Lets the endpoint of one listener be recognised after a restart, by a secret that survives it.
pub(crate) fn survive(config: &mut EndpointConfig, secret: &[u8], alpn: &[u8], port: u16) {
    config.reset_key(Arc::new(reset_key(secret, alpn, port)));
    config.cid_generator(|| Box::new(Ids(SystemRandom::new())));
}

/// Makes the key of one listener. With a key for two of them, one could be asked for the tokens
/// that end connections of the other (RFC 9000, 21.11).
fn reset_key(secret: &[u8], alpn: &[u8], port: u16) -> hmac::Key {
    let secret = hmac::Key::new(hmac::HMAC_SHA256, secret);
    let own = hmac::sign(&secret, &[b"stateless reset ", alpn, &port.to_be_bytes()[..]].concat());
    hmac::Key::new(hmac::HMAC_SHA256, own.as_ref())
}

/// Makes random ids. Quinn's own, by default, bear a mark of their process, and others are dropped
/// in silence.
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_listener_has_a_key_of_its_own_that_survives_a_restart() {
        let token = |alpn: &[u8], port| {
            hmac::sign(&reset_key(b"of the identity", alpn, port), b"an id").as_ref().to_vec()
        };
        let token_of = token(b"connectivity", 4433);
        assert_eq!(token_of, token(b"connectivity", 4433));
        assert_ne!(token_of, token(b"mcp-quic-v1", 4433));
        assert_ne!(token_of, token(b"connectivity", 4434));
    }
}
