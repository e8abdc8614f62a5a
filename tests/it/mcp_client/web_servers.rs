//! Strategy `mcp` over HTTP: bearer tokens, and web servers whose responses are not MCP.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Redirect, Response};
use axum::routing::{get, post};
use connectivity_core::{ErrorKind, HttpListener, MemoryRoutes, Sent, Server, register};
use serde_json::{Value, json};
use tests::shop::*;

use super::harness::*;

#[tokio::test]
async fn a_token_in_the_row_opens_the_door() {
    let router = router(&MemoryRoutes::new());
    register!(router, Billing => Shop::at("far")).unwrap();
    let listener = HttpListener::new("127.0.0.1:0").bearer("agent", "opensesame").mcp(|mcp| mcp);
    let server = Server::builder(&router)
        .expose(["billing"])
        .listener("http", listener)
        .start()
        .await
        .unwrap();
    let url = format!("http://{}/mcp", server.address("http").unwrap());
    let client = TestClient::to(&url, r#""headers":{"Authorization":"Bearer opensesame"}"#).await;
    assert_eq!(client.billing.seen().await.unwrap().peer.as_deref(), Some("agent"));
    assert_eq!(client.router.inspect().route("billing").unwrap().warnings, Vec::<String>::new());
    for keys in [r#""headers":{"Authorization":"Bearer hunter2"}"#, r#""headers":{}"#] {
        client.set("billing", &url, keys).await;
        let error = connectivity(client.billing.quote("a").await.unwrap_err());
        assert_eq!((error.kind(), error.sent()), (ErrorKind::Unauthenticated, Sent::No), "{error}");
        assert!(!error.to_string().contains("hunter2"), "{error}");
    }
}

/// Computes the response to a call. Discovery always succeeds.
type Respond = fn(&Value) -> Response;

async fn handle(State((respond, _)): State<(Respond, Arc<AtomicUsize>)>, body: Bytes) -> Response {
    let request: Value = serde_json::from_slice(&body).unwrap_or_default();
    if request["method"] != "server/discover" {
        return respond(&request);
    }
    with_content_type("application/json", discover_reply(&request).to_string())
}

/// Returns the reply of a server of the newest protocol version to `server/discover`.
pub(super) fn discover_reply(request: &Value) -> Value {
    let found = json!({ "resultType": "complete", "supportedVersions": ["2026-07-28"], "capabilities": { "tools": {} },
        "serverInfo": { "name": "x", "version": "1" }, "ttlMs": 0, "cacheScope": "private" });
    json!({ "jsonrpc": "2.0", "id": request["id"], "result": found })
}

/// Starts a web server. Returns its URL and the number of requests to `/canary`, which must stay 0.
async fn serve(respond: Respond) -> (String, Arc<AtomicUsize>) {
    let canary = Arc::<AtomicUsize>::default();
    let hit = |State((_, canary)): State<(Respond, Arc<AtomicUsize>)>| async move {
        canary.fetch_add(1, Ordering::SeqCst);
    };
    let state = (respond, Arc::clone(&canary));
    let app = axum::Router::new().route("/mcp", post(handle)).route("/canary", get(hit).post(hit));
    let socket = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/mcp", socket.local_addr().unwrap());
    tokio::spawn(axum::serve(socket, app.with_state(state)).into_future());
    (url, canary)
}

pub(super) fn with_content_type(kind: &'static str, body: impl Into<Body>) -> Response {
    ([(header::CONTENT_TYPE, kind)], body.into()).into_response()
}

/// Returns an endless body.
fn endless() -> Body {
    let piece = Bytes::from_static(&[b'a'; 10_000]);
    Body::from_stream(futures_util::stream::repeat_with(move || {
        Ok::<_, std::io::Error>(piece.clone())
    }))
}

const SECRET: &str = "<html>hunter2</html>";

#[tokio::test]
async fn what_web_servers_answer_in_place_of_tools() {
    let responses: &[(&str, Respond, ErrorKind, &str)] = &[
        (
            "401",
            |_| (StatusCode::UNAUTHORIZED, SECRET).into_response(),
            ErrorKind::Unauthenticated,
            "status 401",
        ),
        (
            "403",
            |_| (StatusCode::FORBIDDEN, SECRET).into_response(),
            ErrorKind::Denied,
            "status 403",
        ),
        (
            "404",
            |_| (StatusCode::NOT_FOUND, SECRET).into_response(),
            ErrorKind::NotRoutable,
            "status 404",
        ),
        (
            "413",
            |_| (StatusCode::PAYLOAD_TOO_LARGE, SECRET).into_response(),
            ErrorKind::TooLarge,
            "status 413",
        ),
        (
            "429",
            |_| (StatusCode::TOO_MANY_REQUESTS, SECRET).into_response(),
            ErrorKind::Overloaded,
            "status 429",
        ),
        (
            "500",
            |_| (StatusCode::INTERNAL_SERVER_ERROR, SECRET).into_response(),
            ErrorKind::Remote,
            "status 500",
        ),
        (
            "503",
            |_| (StatusCode::SERVICE_UNAVAILABLE, SECRET).into_response(),
            ErrorKind::Overloaded,
            "status 503",
        ),
        (
            "a redirect",
            |_| Redirect::temporary("/canary").into_response(),
            ErrorKind::Remote,
            "status 307",
        ),
        (
            "a page",
            |_| with_content_type("text/html", SECRET),
            ErrorKind::Decode,
            "neither JSON nor",
        ),
        (
            "no JSON",
            |_| with_content_type("application/json", SECRET),
            ErrorKind::Decode,
            "no message of JSON-RPC",
        ),
        ("no type", |_| Body::from(SECRET).into_response(), ErrorKind::Decode, "neither JSON nor"),
        (
            "endless JSON",
            |_| with_content_type("application/json", endless()),
            ErrorKind::TooLarge,
            "is over",
        ),
        (
            "an endless event",
            |_| with_content_type("text/event-stream", endless()),
            ErrorKind::Closed,
            "",
        ),
        ("no event", |_| with_content_type("text/event-stream", ""), ErrorKind::Closed, ""),
        (
            "an event that is none",
            |_| with_content_type("text/event-stream", "data: hunter2\n\n"),
            ErrorKind::Closed,
            "",
        ),
        (
            "the answer to another",
            |_| {
                with_content_type(
                    "application/json",
                    json!({ "jsonrpc": "2.0", "id": 77, "result": {} }).to_string(),
                )
            },
            ErrorKind::Timeout,
            "",
        ),
        (
            "accepted, and no answer",
            |_| StatusCode::ACCEPTED.into_response(),
            ErrorKind::Timeout,
            "",
        ),
        (
            "silence",
            |_| with_content_type("application/json", Body::from_stream(silence())),
            ErrorKind::Timeout,
            "",
        ),
    ];
    let mut calls = Vec::new();
    for (label, respond, kind, words) in responses {
        let (url, canary) = serve(*respond).await;
        let call = async move {
            let client =
                TestClient::to(&url, r#""timeout_ms":3000,"max_reply_bytes":100000"#).await;
            let result =
                tokio::time::timeout(Duration::from_secs(20), client.billing.charge("a", 1)).await;
            (result.unwrap_or_else(|_| panic!("{label}: the call does not end")), canary)
        };
        calls.push((label, kind, words, tokio::spawn(call)));
    }
    for (label, kind, words, call) in calls {
        let (result, canary) = call.await.unwrap();
        let error = connectivity(result.unwrap_err());
        assert!(error.kind() == *kind && error.message().contains(words), "{label}: {error:?}");
        assert_ne!(error.sent(), Sent::No, "{label}: it may have run");
        assert!(!error.to_string().contains("hunter2"), "{label}: {error}");
        assert_eq!(canary.load(Ordering::SeqCst), 0, "{label}");
    }
}

fn silence() -> impl futures_util::Stream<Item = Result<Bytes, std::io::Error>> {
    futures_util::stream::pending()
}
