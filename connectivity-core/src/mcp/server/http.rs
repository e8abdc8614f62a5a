//! Streamable HTTP: each request stands for itself, and its answer is JSON.

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

/// What a request has to pass before it is one.
#[derive(Clone)]
struct AuthGate {
    callers: Authenticator,
    guarded: bool,
    max_message: usize,
    /// Where requests are answered, unless where they come in.
    user: Option<Handle>,
}

impl AuthGate {
    /// Finds out who sends a request. A page of this very server, by a loopback name that nobody
    /// can borrow, is no foreign one.
    fn identify(&self, headers: &HeaderMap) -> Result<Option<Peer>, (ErrorKind, &'static str)> {
        if !is_own_page(headers) {
            return self.callers.identify(headers);
        }
        let mut headers = headers.clone();
        headers.remove(ORIGIN);
        self.callers.identify(&headers)
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

/// The names of this machine that a page cannot borrow.
const LOOPBACK: &[&str] = &["localhost", "127.0.0.1", "[::1]"];

/// Makes the router.
pub(super) fn router<S>(
    inner: Arc<Inner>,
    callers: Authenticator,
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
    // A page that has rebound its name to this host has no token.
    if callers.has_bearer() && hosts.is_empty() || hosts.iter().any(|host| host == "*") {
        config = config.disable_allowed_hosts();
    } else {
        config.allowed_hosts.extend(hosts.iter().cloned());
    }
    let (drain, user) = server.unzip();
    let gate = AuthGate {
        callers,
        guarded: inner.catalogue.is_guarded(),
        max_message: inner.max_message,
        user,
    };
    let line = drain.map(ending);
    let session = move || Ok(Session::over_http(Arc::clone(&inner), line.clone()));
    let service = StreamableHttpService::new(session, manager(), config);
    axum::Router::new().fallback_service(service).layer(middleware::from_fn_with_state(gate, enter))
}

/// What ends with the calls of a server.
fn ending(mut drain: Drain) -> Arc<Line> {
    let line = Line::new();
    let ends = Arc::clone(&line);
    tokio::spawn(async move {
        drain.begun().await;
        ends.end(Stage::Ending);
    });
    line
}

fn manager() -> Arc<NeverSessionManager> {
    Arc::new(NeverSessionManager::default())
}

/// Lets in who may call, and notes who it is.
async fn enter(State(gate): State<AuthGate>, mut request: Request, next: Next) -> Response {
    let around = context::current();
    match gate.identify(request.headers()) {
        Ok(Some(peer)) => drop(request.extensions_mut().insert(peer)),
        Ok(None) => {}
        Err((kind, message)) => return refused(kind, message),
    }
    if gate.guarded && request.extensions().get::<Peer>().or(around.peer()).is_none() {
        return refused(
            ErrorKind::Unauthenticated,
            "these tools are for callers that were authenticated",
        );
    }
    // What an application around this has set goes along with the calls.
    request.extensions_mut().insert(around);
    let (head, body) = request.into_parts();
    let limits = BodyLimits { bytes: gate.max_message, time: BODY_TIMEOUT };
    let (bytes, large) = match read_body(&NAME, &head, body, limits).await {
        Ok(read) => read,
        Err(refusal) => return unread(refusal),
    };
    run(gate.user.as_ref(), async move {
        let _memory = large;
        match checked(head, bytes, gate.max_message) {
            Ok(request) => next.run(request).await,
            Err(refusal) => unread(refusal),
        }
    })
    .await
}

/// Answers a request. One that came in on an IO thread is answered elsewhere: reading and writing
/// JSON can take a while.
async fn run(
    user: Option<&Handle>,
    answer: impl Future<Output = Response> + Send + 'static,
) -> Response {
    let Some(user) = user else { return answer.await };
    // The task ends with this future, when the client has gone.
    let mut task = JoinSet::new();
    task.spawn_on(answer, user);
    let response = task.join_next().await.and_then(Result::ok);
    response.unwrap_or_else(|| refused(ErrorKind::Cancelled, "the work was cancelled"))
}

/// Refuses a request that was not looked at. One that is too large is refused in the words of the
/// protocol, so that clients see the limit; nobody knows its id.
fn unread(refusal: ErrorResponse) -> Response {
    if refusal.error().kind() != ErrorKind::TooLarge {
        return refusal.into_response();
    }
    let body = too_large(None, refusal.error().message()).to_string();
    refusal.with_body(body)
}

fn refused(kind: ErrorKind, message: &str) -> Response {
    ErrorResponse::from(Error::new(kind, NAME, message)).into_response()
}

/// What errors are about that concern no tool.
const NAME: Name = Name::from_static("mcp");

/// Leaves requests out that would need much more memory than they are long.
fn checked(head: Parts, bytes: Bytes, limit: usize) -> Result<Request, ErrorResponse> {
    let mut framer = Framer::new(limit, MAX_MEMBERS);
    framer.buffer().extend_from_slice(&bytes);
    match framer.next() {
        Some(Framed::TooManyMembers(_)) => {
            let text = "the message has too many members";
            Err(Error::new(ErrorKind::TooLarge, NAME, text).with_sent(Sent::No).into())
        }
        _ => Ok(Request::from_parts(head, Body::from(bytes))),
    }
}
