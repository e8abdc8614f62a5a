//! Streamable HTTP: each request stands for itself, and its answer is JSON.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::middleware::{self, Next};
use axum::response::Response;
use http::StatusCode;
use rmcp::transport::streamable_http_server::session::never::NeverSessionManager;
use rmcp::transport::{StreamableHttpServerConfig, StreamableHttpService};

use super::Inner;
use super::handler::Session;
use crate::context::{self, Peer};
use crate::error::{Error, ErrorKind};
use crate::gateway::{Callers, Refusal};

/// What a request has to pass before it is one.
#[derive(Clone)]
struct Door {
    callers: Callers,
    guarded: bool,
}

/// Makes the router.
pub(super) fn router<S>(inner: Arc<Inner>, callers: Callers, hosts: &[String]) -> axum::Router<S>
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
    let door = Door { callers, guarded: inner.catalogue.is_guarded() };
    let service = StreamableHttpService::new(move || Ok(Session::over_http(Arc::clone(&inner))), manager(), config);
    axum::Router::new().fallback_service(service).layer(middleware::from_fn_with_state(door, enter))
}

fn manager() -> Arc<NeverSessionManager> {
    Arc::new(NeverSessionManager::default())
}

/// Lets in who may call, and notes who it is.
async fn enter(State(door): State<Door>, mut request: Request, next: Next) -> Response {
    let around = context::current();
    match door.callers.identify(request.headers()) {
        Ok(Some(peer)) => drop(request.extensions_mut().insert(peer)),
        Ok(None) => {}
        Err((kind, message)) => return Refusal::from(Error::new(kind, "mcp", message)).into_response(),
    }
    if door.guarded && request.extensions().get::<Peer>().or(around.peer()).is_none() {
        let message = "these tools are for callers that were authenticated";
        return Refusal::from(Error::new(ErrorKind::Unauthenticated, "mcp", message)).into_response();
    }
    // What an application around this has set goes along with the calls.
    request.extensions_mut().insert(around);
    let response = next.run(request).await;
    debug_assert_ne!(response.status(), StatusCode::SWITCHING_PROTOCOLS);
    response
}
