//! Binding a listener: the rule who may call, and a socket whose clients are told of a restart.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use quinn::crypto::rustls::QuicServerConfig;
use quinn::{Endpoint, ServerConfig};

use super::socket::Freed;
use super::{restart, settings, socket};
use crate::tls::Tls;
use crate::transport::ServeError;

/// Where to listen, as whom, and whether for everybody.
pub(crate) struct Binding<'a> {
    pub(crate) address: &'a str,
    pub(crate) tls: &'a Tls,
    pub(crate) open: bool,
}

impl Binding<'_> {
    /// Looks the address up; one that other machines reach needs a rule who may call.
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

    /// Binds the address, on the runtime that is entered.
    pub(crate) fn bind(
        &self,
        address: SocketAddr,
        alpn: &[u8],
        configure: impl FnOnce(&mut ServerConfig),
    ) -> Result<(Endpoint, Freed), ServeError> {
        let invalid = |cause| self.cannot(io::Error::new(io::ErrorKind::InvalidInput, cause));
        let config = self.server_config(alpn, configure).map_err(invalid)?;
        let bound = settings::bind(address).map_err(|cause| self.cannot(cause))?;
        let mut endpoint = settings::endpoint();
        let port = bound.local_addr().map_err(|cause| self.cannot(cause))?.port();
        restart::survive(&mut endpoint, &self.tls.secret(), alpn, port);
        socket::endpoint(endpoint, Some(config), bound).map_err(|cause| self.cannot(cause))
    }

    fn server_config(
        &self,
        alpn: &[u8],
        configure: impl FnOnce(&mut ServerConfig),
    ) -> Result<ServerConfig, Box<dyn std::error::Error + Send + Sync>> {
        let crypto = QuicServerConfig::try_from(self.tls.server_config(&[alpn])?)?;
        let mut config = ServerConfig::with_crypto(Arc::new(crypto));
        configure(&mut config);
        Ok(config)
    }

    pub(crate) fn cannot(&self, cause: io::Error) -> ServeError {
        ServeError::Bind { address: self.address.to_owned(), cause }
    }
}
