//! The sockets of this process's QUIC clients.

use std::collections::HashMap;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use quinn::{Endpoint, TokioRuntime};
use tokio::runtime::{Handle, Id};

use super::{settings, socket};

/// Endpoints that connections share: quinn reads each into megabytes of its own, which bursts of
/// packets fill.
///
/// One belongs to the runtime whose connections use it, and lives as long as they do.
#[derive(Debug, Default)]
pub(crate) struct Endpoints(Mutex<HashMap<(Id, bool), Weak<Endpoint>>>);

impl Endpoints {
    /// Finds or makes an endpoint on this runtime that can reach the address.
    pub(super) fn shared(&self, address: SocketAddr) -> io::Result<Arc<Endpoint>> {
        let key = (Handle::current().id(), address.is_ipv6());
        let mut endpoints = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(endpoint) = endpoints.get(&key).and_then(Weak::upgrade) {
            return Ok(endpoint);
        }
        endpoints.retain(|_, endpoint| endpoint.strong_count() > 0);
        let (endpoint, _freed) = socket::endpoint(settings::endpoint(), None, bind(address)?)?;
        let endpoint = Arc::new(endpoint);
        endpoints.insert(key, Arc::downgrade(&endpoint));
        Ok(endpoint)
    }
}

/// Makes an endpoint that nobody shares: large bodies would fill the buffers of small calls.
pub(super) fn alone(address: SocketAddr) -> io::Result<Arc<Endpoint>> {
    Endpoint::new(settings::endpoint(), None, bind(address)?, Arc::new(TokioRuntime)).map(Arc::new)
}

/// Binds a socket that can reach the address.
fn bind(address: SocketAddr) -> io::Result<UdpSocket> {
    let local: SocketAddr = match address {
        SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
        SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
    };
    settings::bind(local)
}
