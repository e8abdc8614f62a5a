//! The way out: what turns a remote route into a service of calls.

#[cfg(any(feature = "http", feature = "wire"))]
#[cfg_attr(not(all(feature = "http", feature = "wire")), allow(dead_code, reason = "each strategy uses its part"))]
pub(crate) mod backoff;
#[cfg(any(feature = "http", feature = "wire"))]
#[cfg_attr(not(all(feature = "http", feature = "wire")), allow(dead_code, reason = "each strategy uses its part"))]
mod contract;
#[cfg(any(feature = "http", feature = "wire"))]
mod health;
#[cfg(any(feature = "http", feature = "gateway"))]
pub(crate) mod http;
mod inbound;
#[cfg(any(feature = "wire", feature = "gateway"))]
#[cfg_attr(not(feature = "mcp"), allow(dead_code, unused_imports, reason = "each listener uses its part"))]
pub(crate) mod io;
#[cfg(feature = "wire")]
mod keeper;
#[cfg(any(feature = "wire", feature = "gateway"))]
#[cfg_attr(not(feature = "mcp"), allow(dead_code, unused_imports, reason = "each listener uses its part"))]
pub(crate) mod large_requests;
#[cfg(feature = "wire")]
mod link;
mod listener;
#[cfg(feature = "mcp")]
mod mcp;
#[cfg(feature = "wire")]
pub(crate) mod mux;
#[cfg(any(feature = "wire", feature = "gateway"))]
#[cfg_attr(not(feature = "mcp"), allow(dead_code, unused_imports, reason = "each listener uses its part"))]
mod origin;
#[cfg(any(feature = "wire", feature = "gateway"))]
#[cfg_attr(not(feature = "mcp"), allow(dead_code, unused_imports, reason = "each listener uses its part"))]
pub(crate) mod places;
#[cfg(feature = "quic")]
pub(crate) mod quic;
mod remote;
#[cfg(feature = "wire")]
mod remote_name;
#[cfg(feature = "tls")]
#[cfg_attr(
    not(all(feature = "http", feature = "quic")),
    allow(dead_code, unused_imports, reason = "each transport takes its part of it")
)]
pub(crate) mod tls;
#[cfg(feature = "unix")]
mod unix;
#[cfg(any(feature = "wire", feature = "gateway"))]
pub(crate) mod unsent;
#[cfg(feature = "wire")]
pub(crate) mod wire;

use crate::routes::{Route, RouteError};

#[cfg(feature = "http")]
pub use self::http::HttpTransport;
#[cfg(feature = "mcp")]
pub use self::mcp::McpTransport;
#[cfg(feature = "quic")]
pub use self::quic::{QuicListener, QuicTransport};
#[cfg(feature = "unix")]
pub use self::unix::{UnixListener, UnixTransport};
pub use inbound::{Exposure, Inbound};
pub use listener::{Drain, Listener, Listening, ServeError};
pub use remote::{Remote, TransportState};
#[cfg(feature = "tls")]
pub use tls::{Tls, TlsError};

pub(crate) use inbound::ExposedServices;
#[cfg(feature = "mcp")]
pub(crate) use inbound::Listed;
pub(crate) use listener::DrainSwitch;
#[cfg(any(feature = "wire", feature = "gateway"))]
pub(crate) use origin::Origin;
#[cfg(any(feature = "wire", feature = "gateway"))]
pub(crate) use places::Places;

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
    /// It runs while a table is built, on a thread that may have no runtime. What it returns connects when it is first used,
    /// or in the background, and reconnects by itself. Registrations, reloads and new clients of the router wait for it; calls do not.
    /// So it must not register or reload there itself: that panics, and makes the row bad.
    ///
    /// # Errors
    /// What is wrong with the row; the last good route of that name stays in force.
    fn build(&self, route: &Route, context: &BuildContext<'_>) -> Result<Remote, RouteError>;

    /// Checks what a row says, before anybody writes it: its endpoint, the keys of its config that are this transport's, and the files that
    /// they name. Secrets are not read, which may be there only for the process that calls.
    ///
    /// [`Admin`](crate::Admin) asks this, and with it the command line and the tools for agents. Everything passes by default.
    ///
    /// # Errors
    /// What [`build`](Self::build) would say.
    fn check(&self, route: &Route) -> Result<(), RouteError> {
        let _ = route;
        Ok(())
    }
}

/// What a transport may know about the router it builds for.
#[derive(Debug)]
pub struct BuildContext<'a> {
    node: Option<&'a str>,
}

impl<'a> BuildContext<'a> {
    pub(crate) fn new(node: Option<&'a str>) -> Self {
        Self { node }
    }

    /// Names this process, if the router was given a name.
    #[must_use]
    pub fn node(&self) -> Option<&str> {
        self.node
    }
}
