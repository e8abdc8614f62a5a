//! Binds the endpoint of a listener: the rule about who may call, and stateless resets.
//!
//! A restarted server knows nothing of the connections of its predecessor. It answers their packets
//! with a stateless reset (RFC 9000, 10.3), so that the clients reconnect at once. Without it they
//! would notice only after seconds of silence.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use quinn::crypto::rustls::QuicServerConfig;
use quinn::{ConnectionId, ConnectionIdGenerator, Endpoint, EndpointConfig, ServerConfig};
use ring::hmac;
use ring::rand::{SecureRandom, SystemRandom};

use super::socket::Freed;
use super::{endpoints, socket};
use crate::tls::Tls;
use crate::transport::ServeError;

/// The length of a connection ID, in bytes.
const CONNECTION_ID_LENGTH: usize = 8;

/// The address and identity of a listener, and whether it is open to everyone.
pub(crate) struct Binding<'a> {
    pub(crate) address: &'a str,
    pub(crate) tls: &'a Tls,
    pub(crate) open: bool,
}

impl Binding<'_> {
    /// Resolves the address.
    ///
    /// # Errors
    /// Fails if other machines can reach the address and no rule says who may call.
    pub(crate) async fn resolve(&self) -> Result<SocketAddr, ServeError> {
        let mut addresses =
            tokio::net::lookup_host(self.address).await.map_err(|cause| self.cannot(cause))?;
        let address =
            addresses.next().ok_or_else(|| self.cannot(io::ErrorKind::AddrNotAvailable.into()))?;
        if !address.ip().to_canonical().is_loopback()
            && !self.open
            && !self.tls.is_closed_to_strangers()
        {
            return Err(ServeError::NoIdentityRule { address: address.to_string() });
        }
        Ok(address)
    }

    /// Binds the address, on the runtime that the caller has entered.
    pub(crate) fn bind(
        &self,
        address: SocketAddr,
        alpn: &[&[u8]],
        configure: impl FnOnce(&mut ServerConfig),
    ) -> Result<(Endpoint, Freed), ServeError> {
        let invalid = |cause| self.cannot(io::Error::new(io::ErrorKind::InvalidInput, cause));
        let config = self.server_config(alpn, configure).map_err(invalid)?;
        let udp = endpoints::bind_udp(address).map_err(|cause| self.cannot(cause))?;
        let mut endpoint = endpoints::endpoint_config();
        let port = udp.local_addr().map_err(|cause| self.cannot(cause))?.port();
        enable_stateless_reset(&mut endpoint, &self.tls.secret(), &alpn.concat(), port);
        socket::endpoint(endpoint, Some(config), udp).map_err(|cause| self.cannot(cause))
    }

    fn server_config(
        &self,
        alpn: &[&[u8]],
        configure: impl FnOnce(&mut ServerConfig),
    ) -> Result<ServerConfig, Box<dyn std::error::Error + Send + Sync>> {
        let crypto = QuicServerConfig::try_from(self.tls.server_config(alpn)?)?;
        let mut config = ServerConfig::with_crypto(Arc::new(crypto));
        configure(&mut config);
        Ok(config)
    }

    pub(crate) fn cannot(&self, cause: io::Error) -> ServeError {
        ServeError::Bind { address: self.address.to_owned(), cause }
    }
}

/// Lets a restarted listener reset the connections of its predecessor. The reset key is derived
/// from a secret that survives the restart.
fn enable_stateless_reset(config: &mut EndpointConfig, secret: &[u8], alpn: &[u8], port: u16) {
    config.reset_key(Arc::new(reset_key(secret, alpn, port)));
    config.cid_generator(|| Box::new(RandomIds(SystemRandom::new())));
}

/// Derives the reset key of one listener. If two listeners shared a key, an attacker could ask one
/// for the tokens that end connections of the other (RFC 9000, 21.11).
fn reset_key(secret: &[u8], alpn: &[u8], port: u16) -> hmac::Key {
    let secret = hmac::Key::new(hmac::HMAC_SHA256, secret);
    let own = hmac::sign(&secret, &[b"stateless reset ", alpn, &port.to_be_bytes()[..]].concat());
    hmac::Key::new(hmac::HMAC_SHA256, own.as_ref())
}

/// Generates random connection IDs. The IDs of quinn's default generator identify the process, and
/// quinn silently drops packets with an ID of another process.
struct RandomIds(SystemRandom);

impl ConnectionIdGenerator for RandomIds {
    fn generate_cid(&mut self) -> ConnectionId {
        let mut id = [0; CONNECTION_ID_LENGTH];
        self.0.fill(&mut id).expect("a system without random numbers has no TLS either");
        ConnectionId::new(&id)
    }

    fn cid_len(&self) -> usize {
        CONNECTION_ID_LENGTH
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
