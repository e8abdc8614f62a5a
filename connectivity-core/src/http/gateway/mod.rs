//! HTTP in: the exposed services of a router as `POST /billing.charge`.

mod auth;
mod body;
mod request;
mod response;
mod unsent;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Request, State};
use axum::response::Response;

use crate::context::Peer;
use crate::transport::Inbound;
use crate::transport::io::Workplace;

pub(crate) use self::auth::Authenticator;
#[cfg(feature = "mcp")]
pub(crate) use self::body::BodyLimits;
#[cfg(feature = "mcp")]
pub(crate) use self::request::read_body;
pub(crate) use self::response::ErrorResponse;
pub(crate) use self::unsent::{Counted, OfOrigin, Room, UNREAD, UnsentAnswers};

/// The longest request body unless said, in bytes.
const MAX_BODY: usize = 16 << 20;

/// How long a body may take to arrive unless said.
pub(crate) const BODY_TIMEOUT: Duration = Duration::from_secs(30);

/// The most time a call may ask for unless said.
const MAX_TIMEOUT: Duration = Duration::from_secs(300);

/// Answers HTTP requests with the exposed services of a router: mount it in an axum application of
/// your own, or let [`Server::builder`](crate::Server::builder) serve it.
///
/// `POST /billing.charge` with `Content-Type: application/json` takes an object of named arguments
/// and answers with the value (200) or the error of the contract (422); between programs of this
/// crate the same goes in bincode. A raw service takes and gives its bytes as they are. What is
/// ours to refuse has a status of its own, a header `connectivity-error` with its kind, and
/// `{"kind","name","message"}` as its body; `docs/http.md` has the table.
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
/// A [`Peer`] that a middleware of yours puts into the request's extensions is who the
/// implementation sees as the authenticated caller. A [context](crate::context::scope) that it puts
/// around the request reaches the implementation too: its metadata stands against what a header
/// claims, and its deadline is kept.
#[derive(Clone)]
pub struct Gateway(Arc<Inner>);

struct Inner {
    inbound: Inbound,
    callers: Authenticator,
    max_body: usize,
    body_timeout: Duration,
    max_timeout: Duration,
    /// Where implementations run.
    work: Workplace,
}

impl Gateway {
    /// Makes a gateway that answers everybody who reaches it, but no browser.
    #[must_use]
    pub fn new(inbound: Inbound) -> Self {
        let callers = Authenticator::default();
        Self(Arc::new(Inner {
            inbound,
            callers,
            max_body: MAX_BODY,
            body_timeout: BODY_TIMEOUT,
            max_timeout: MAX_TIMEOUT,
            work: Workplace::default(),
        }))
    }

    fn with(self, change: impl FnOnce(&mut Inner)) -> Self {
        let Inner { inbound, callers, max_body, body_timeout, max_timeout, work } = &*self.0;
        let mut inner = Inner {
            inbound: inbound.clone(),
            callers: callers.clone(),
            max_body: *max_body,
            body_timeout: *body_timeout,
            max_timeout: *max_timeout,
            work: work.clone(),
        };
        change(&mut inner);
        Self(Arc::new(inner))
    }

    /// Answers only requests with `Authorization: Bearer TOKEN`, for one of the tokens given so;
    /// `name` is who the implementation then sees as its [`peer`](crate::context::Context::peer).
    #[must_use]
    pub fn bearer(self, name: impl Into<String>, token: impl Into<String>) -> Self {
        self.with(|inner| inner.callers.add_bearer(Peer::new("bearer", name), token.into()))
    }

    /// Answers requests that a browser sends from a page of this origin, such as
    /// `https://admin.example.com`. Without it a request with an `Origin` is refused, so that no
    /// page can call a gateway that its reader happens to reach.
    #[must_use]
    pub fn allow_origin(self, origin: impl Into<String>) -> Self {
        self.with(|inner| inner.callers.add_origin(origin.into()))
    }

    /// Bounds a request's body: 16 MiB unless said. A longer one is answered with 413, before the
    /// implementation runs.
    #[must_use]
    pub fn max_body_bytes(self, limit: usize) -> Self {
        self.with(|inner| inner.max_body = limit)
    }

    /// Bounds the time that a body may take to arrive: 30 s unless said. A slower one is answered
    /// with 408.
    #[must_use]
    pub fn body_timeout(self, limit: Duration) -> Self {
        self.with(|inner| inner.body_timeout = limit)
    }

    /// Bounds the time that a call has, whatever its caller asks for: 5 minutes unless said.
    #[must_use]
    pub fn max_timeout(self, limit: Duration) -> Self {
        self.with(|inner| inner.max_timeout = limit)
    }

    /// Makes an axum router that can be mounted anywhere: what follows its mount point is the name.
    pub fn into_router<S: Clone + Send + Sync + 'static>(self) -> axum::Router<S> {
        axum::Router::new().fallback(answer).with_state(self)
    }

    /// Answers requests that come in on an IO thread.
    pub(crate) fn at(self, work: Workplace) -> Self {
        self.with(|inner| inner.work = work)
    }

    #[cfg(feature = "mcp")]
    pub(crate) fn callers(&self) -> Authenticator {
        self.0.callers.clone()
    }

    pub(crate) fn is_closed_to_strangers(&self) -> bool {
        self.0.callers.has_bearer()
    }
}

impl fmt::Debug for Gateway {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Gateway")
            .field("inbound", &self.0.inbound)
            .field("callers", &self.0.callers)
            .finish_non_exhaustive()
    }
}

async fn answer(State(gateway): State<Gateway>, request: Request) -> Response {
    let (head, body) = request.into_parts();
    match request::read(&gateway.0, &head, body).await {
        Ok(question) => question.ask(&gateway.0).await,
        Err(refusal) => refusal.into_response(),
    }
}
