//! Sessions over HTTP whose server forgets them, hangs up or disappears.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use connectivity_core::{Error, ErrorKind, McpTransport, MemoryRoutes, Router, Sent};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::watch;

use super::harness::{TestClient, connectivity};
use super::scripted_server::ScriptedServer;
use super::web_servers::{discover_reply, with_content_type};

/// Timeout for anything that is expected to succeed.
const TIMEOUT: Duration = Duration::from_secs(20);

/// The body of a response with status 400, computed from the request.
type BadRequest = fn(&Value) -> Option<Value>;

/// A server with sessions. It refuses requests of unknown sessions, and calls of the tool `odd` in
/// the same words.
#[derive(Clone)]
struct Forgetful {
    refuses: BadRequest,
    refuses_pings: bool,
    sessions: Arc<AtomicUsize>,
    calls: Arc<AtomicUsize>,
}

impl Forgetful {
    async fn start(refuses: BadRequest, refuses_pings: bool) -> (Self, Router) {
        let server =
            Self { refuses, refuses_pings, sessions: Arc::default(), calls: Arc::default() };
        let app = axum::Router::new().route("/mcp", post(Self::handle)).with_state(server.clone());
        let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/mcp", socket.local_addr().unwrap());
        tokio::spawn(axum::serve(socket, app).into_future());
        (server, client_router(&url, ""))
    }

    fn refused(&self, request: &Value) -> Response {
        match (self.refuses)(request) {
            Some(body) => {
                (StatusCode::BAD_REQUEST, with_content_type("application/json", body.to_string()))
                    .into_response()
            }
            None => StatusCode::BAD_REQUEST.into_response(),
        }
    }

    async fn handle(State(server): State<Self>, headers: HeaderMap, body: Bytes) -> Response {
        let request: Value = serde_json::from_slice(&body).unwrap();
        let session = server.sessions.load(Ordering::SeqCst).to_string();
        let is_known = headers.get("mcp-session-id").is_some_and(|id| *id == *session);
        let response = |result: Value| {
            let response = json!({ "jsonrpc": "2.0", "id": request["id"], "result": result });
            with_content_type("application/json", response.to_string())
        };
        match request["method"].as_str() {
            Some("server/discover") => StatusCode::NOT_FOUND.into_response(),
            Some("initialize") => {
                let id = server.sessions.fetch_add(1, Ordering::SeqCst) + 1;
                let initialize_result = json!({ "protocolVersion": "2025-06-18", "capabilities": { "tools": {} },
                    "serverInfo": { "name": "forgetful", "version": "1" } });
                ([("mcp-session-id", id.to_string())], response(initialize_result)).into_response()
            }
            _ if !is_known => server.refused(&request),
            Some("tools/call") => {
                server.calls.fetch_add(1, Ordering::SeqCst);
                match request["params"]["name"] == "odd" {
                    true => server.refused(&request),
                    false => {
                        response(json!({ "content": [], "structuredContent": { "fine": true } }))
                            .into_response()
                    }
                }
            }
            Some("ping") if server.refuses_pings => server.refused(&request),
            Some("ping") => response(json!({})).into_response(),
            _ => StatusCode::ACCEPTED.into_response(),
        }
    }

    /// Forgets all sessions, like a restart.
    fn forget(&self) {
        self.sessions.fetch_add(10, Ordering::SeqCst);
    }

    /// Returns the numbers of sessions started and of calls received.
    fn counts(&self) -> (usize, usize) {
        (self.sessions.load(Ordering::SeqCst) % 10, self.calls.load(Ordering::SeqCst))
    }
}

/// Returns a router whose rows `fine` and `odd` lead to the tools of these names.
fn client_router(url: &str, keys: &str) -> Router {
    let routes = MemoryRoutes::new();
    for tool in ["fine", "odd"] {
        routes.set(tool, "mcp", Some(url), &format!(r#"{{"tool_name":"{tool}"{keys}}}"#));
    }
    let builder = Router::builder().transport("mcp", McpTransport::new().allow_internal());
    builder.source(routes).build().unwrap()
}

/// Calls a tool with a timeout.
async fn call(router: &Router, tool: &'static str) -> Result<Bytes, Error> {
    tokio::time::timeout(TIMEOUT, router.call(tool, "{}")).await.expect("the call ends")
}

fn error_with(id: &Value) -> Value {
    json!({ "jsonrpc": "2.0", "error": { "code": -32000, "message": "no valid session" }, "id": id })
}

/// Bodies of status 400, as real servers send them.
const REFUSALS: &[(&str, BadRequest)] = &[
    ("no body", |_| None),
    ("the id null", |_| Some(error_with(&Value::Null))),
    ("no id", |_| {
        Some(
            json!({ "jsonrpc": "2.0", "error": { "code": -32000, "message": "no valid session" } }),
        )
    }),
    ("an id of its own", |_| Some(error_with(&"server-error".into()))),
    ("the id", |request| Some(error_with(&request["id"]))),
];

#[tokio::test]
async fn a_forgotten_session_is_begun_anew_whatever_the_server_says_with_its_400() {
    for (label, refuses) in REFUSALS {
        let (server, router) = Forgetful::start(*refuses, false).await;
        assert_eq!(call(&router, "fine").await.unwrap(), r#"{"fine":true}"#, "{label}");
        server.forget();
        assert_eq!(
            call(&router, "fine").await.unwrap(),
            r#"{"fine":true}"#,
            "{label}: on a new session"
        );
        assert_eq!(server.counts(), (2, 2), "{label}");
        let error = call(&router, "odd").await.unwrap_err();
        assert_eq!(error.sent(), Sent::Maybe, "{label}: {error}");
        assert_eq!(
            server.counts(),
            (2, 3),
            "{label}: the session is known, so the request may have run"
        );
        assert_eq!(
            call(&router, "fine").await.unwrap(),
            r#"{"fine":true}"#,
            "{label}: and goes on"
        );
    }
}

#[tokio::test]
async fn where_every_ping_is_refused_no_call_comes_twice() {
    for (label, refuses) in REFUSALS {
        let (server, router) = Forgetful::start(*refuses, true).await;
        assert_eq!(call(&router, "fine").await.unwrap(), r#"{"fine":true}"#, "{label}");
        for calls in 2..5 {
            let error = call(&router, "odd").await.unwrap_err();
            assert_eq!(error.sent(), Sent::Maybe, "{label}: {error}");
            assert_eq!(server.counts().1, calls, "{label}: it came once");
        }
        server.forget();
        // Whether this call has run is unknown: such a server answers a call that has run in the
        // same words.
        let error = call(&router, "fine").await.unwrap_err();
        assert_eq!(error.sent(), Sent::Maybe, "{label}: {error}");
        assert_eq!(
            call(&router, "fine").await.unwrap(),
            r#"{"fine":true}"#,
            "{label}: the route is not dead"
        );
    }
}

#[tokio::test]
async fn a_session_that_was_forgotten_before_its_first_call_is_begun_anew() {
    let (server, router) = Forgetful::start(REFUSALS[1].1, false).await;
    let error = call(&router, "odd").await.unwrap_err();
    assert_eq!(error.sent(), Sent::Maybe, "{error}");
    server.forget();
    assert_eq!(call(&router, "fine").await.unwrap(), r#"{"fine":true}"#);
}

/// Reads a request, or `None` if the client has gone.
async fn read(stream: &mut TcpStream) -> Option<Value> {
    let mut bytes = Vec::new();
    loop {
        if let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
            let head = String::from_utf8_lossy(&bytes[..end]).to_lowercase();
            let length = head
                .lines()
                .find_map(|line| line.strip_prefix("content-length: ")?.parse::<usize>().ok());
            if bytes.len() >= end + 4 + length.unwrap_or(0) {
                return serde_json::from_slice(&bytes[end + 4..]).ok();
            }
        }
        if stream.read_buf(&mut bytes).await.ok()? == 0 {
            return None;
        }
    }
}

/// Answers one request per connection, or hangs up if `answer` returns `None`. Stops accepting once
/// `stopped` is true.
async fn serve_web(
    listener: TcpListener,
    mut stopped: watch::Receiver<bool>,
    respond: fn(&Value) -> Option<Value>,
) {
    loop {
        let stops = async { drop(stopped.wait_for(|stopped| *stopped).await) };
        let client = tokio::select! {
            biased;
            () = stops => None,
            client = listener.accept() => Some(client.unwrap().0),
        };
        let Some(mut client) = client else { return std::future::pending().await };
        tokio::spawn(async move {
            let Some(request) = read(&mut client).await else { return };
            let body = match request["method"].as_str() {
                Some("server/discover") => Some(discover_reply(&request)),
                _ => respond(&request),
            };
            if let Some(body) = body.map(|body| body.to_string()) {
                let head =
                    "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nconnection: close\r\n";
                let response = format!("{head}content-length: {}\r\n\r\n{body}", body.len());
                let _ = client.write_all(response.as_bytes()).await;
            }
        });
    }
}

#[tokio::test]
async fn a_time_limit_that_ends_while_a_request_of_a_session_connects_has_sent_nothing() {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let listener = socket.listen(1).unwrap();
    let address = listener.local_addr().unwrap();
    let (stop, stopped) = watch::channel(false);
    let fine = |request: &Value| {
        let result = json!({ "content": [], "structuredContent": { "fine": true } });
        Some(json!({ "jsonrpc": "2.0", "id": request["id"], "result": result }))
    };
    tokio::spawn(serve_web(listener, stopped, fine));
    let router = client_router(&format!("http://{address}/mcp"), r#","timeout_ms":3000"#);
    assert_eq!(call(&router, "fine").await.unwrap(), r#"{"fine":true}"#);
    stop.send_replace(true);
    let mut waiting = Vec::new();
    while let Ok(connected) =
        tokio::time::timeout(Duration::from_millis(300), TcpStream::connect(address)).await
    {
        waiting.push(connected.unwrap());
    }
    let error = call(&router, "fine").await.unwrap_err();
    assert_eq!((error.kind(), error.sent()), (ErrorKind::Timeout, Sent::No), "{error}");
}

/// Number of calls that the servers below have received.
static POISONS: AtomicUsize = AtomicUsize::new(0);

#[tokio::test]
async fn a_call_that_ends_its_session_arrives_as_often_as_its_row_says() {
    let quic = ScriptedServer::start(|mut wire| {
        Box::pin(async move {
            wire.first_call().await;
            POISONS.fetch_add(1, Ordering::SeqCst);
            wire.connection.close(9_u32.into(), b"poisoned");
        })
    });
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let http = format!("http://{}/mcp", listener.local_addr().unwrap());
    let (_stop, stopped) = watch::channel(false);
    let hangs_up = |request: &Value| {
        POISONS.fetch_add(usize::from(request["method"] == "tools/call"), Ordering::SeqCst);
        None
    };
    tokio::spawn(serve_web(listener, stopped, hangs_up));
    let trust = quic.trust();
    for (endpoint, keys) in [(quic.address(), &*trust), (http, r#""drain_ms":30000"#)] {
        for (retries, arrives) in [(0, 1), (2, 3)] {
            POISONS.store(0, Ordering::SeqCst);
            let keys = format!(r#"{keys},"retry_max":{retries},"retry_backoff_ms":1"#);
            let client = TestClient::to(&endpoint, &keys).await;
            let error = connectivity(client.billing.quote("abc").await.unwrap_err());
            assert_eq!(
                (error.kind(), error.sent()),
                (ErrorKind::Closed, Sent::Maybe),
                "{endpoint}: {retries} retries"
            );
            assert_eq!(POISONS.load(Ordering::SeqCst), arrives, "{endpoint}: {retries} retries");
        }
    }
}
