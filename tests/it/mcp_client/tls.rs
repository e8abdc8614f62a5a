//! Who is let through: certificates, tokens, the address guard; and what web servers answer in
//! place of tools.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Redirect, Response};
use axum::routing::{get, post};
use connectivity_core::{
    ErrorKind, HttpListener, McpListener, MemoryRoutes, RouteState, Router, Sent, Server, Tls,
    register,
};
use rcgen::date_time_ymd;
use serde_json::{Value, json};
use tests::certificates::*;
use tests::shop::*;

use super::harness::*;

/// A server of tools with this identity, for everybody or for the clients of an authority.
async fn server(files: &Files, identity: &Identity, clients: Option<&Ca>) -> (Server, Shop) {
    let (cert, key) =
        (files.write("server.pem", &identity.cert), files.write("server.key", &identity.key));
    let tls = Tls::from_pem(cert, key).unwrap();
    let tls = match clients {
        Some(clients) => tls.client_ca(files.write("clients.pem", &clients.pem())).unwrap(),
        None => tls,
    };
    let (router, shop) = (router(&MemoryRoutes::new()), Shop::at("far"));
    register!(router, Billing => shop.clone()).unwrap();
    let listener = McpListener::new("127.0.0.1:0", tls);
    (
        Server::builder(&router)
            .expose(["billing"])
            .listener("mcp", listener)
            .start()
            .await
            .unwrap(),
        shop,
    )
}

#[tokio::test]
async fn a_certificate_that_satisfies_the_row_is_let_through() {
    let (files, ours, clients) = (Files::new(), ca("ours"), ca("of the clients"));
    let ca_file = files.write("ca.pem", &ours.pem());
    let good = Identity::new(Some(&ours), "127.0.0.1", |_| {});
    let named = Identity::new(Some(&ours), "billing.internal", |_| {});
    let own = Identity::new(None, "elsewhere.example", |_| {});
    let shows = files.shows(&Identity::new(Some(&clients), "orders.internal", |_| {}));
    for (label, identity, clients, keys, peer) in [
        ("its authority", &good, None, format!(r#""ca_file":{ca_file:?}"#), None),
        (
            "a name",
            &named,
            None,
            format!(r#""ca_file":{ca_file:?},"server_name":"billing.internal""#),
            None,
        ),
        (
            "the pin of a self-signed one",
            &own,
            None,
            format!(r#""pin_sha256":"{}""#, pin_of(&own)),
            None,
        ),
        ("nothing is verified", &own, None, r#""insecure_tls":true"#.to_owned(), None),
        (
            "both sides",
            &good,
            Some(&clients),
            format!(r#""ca_file":{ca_file:?},{shows}"#),
            Some("dns:orders.internal"),
        ),
    ] {
        let (server, _shop) = server(&files, identity, clients).await;
        let client = TestClient::to(server.address("mcp").unwrap(), &keys).await;
        assert_eq!(client.billing.seen().await.unwrap().peer.as_deref(), peer, "{label}");
    }
}

#[tokio::test]
async fn a_certificate_that_does_not_is_refused_with_its_cause_before_a_call() {
    let (files, ours, other) = (Files::new(), ca("ours"), ca("another"));
    let ca_file = files.write("ca.pem", &ours.pem());
    let trusting = format!(r#""ca_file":{ca_file:?}"#);
    let pinned = format!(r#""pin_sha256":"{}""#, "ab".repeat(32));
    let stranger = format!(
        r#""ca_file":{ca_file:?},{}"#,
        files.shows(&Identity::new(Some(&ours), "x", |_| {}))
    );

    let good = Identity::new(Some(&ours), "127.0.0.1", |_| {});
    let foreign = Identity::new(Some(&other), "127.0.0.1", |_| {});
    let renamed = Identity::new(Some(&ours), "b.example", |_| {});
    let expired = Identity::new(Some(&ours), "127.0.0.1", |params| {
        params.not_after = date_time_ymd(2020, 1, 1)
    });
    let early = Identity::new(Some(&ours), "127.0.0.1", |params| {
        params.not_before = date_time_ymd(4000, 1, 1)
    });
    for (identity, clients, keys, cause) in [
        (&foreign, None, &*trusting, "unknown issuer; set `ca_file` or `pin_sha256`"),
        (&renamed, None, &*trusting, "the certificate is for `b.example`, not for `127.0.0.1`"),
        (&expired, None, &*trusting, "the certificate expired "),
        (&early, None, &*trusting, "the certificate is not valid yet"),
        (&good, None, &*pinned, "wrong pin: the certificate's `pin_sha256` is "),
        (&good, None, r#""insecure_tls":false"#, "unknown issuer"),
        (
            &good,
            Some(&other),
            &*trusting,
            "the server wants a client certificate: set `client_cert_file`",
        ),
        (&good, Some(&other), &*stranger, "the other side refuses our certificate"),
    ] {
        let (server, shop) = server(&files, identity, clients).await;
        let client = TestClient::to(server.address("mcp").unwrap(), keys).await;
        let error = connectivity(client.billing.charge("17", 1).await.unwrap_err());
        assert!(error.message().contains(cause), "{cause}: {error}");
        assert_eq!((error.kind(), error.sent()), (ErrorKind::Connect, Sent::No), "{error}");
        assert!(shop.journal.orders.lock().unwrap().is_empty(), "{cause}");
        let shown = format!("{:?}", client.router.inspect().route("billing").unwrap().transport);
        assert!(shown.contains(cause.split('`').next().unwrap()), "{shown}");
    }
}

#[tokio::test]
async fn another_protocol_on_the_port_is_said_to_be_one() {
    let identity = Identity::new(None, "localhost", |_| {});
    let server = super::scripted_server::listen(&identity, b"connectivity/1");
    let accepting = server.clone();
    tokio::spawn(async move {
        while let Some(incoming) = accepting.accept().await {
            tokio::spawn(incoming.into_future());
        }
    });
    let address = server.local_addr().unwrap().to_string();
    let client =
        TestClient::to(&address, &format!(r#""pin_sha256":"{}""#, pin_of(&identity))).await;
    let error = connectivity(client.billing.quote("a").await.unwrap_err());
    assert_eq!((error.kind(), error.sent()), (ErrorKind::Connect, Sent::No), "{error}");
    assert!(error.message().contains("protocol"), "{error}");
}

#[tokio::test]
async fn a_row_that_cannot_be_right_is_bad() {
    let routes = MemoryRoutes::new();
    let router = Router::builder().source(routes.clone()).build().unwrap();
    for (endpoint, config, says) in [
        (None, "{}", "needs one"),
        (Some("10.0.0.5"), "{}", "10.0.0.5:4433"),
        (Some("http://127.0.0.1:8080/mcp"), "{}", "address guard refuses 127.0.0.1"),
        (Some("https://10.0.0.1/mcp"), "{}", "address guard refuses 10.0.0.1"),
        (Some("ftp://example.com/mcp"), "{}", "neither http nor https"),
        (Some("http://example.com/mcp"), r#"{"insecure_tls":true}"#, "plain http"),
        (
            Some("https://example.com/mcp"),
            r#"{"headers":{"Mcp-Session-Id":"x"}}"#,
            "the protocol's own",
        ),
        (Some("example.com:4434"), r#"{"headers":{"authorization":"x"}}"#, "write a URL"),
        (Some("example.com:4434"), r#"{"ca_file":"/no/such/file"}"#, "/no/such/file"),
    ] {
        routes.set("billing", "mcp", endpoint, config);
        router.reload().await.unwrap();
        let route = router.inspect().route("billing").cloned().unwrap();
        assert!(
            matches!(&route.state, RouteState::Bad { .. }) && format!("{route:?}").contains(says),
            "{says}: {route:?}"
        );
    }
}

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

/// Web servers that discover well and answer a call with this.
type Answer = fn(&Value) -> Response;

async fn web(State((answer, _)): State<(Answer, Arc<AtomicUsize>)>, body: Bytes) -> Response {
    let asked: Value = serde_json::from_slice(&body).unwrap_or_default();
    if asked["method"] != "server/discover" {
        return answer(&asked);
    }
    typed("application/json", discovered(&asked).to_string())
}

/// What a server of the newest era answers to the question what it is.
pub(super) fn discovered(asked: &Value) -> Value {
    let found = json!({ "resultType": "complete", "supportedVersions": ["2026-07-28"], "capabilities": { "tools": {} },
        "serverInfo": { "name": "x", "version": "1" }, "ttlMs": 0, "cacheScope": "private" });
    json!({ "jsonrpc": "2.0", "id": asked["id"], "result": found })
}

/// The address of a web server, and how often somebody came where nobody should.
async fn serve(answer: Answer) -> (String, Arc<AtomicUsize>) {
    let canary = Arc::<AtomicUsize>::default();
    let touched = |State((_, canary)): State<(Answer, Arc<AtomicUsize>)>| async move {
        canary.fetch_add(1, Ordering::SeqCst);
    };
    let state = (answer, Arc::clone(&canary));
    let app =
        axum::Router::new().route("/mcp", post(web)).route("/canary", get(touched).post(touched));
    let socket = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/mcp", socket.local_addr().unwrap());
    tokio::spawn(axum::serve(socket, app.with_state(state)).into_future());
    (url, canary)
}

pub(super) fn typed(kind: &'static str, body: impl Into<Body>) -> Response {
    ([(header::CONTENT_TYPE, kind)], body.into()).into_response()
}

/// Bytes without end.
fn endless() -> Body {
    let piece = Bytes::from_static(&[b'a'; 10_000]);
    Body::from_stream(futures_util::stream::repeat_with(move || {
        Ok::<_, std::io::Error>(piece.clone())
    }))
}

const SECRET: &str = "<html>hunter2</html>";

#[tokio::test]
async fn what_web_servers_answer_in_place_of_tools() {
    let answers: &[(&str, Answer, ErrorKind, &str)] = &[
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
        ("a page", |_| typed("text/html", SECRET), ErrorKind::Decode, "neither JSON nor"),
        (
            "no JSON",
            |_| typed("application/json", SECRET),
            ErrorKind::Decode,
            "no message of JSON-RPC",
        ),
        ("no type", |_| Body::from(SECRET).into_response(), ErrorKind::Decode, "neither JSON nor"),
        ("endless JSON", |_| typed("application/json", endless()), ErrorKind::TooLarge, "is over"),
        ("an endless event", |_| typed("text/event-stream", endless()), ErrorKind::Closed, ""),
        ("no event", |_| typed("text/event-stream", ""), ErrorKind::Closed, ""),
        (
            "an event that is none",
            |_| typed("text/event-stream", "data: hunter2\n\n"),
            ErrorKind::Closed,
            "",
        ),
        (
            "the answer to another",
            |_| {
                typed(
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
            |_| typed("application/json", Body::from_stream(silence())),
            ErrorKind::Timeout,
            "",
        ),
    ];
    let mut calls = Vec::new();
    for (label, answer, kind, words) in answers {
        let (url, canary) = serve(*answer).await;
        let call = async move {
            let client =
                TestClient::to(&url, r#""timeout_ms":3000,"max_reply_bytes":100000"#).await;
            let end =
                tokio::time::timeout(Duration::from_secs(20), client.billing.charge("a", 1)).await;
            (end.unwrap_or_else(|_| panic!("{label}: the call does not end")), canary)
        };
        calls.push((label, kind, words, tokio::spawn(call)));
    }
    for (label, kind, words, call) in calls {
        let (end, canary) = call.await.unwrap();
        let error = connectivity(end.unwrap_err());
        assert!(error.kind() == *kind && error.message().contains(words), "{label}: {error:?}");
        assert_ne!(error.sent(), Sent::No, "{label}: it may have run");
        assert!(!error.to_string().contains("hunter2"), "{label}: {error}");
        assert_eq!(canary.load(Ordering::SeqCst), 0, "{label}");
    }
}

fn silence() -> impl futures_util::Stream<Item = Result<Bytes, std::io::Error>> {
    futures_util::stream::pending()
}
