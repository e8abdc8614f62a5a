//! Transports and listeners: the parts that all remote strategies share.

#[cfg(any(feature = "http", feature = "wire"))]
#[cfg_attr(
    not(all(feature = "http", feature = "wire")),
    allow(dead_code, reason = "each strategy uses its part")
)]
pub(crate) mod backoff;
#[cfg(any(feature = "wire", feature = "gateway"))]
pub(crate) mod connection_slots;
#[cfg(any(feature = "http", feature = "wire"))]
#[cfg_attr(
    not(all(feature = "http", feature = "wire")),
    allow(dead_code, reason = "each strategy uses its part")
)]
pub(crate) mod contract;
#[cfg(any(feature = "http", feature = "wire"))]
pub(crate) mod health;
mod inbound;
#[cfg(any(feature = "wire", feature = "gateway"))]
pub(crate) mod io;
#[cfg(any(feature = "wire", feature = "gateway"))]
pub(crate) mod large_requests;
#[cfg(feature = "wire")]
pub(crate) mod link;
mod listener;
#[cfg(any(feature = "wire", feature = "gateway"))]
pub(crate) mod origin;
mod remote;
#[cfg(feature = "wire")]
pub(crate) mod remote_name;
#[cfg(any(feature = "wire", feature = "gateway"))]
pub(crate) mod unsent;

use crate::call::ServiceDesc;
use crate::routes::{Route, RouteError};

pub use inbound::{Exposure, Inbound};
pub use listener::{Drain, Listener, Listening, ServeError};
pub use remote::{Remote, TransportState};

#[cfg(any(feature = "wire", feature = "gateway"))]
pub(crate) use connection_slots::ConnectionSlots;
pub(crate) use inbound::ExposedServices;
#[cfg(feature = "mcp")]
pub(crate) use inbound::Listed;
pub(crate) use listener::DrainSwitch;
#[cfg(any(feature = "wire", feature = "gateway"))]
pub(crate) use origin::Origin;

/// Turns routes of one strategy into tower services. `http` is one implementation; users can write
/// others.
///
/// ```
/// use connectivity_core::{BuildContext, CallService, Remote, Reply, Route, RouteError, Transport};
///
/// /// Replies to every call with the endpoint of its row.
/// struct Echo;
///
/// impl Transport for Echo {
///     fn build(&self, route: &Route, _context: &BuildContext<'_>) -> Result<Remote, RouteError> {
///         let endpoint = route.endpoint().ok_or_else(|| RouteError::endpoint("`echo` needs one"))?.to_owned();
///         Ok(Remote::new(CallService::from_fn(move |_call| {
///             let reply = Reply::raw(endpoint.clone());
///             async move { Ok(reply) }
///         })))
///     }
/// }
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a transport",
    note = "implement `connectivity_core::Transport`: `fn build(&self, route: &Route, context: &BuildContext<'_>) -> Result<Remote, RouteError>`"
)]
pub trait Transport: Send + Sync + 'static {
    /// Builds the service of a route. Checks everything that can be checked without a network, and
    /// returns at once.
    ///
    /// It runs while a table is built, on a thread that may have no runtime. The returned service
    /// connects on first use or in the background, and reconnects by itself. Registrations, reloads
    /// and new clients of the router wait for this function; calls do not. So it must not register
    /// or reload on that router: that panics, and makes the row bad.
    ///
    /// # Errors
    /// Returns what is wrong with the row. The last good route of that name stays in force.
    fn build(&self, route: &Route, context: &BuildContext<'_>) -> Result<Remote, RouteError>;

    /// Checks a row before it is written: its endpoint, the config keys of this transport, and the
    /// files that they name. Secrets are not read: they may exist only for the calling process.
    ///
    /// [`Admin`](crate::Admin) calls this, and so do the command line and the tools for agents. By
    /// default, every row passes.
    ///
    /// # Errors
    /// Returns the error that [`build`](Self::build) would return.
    fn check(&self, route: &Route) -> Result<(), RouteError> {
        let _ = route;
        Ok(())
    }

    /// Checks a row against what this process knows of its calls, so that a row that cannot serve
    /// them is bad before the first call fails.
    ///
    /// It is called before [`build`](Self::build), by the [`Admin`](crate::Admin) of a router, and
    /// again when more becomes known about the calls of a row in force. It must be quick and must
    /// not read files. By default, every row passes.
    ///
    /// # Errors
    /// Returns why the row cannot serve the calls.
    fn check_calls(&self, route: &Route, context: &BuildContext<'_>) -> Result<(), RouteError> {
        let _ = (route, context);
        Ok(())
    }
}

/// Information about the router for which a transport builds a route.
#[derive(Debug)]
pub struct BuildContext<'a> {
    node: Option<&'a str>,
    calls: Calls,
}

/// This process's knowledge about the calls of a row.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Calls {
    /// The contract of the service or method.
    pub(crate) contract: Option<&'static ServiceDesc>,
    /// Whether the calls are raw bytes: a raw service is registered, or raw calls were made.
    pub(crate) raw: bool,
}

impl PartialEq for Calls {
    fn eq(&self, other: &Self) -> bool {
        self.contract.map(std::ptr::from_ref) == other.contract.map(std::ptr::from_ref)
            && self.raw == other.raw
    }
}

impl<'a> BuildContext<'a> {
    pub(crate) fn new(node: Option<&'a str>, calls: Calls) -> Self {
        Self { node, calls }
    }

    /// Returns the contract of the row's calls, if this process has clients or an implementation of
    /// it. It is the contract of the service with the row's name, or of the service that has a
    /// method of that name.
    #[must_use]
    pub fn contract(&self) -> Option<&'static ServiceDesc> {
        self.calls.contract
    }

    /// Returns whether the row's calls are those of a raw service: no contract is known, and a raw
    /// service is registered under this name or has been called through the row.
    #[must_use]
    pub fn is_raw(&self) -> bool {
        self.calls.raw && self.calls.contract.is_none()
    }

    /// Returns the node name of this process, if the router has one.
    #[must_use]
    pub fn node(&self) -> Option<&str> {
        self.node
    }
}
