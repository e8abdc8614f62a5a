//! The way out: what turns a remote route into a service of calls.

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

/// Turns routes of one strategy into services: `http` is one, and yours can be another.
///
/// ```
/// use connectivity_core::{BuildContext, CallService, Remote, Reply, Route, RouteError, Transport};
///
/// /// Answers every call with the endpoint of its row.
/// struct Echo;
///
/// impl Transport for Echo {
///     fn build(&self, route: &Route, _context: &BuildContext<'_>) -> Result<Remote, RouteError> {
///         let endpoint = route.endpoint().ok_or_else(|| RouteError::endpoint("`echo` needs one"))?.to_owned();
///         Ok(Remote::new(CallService::from_fn(move |_call| {
///             let answer = Reply::raw(endpoint.clone());
///             async move { Ok(answer) }
///         })))
///     }
/// }
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a transport",
    note = "implement `connectivity_core::Transport`: `fn build(&self, route: &Route, context: &BuildContext<'_>) -> Result<Remote, RouteError>`"
)]
pub trait Transport: Send + Sync + 'static {
    /// Checks everything about a route that can be checked without a network, and returns at once.
    ///
    /// It runs while a table is built, on a thread that may have no runtime. What it returns
    /// connects when it is first used, or in the background, and reconnects by itself.
    /// Registrations, reloads and new clients of the router wait for it; calls do not. So it must
    /// not register or reload there itself: that panics, and makes the row bad.
    ///
    /// # Errors
    /// What is wrong with the row; the last good route of that name stays in force.
    fn build(&self, route: &Route, context: &BuildContext<'_>) -> Result<Remote, RouteError>;

    /// Checks what a row says, before anybody writes it: its endpoint, the keys of its config that
    /// are this transport's, and the files that they name. Secrets are not read, which may be there
    /// only for the process that calls.
    ///
    /// [`Admin`](crate::Admin) asks this, and with it the command line and the tools for agents.
    /// Everything passes by default.
    ///
    /// # Errors
    /// What [`build`](Self::build) would say.
    fn check(&self, route: &Route) -> Result<(), RouteError> {
        let _ = route;
        Ok(())
    }

    /// Checks a row against what this process knows of its calls, so that a row which none of them
    /// can go by is bad before the first one fails. It is asked before [`build`](Self::build), by
    /// the [`Admin`](crate::Admin) of a router, and again when more has become known of the calls
    /// of a row in force; it has to be quick, and looks at no files. Everything passes by default.
    ///
    /// # Errors
    /// Why calls cannot go by the row.
    fn check_calls(&self, route: &Route, context: &BuildContext<'_>) -> Result<(), RouteError> {
        let _ = (route, context);
        Ok(())
    }
}

/// What a transport may know about the router it builds for.
#[derive(Debug)]
pub struct BuildContext<'a> {
    node: Option<&'a str>,
    calls: Calls,
}

/// What a process knows of the calls of a row.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Calls {
    /// The contract of the service or method.
    pub(crate) contract: Option<&'static ServiceDesc>,
    /// They were bytes, or will be.
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

    /// Shows the contract that the row's calls go by, if this process has clients or an
    /// implementation of it: that of the service of this name, or of the service that has a method
    /// of this name.
    #[must_use]
    pub fn contract(&self) -> Option<&'static ServiceDesc> {
        self.calls.contract
    }

    /// Says whether the row's calls are those of a raw service: one is registered under this name,
    /// or has been called through the row, and no contract is known.
    #[must_use]
    pub fn is_raw(&self) -> bool {
        self.calls.raw && self.calls.contract.is_none()
    }

    /// Names this process, if the router was given a name.
    #[must_use]
    pub fn node(&self) -> Option<&str> {
        self.node
    }
}
