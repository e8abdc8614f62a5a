//! HTTP gateway: serves the exposed services of a router as `POST /billing.charge`.

mod auth;
mod body;
mod request;
mod response;
mod settings;
mod unsent;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Request, State};
use axum::response::Response;

use crate::context::Peer;
use crate::transport::Inbound;
use crate::transport::io::Workplace;

#[cfg(feature = "mcp")]
pub(crate) use self::auth::Authenticator;
#[cfg(feature = "mcp")]
pub(crate) use self::body::BodyLimits;
#[cfg(feature = "mcp")]
pub(crate) use self::request::read_body;
pub(crate) use self::response::ErrorResponse;
#[cfg(feature = "mcp")]
pub(crate) use self::settings::BODY_TIMEOUT;
pub(crate) use self::unsent::{Counted, OfOrigin, Room, UNREAD, UnsentAnswers};

use settings::Settings;

/// Serves the exposed services of a router over HTTP: mount it in an axum application of your own,
/// or let [`Server::builder`](crate::Server::builder) serve it.
///
/// `POST /billing.charge` with `Content-Type: application/json` takes an object of named arguments.
/// The response is the value (200) or the error of the contract (422). Programs that use this crate
/// exchange the same in bincode. A raw service receives and returns its bytes unchanged. An error
/// of the gateway itself has a status of its own, a header `connectivity-error` with its kind, and
/// `{"kind","name","message"}` as its body; `docs/http.md` lists them.
///
/// ```
/// use connectivity_core::{Exposure, Gateway, MemoryRoutes, Router};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let router = Router::builder().source(MemoryRoutes::new()).build()?;
/// let gateway = Gateway::new(router.inbound(Exposure::services(["billing"])));
/// let app: axum::Router = axum::Router::new().nest("/rpc", gateway.into_router());
/// # Ok(())
/// # }
/// ```
///
/// If a middleware puts a [`Peer`] into the request's extensions, the implementation sees it as the
/// authenticated caller. If a middleware wraps the request in a [context](crate::context::scope),
/// the implementation inherits it: its metadata overrides that of the request's header, and its
/// deadline is kept.
#[derive(Clone)]
pub struct Gateway(Arc<Settings>);

impl Gateway {
    /// Creates a gateway that serves every client that reaches it, except browsers.
    #[must_use]
    pub fn new(inbound: Inbound) -> Self {
        Self(Arc::new(Settings::new(inbound)))
    }

    fn with(self, change: impl FnOnce(&mut Settings)) -> Self {
        let mut settings = Settings::clone(&self.0);
        change(&mut settings);
        Self(Arc::new(settings))
    }

    /// Serves only requests with `Authorization: Bearer TOKEN`, for one of the tokens added this
    /// way. The implementation sees `name` as the [`peer`](crate::context::Context::peer).
    #[must_use]
    pub fn bearer(self, name: impl Into<String>, token: impl Into<String>) -> Self {
        self.with(|settings| {
            settings.authenticator.add_bearer(Peer::new("bearer", name), token.into())
        })
    }

    /// Serves requests that a browser sends from a page of this origin, such as
    /// `https://admin.example.com`. By default a request with an `Origin` header is refused, so
    /// that no web page can call a gateway that its visitor's browser happens to reach.
    #[must_use]
    pub fn allow_origin(self, origin: impl Into<String>) -> Self {
        self.with(|settings| settings.authenticator.add_origin(origin.into()))
    }

    /// Limits the body of a request; the default is 16 MiB. A longer body gets a 413 response
    /// before the implementation runs.
    #[must_use]
    pub fn max_body_bytes(self, limit: usize) -> Self {
        self.with(|settings| settings.max_body = limit)
    }

    /// Limits the time in which a body must arrive; the default is 30 s. A slower body gets a 408
    /// response.
    #[must_use]
    pub fn body_timeout(self, limit: Duration) -> Self {
        self.with(|settings| settings.body_timeout = limit)
    }

    /// Limits the time that a call has, whatever its client asks for; the default is 5 minutes.
    #[must_use]
    pub fn max_timeout(self, limit: Duration) -> Self {
        self.with(|settings| settings.max_timeout = limit)
    }

    /// Returns an axum router that can be mounted anywhere: the path after the mount point is the
    /// name.
    pub fn into_router<S: Clone + Send + Sync + 'static>(self) -> axum::Router<S> {
        axum::Router::new().fallback(handle).with_state(self)
    }

    /// Returns a gateway for requests that arrive on an IO thread.
    pub(crate) fn with_workplace(self, work: Workplace) -> Self {
        self.with(|settings| settings.work = work)
    }

    #[cfg(feature = "mcp")]
    pub(crate) fn authenticator(&self) -> Authenticator {
        self.0.authenticator.clone()
    }

    pub(crate) fn is_closed_to_strangers(&self) -> bool {
        self.0.authenticator.has_bearer()
    }
}

impl fmt::Debug for Gateway {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Gateway")
            .field("inbound", &self.0.inbound)
            .field("callers", &self.0.authenticator)
            .finish_non_exhaustive()
    }
}

async fn handle(State(gateway): State<Gateway>, request: Request) -> Response {
    let (head, body) = request.into_parts();
    match request::read(&gateway.0, &head, body).await {
        Ok(request) => request.run(&gateway.0).await,
        Err(error) => error.into_response(),
    }
}
