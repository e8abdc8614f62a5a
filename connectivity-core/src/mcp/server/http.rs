//! Streamable HTTP: each request is independent, and its response is JSON.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::middleware::{self, Next};
use axum::response::Response;
use bytes::Bytes;
use http::HeaderMap;
use http::header::{HOST, ORIGIN};
use http::request::Parts;
use rmcp::transport::streamable_http_server::session::never::NeverSessionManager;
use rmcp::transport::{StreamableHttpServerConfig, StreamableHttpService};
use tokio::runtime::Handle;
use tokio::task::JoinSet;

use super::Inner;
use super::handler::Session;
use super::line::{Line, Stage};
use crate::context::{self, Peer};
use crate::error::{Error, ErrorKind, Sent};
use crate::http::gateway::{Authenticator, BODY_TIMEOUT, BodyLimits, ErrorResponse, read_body};
use crate::mcp::protocol::MAX_MEMBERS;
use crate::mcp::protocol::framer::{Framed, Framer};
use crate::mcp::protocol::message::too_large;
use crate::name::Name;
use crate::transport::Drain;

/// Checks that a request passes before it is handled.
#[derive(Clone)]
struct AuthGate {
    authenticator: Authenticator,
    requires_auth: bool,
    max_message: usize,
    /// Runtime on which requests are handled; `None` means where they arrive.
    runtime: Option<Handle>,
}

impl AuthGate {
    /// Authenticates the sender of a request. A page of this very server counts as same-origin if
    /// its host is a loopback name, which no other page can have.
    fn identify(&self, headers: &HeaderMap) -> Result<Option<Peer>, (ErrorKind, &'static str)> {
        if !is_own_page(headers) {
            return self.authenticator.identify(headers);
        }
        let mut headers = headers.clone();
        headers.remove(ORIGIN);
        self.authenticator.identify(&headers)
    }
}

fn is_own_page(headers: &HeaderMap) -> bool {
    let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
    let Some(origin) = text(ORIGIN).and_then(|origin| origin.strip_prefix("http://")) else {
        return false;
    };
    let name = origin.rsplit_once(':').map_or(origin, |(name, _port)| name);
    Some(origin) == text(HOST) && LOOPBACK.contains(&name)
}

/// Names of this machine that no foreign page can have.
const LOOPBACK: &[&str] = &["localhost", "127.0.0.1", "[::1]"];

/// Builds the axum router.
pub(super) fn router<S>(
    inner: Arc<Inner>,
    authenticator: Authenticator,
    hosts: &[String],
    server: Option<(Drain, Handle)>,
) -> axum::Router<S>
where
    S: Clone + Send + Sync + 'static,
{
    let mut config = StreamableHttpServerConfig::default()
        .with_legacy_session_mode(false)
        .with_json_response(true)
        .with_max_request_body_bytes(inner.max_message);
    // A page that rebinds its DNS name to this host has no token.
    if authenticator.has_bearer() && hosts.is_empty() || hosts.iter().any(|host| host == "*") {
        config = config.disable_allowed_hosts();
    } else {
        config.allowed_hosts.extend(hosts.iter().cloned());
    }
    let (drain, runtime) = server.unzip();
    let gate = AuthGate {
        authenticator,
        requires_auth: inner.catalogue.requires_auth(),
        max_message: inner.max_message,
        runtime,
    };
    let line = drain.map(drain_line);
    let session = move || Ok(Session::over_http(Arc::clone(&inner), line.clone()));
    let service = StreamableHttpService::new(session, session_manager(), config);
    axum::Router::new()
        .fallback_service(service)
        .layer(middleware::from_fn_with_state(gate, authenticate))
}

/// Returns a [`Line`] that reaches [`Stage::Ending`] when the server drains.
fn drain_line(mut drain: Drain) -> Arc<Line> {
    let line = Line::new();
    let draining = Arc::clone(&line);
    tokio::spawn(async move {
        drain.begun().await;
        draining.advance(Stage::Ending);
    });
    line
}

fn session_manager() -> Arc<NeverSessionManager> {
    Arc::new(NeverSessionManager::default())
}

/// Authenticates the caller and adds its peer to the request.
async fn authenticate(State(gate): State<AuthGate>, mut request: Request, next: Next) -> Response {
    let outer = context::current();
    match gate.identify(request.headers()) {
        Ok(Some(peer)) => drop(request.extensions_mut().insert(peer)),
        Ok(None) => {}
        Err((kind, message)) => return refuse(kind, message),
    }
    if gate.requires_auth && request.extensions().get::<Peer>().or(outer.peer()).is_none() {
        return refuse(
            ErrorKind::Unauthenticated,
            "these tools are for callers that were authenticated",
        );
    }
    // Calls inherit the context that an enclosing application has set.
    request.extensions_mut().insert(outer);
    let (head, body) = request.into_parts();
    let limits = BodyLimits { bytes: gate.max_message, time: BODY_TIMEOUT };
    let (bytes, memory_permit) = match read_body(&ERROR_NAME, &head, body, limits).await {
        Ok(read) => read,
        Err(refusal) => return refuse_unparsed(refusal),
    };
    handle(gate.runtime.as_ref(), async move {
        let _permit = memory_permit;
        match check_members(head, bytes, gate.max_message) {
            Ok(request) => next.run(request).await,
            Err(refusal) => refuse_unparsed(refusal),
        }
    })
    .await
}

/// Handles a request. One that arrived on an IO thread is handled elsewhere: parsing and writing
/// JSON can take long.
async fn handle(
    runtime: Option<&Handle>,
    response: impl Future<Output = Response> + Send + 'static,
) -> Response {
    let Some(runtime) = runtime else { return response.await };
    // The task is cancelled when this future is dropped, that is, when the client has gone.
    let mut task = JoinSet::new();
    task.spawn_on(response, runtime);
    let response = task.join_next().await.and_then(Result::ok);
    response.unwrap_or_else(|| refuse(ErrorKind::Cancelled, "the work was cancelled"))
}

/// Refuses a request that was not parsed. One that is too large gets a JSON-RPC error, so that
/// clients see the limit; its id is not known.
fn refuse_unparsed(refusal: ErrorResponse) -> Response {
    if refusal.error().kind() != ErrorKind::TooLarge {
        return refusal.into_response();
    }
    let body = too_large(None, refusal.error().message()).to_string();
    refusal.with_body(body)
}

fn refuse(kind: ErrorKind, message: &str) -> Response {
    ErrorResponse::from(Error::new(kind, ERROR_NAME, message)).into_response()
}

/// Name in errors that concern no tool.
const ERROR_NAME: Name = Name::from_static("mcp");

/// Rejects requests that would need much more memory than their bytes.
fn check_members(head: Parts, bytes: Bytes, limit: usize) -> Result<Request, ErrorResponse> {
    let mut framer = Framer::new(limit, MAX_MEMBERS);
    framer.buffer().extend_from_slice(&bytes);
    match framer.next() {
        Some(Framed::TooManyMembers(_)) => {
            let text = "the message has too many members";
            Err(Error::new(ErrorKind::TooLarge, ERROR_NAME, text).with_sent(Sent::No).into())
        }
        _ => Ok(Request::from_parts(head, Body::from(bytes))),
    }
}
