//! Client side of strategy `unix`.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::UnixStream;

use super::address::{Address, Users};
use crate::call::BoxFuture;
use crate::error::ErrorKind;
use crate::mux::frame::Role;
use crate::mux::{Connection, Feed, MuxDial, MuxRemote};
use crate::routes::{Route, RouteError};
use crate::transport::link::{Dial, DialError, Links};
use crate::transport::remote_name::RemoteName;
use crate::transport::{BuildContext, Remote, Transport};

/// The time a server has for its first reply.
const FIRST_REPLY_TIMEOUT: Duration = Duration::from_secs(5);

/// Sends calls over Unix sockets, for rows with `strategy = 'unix'`. Their endpoint is a path such
/// as `/run/app/billing.sock`, or an abstract name such as `@billing`.
///
/// Routes to one socket share a connection. The server must run as the user of this process, or as
/// a user that was [allowed](Self::allow_user): otherwise any local process could bind the socket
/// first and impersonate the server.
#[derive(Clone, Debug, Default)]
pub struct UnixTransport {
    users: Users,
    links: Arc<Links<Address, UnixDial>>,
}

impl UnixTransport {
    /// Creates a transport that trusts servers of this process's user.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Also trusts servers that run as this user ID.
    #[must_use]
    pub fn allow_user(mut self, user: u32) -> Self {
        self.users.allow(user);
        self
    }
}

impl Transport for UnixTransport {
    fn build(&self, route: &Route, _context: &BuildContext<'_>) -> Result<Remote, RouteError> {
        let address = address(route)?;
        let dial = || UnixDial { address: address.clone(), users: self.users.clone() };
        Ok(MuxRemote::remote(route, self.links.get(address.clone(), dial)))
    }

    fn check(&self, route: &Route) -> Result<(), RouteError> {
        address(route).map(drop)
    }

    fn check_calls(&self, route: &Route, context: &BuildContext<'_>) -> Result<(), RouteError> {
        RemoteName::check(route, context)
    }
}

fn address(route: &Route) -> Result<Address, RouteError> {
    let text = route.endpoint().ok_or_else(|| RouteError::endpoint("strategy unix needs one"))?;
    Address::parse(text).map_err(RouteError::endpoint)
}

/// Dials one socket.
#[derive(Debug)]
pub(crate) struct UnixDial {
    address: Address,
    users: Users,
}

impl UnixDial {
    /// Connects and waits for the server's first reply: the system completes a connection even if
    /// the server never accepts it.
    async fn connect_shared(&self) -> Result<Connection, DialError> {
        let cannot =
            |cause: &str| DialError::connect(format_args!("{}: {cause}", self.address)).broken();
        let connection = self.connect(Role::Shared).await?;
        match tokio::time::timeout(FIRST_REPLY_TIMEOUT, connection.ready()).await {
            Ok(ready) => ready.map_err(|cause| cannot(&cause))?,
            Err(_elapsed) => return Err(cannot("nobody answers")),
        }
        Ok(connection)
    }

    async fn connect(&self, role: Role) -> Result<Connection, DialError> {
        let cannot =
            |cause: io::Error| DialError::connect(format_args!("{}: {cause}", self.address));
        let stream = UnixStream::connect(self.address.path()).await.map_err(cannot)?;
        self.users
            .check(&stream)
            .map_err(|cause| DialError { kind: ErrorKind::Denied, ..cannot(cause).broken() })?;
        Ok(Connection::start(Feed::Socket, stream.into_split(), role, ()))
    }
}

impl Dial for UnixDial {
    type Connection = Connection;

    fn dial(&self) -> BoxFuture<'_, Result<Connection, DialError>> {
        Box::pin(self.connect_shared())
    }
}

impl MuxDial for UnixDial {
    fn single(&self) -> BoxFuture<'_, Result<Connection, DialError>> {
        Box::pin(self.connect(Role::Single))
    }
}
