//! Strategy `http` between two routers over a real socket, and the gateway with other HTTP clients.

use std::time::Duration;

use connectivity_core::context::{self, Context};
use connectivity_core::{
    ErrorKind, Exposure, Gateway, HttpListener, HttpTransport, MemoryRoutes, Router, Sent, Server,
    register,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use tests::shop::*;

/// A router of its own behind a real port, as a second process would have.
struct TestServer {
    /// Serves until it is dropped.
    _server: Server,
    router: Router,
    shop: Shop,
    address: String,
}

async fn start_server() -> TestServer {
    let (router, shop) = (router(&MemoryRoutes::new()), Shop::at("far"));
    register!(router, Billing => shop.clone()).unwrap();
    router.register_raw("echo", async |bytes| Ok(bytes)).unwrap();
    router.register_raw("hidden", async |bytes| Ok(bytes)).unwrap();
    let server = Server::builder(&router)
        .expose(["billing", "echo"])
        .http("127.0.0.1:0")
        .start()
        .await
        .unwrap();
    let address = server.address("http").unwrap().to_owned();
    TestServer { _server: server, router, shop, address }
}

/// Returns a router that may dial loopback addresses, with one row for `billing`, and its client.
async fn client(endpoint: &str, config: &str) -> (Router, BillingClient) {
    let routes = MemoryRoutes::new();
    routes.set("billing", "http", Some(endpoint), config);
    let http = HttpTransport::new().allow_internal();
    let router = Router::builder().source(routes).transport("http", http).build().unwrap();
    let billing = BillingClient::new(&router);
    (router, billing)
}

#[tokio::test]
async fn a_method_row_addresses_the_method_itself() {
    let server = start_server().await;
    let routes = MemoryRoutes::new();
    let endpoint = format!("http://{}/billing.quote", server.address);
    routes.set("billing.quote", "http", Some(&endpoint), "{}");
    let http = HttpTransport::new().allow_internal();
    let router = Router::builder().source(routes).transport("http", http).build().unwrap();
    assert_eq!(BillingClient::new(&router).quote("abc").await, Ok(3));
}

#[tokio::test]
async fn the_guard_refuses_loopback_unless_it_is_opened() {
    let routes = MemoryRoutes::new();
    routes.set("billing", "http", Some("http://127.0.0.1:9/billing"), "{}");
    routes.set("orders", "http", Some("http://localhost:9/orders"), "{}");
    let router = Router::builder().source(routes).build().unwrap();
    let error = router.call("billing", "x").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::RouteInvalid);
    assert!(error.message().contains("allow_internal"), "{error}");
    assert_eq!(router.call("orders", "x").await.unwrap_err().kind(), ErrorKind::RouteInvalid);
}

#[tokio::test]
async fn raw_services_speak_to_go_peers_in_both_directions() {
    let server = start_server().await;
    let (status, text) = send_raw(&server.address, &post("/echo", "", "a\0b")).await;
    assert_eq!(status, 200);
    assert!(
        text.contains("content-type: application/octet-stream\r\n")
            && text.ends_with("\r\n\r\na\0b"),
        "{text}"
    );

    // The original's gateway replies with status 200 and bytes, or with status 500 and a plain text
    // error.
    let go = axum::Router::new()
        .route("/thumb", axum::routing::post(|body: bytes::Bytes| async move { body }))
        .route(
            "/broken",
            axum::routing::post(|| async {
                (axum::http::StatusCode::INTERNAL_SERVER_ERROR, "boom\n")
            }),
        );
    let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = socket.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(socket, go).await });
    let routes = MemoryRoutes::new();
    routes.set("thumb", "http", Some(&format!("http://{address}/thumb")), "{}");
    routes.set("broken", "http", Some(&format!("http://{address}/broken")), "{}");
    let http = HttpTransport::new().allow_internal();
    let router = Router::builder().source(routes).transport("http", http).build().unwrap();
    assert_eq!(router.call("thumb", "png").await.unwrap(), "png");
    let error = router.call("broken", "png").await.unwrap_err();
    assert_eq!((error.kind(), error.sent()), (ErrorKind::Remote, Sent::Maybe));
    assert_eq!(error.message(), format!("status 500 Internal Server Error of {address}"));
}

#[tokio::test]
async fn an_error_tells_which_server_it_is_about() {
    let server = start_server().await;
    let (_router, billing) = client(&format!("http://{}/biling", server.address), "{}").await;
    let BillingError::Connectivity(error) = billing.quote("abc").await.unwrap_err() else {
        panic!("declined")
    };
    assert_eq!((error.kind(), error.sent()), (ErrorKind::NotRoutable, Sent::No));
    assert!(error.message().starts_with(&format!("{} says: ", server.address)), "{error}");

    let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let (_router, billing) = client(&format!("http://{nobody}/billing"), "{}").await;
    let BillingError::Connectivity(error) = billing.quote("abc").await.unwrap_err() else {
        panic!("declined")
    };
    assert_eq!((error.kind(), error.sent()), (ErrorKind::Connect, Sent::No));
    assert!(error.message().starts_with(&format!("{nobody}: ")), "{error}");
}

/// Sends one request verbatim. Returns the status code and the whole response.
async fn send_raw(address: &str, request: &str) -> (u16, String) {
    let (mut stream, mut sending) = TcpStream::connect(address).await.unwrap().into_split();
    let request = request.as_bytes().to_vec();
    // The server can refuse before the request is completely sent.
    let sending = tokio::spawn(async move { sending.write_all(&request).await.map(|()| sending) });
    let mut response = Vec::new();
    let mut buf = vec![0; 1 << 16];
    loop {
        let read = tokio::time::timeout(Duration::from_secs(20), stream.read(&mut buf))
            .await
            .unwrap()
            .unwrap();
        response.extend_from_slice(&buf[..read]);
        let complete = response.windows(4).position(|end| end == b"\r\n\r\n").is_some_and(|head| {
            let text = String::from_utf8_lossy(&response[..head]);
            let length = text
                .lines()
                .find_map(|line| line.strip_prefix("content-length: ")?.parse::<usize>().ok());
            response.len() - head - 4 >= length.unwrap_or(0)
        });
        if read == 0 || complete {
            break;
        }
    }
    sending.abort();
    let text = String::from_utf8_lossy(&response).into_owned();
    let status = text.get(9..12).and_then(|status| status.parse().ok()).unwrap_or(0);
    (status, text)
}

fn post(path: &str, headers: &str, body: &str) -> String {
    let length = body.len();
    format!(
        "POST {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n{headers}content-length: {length}\r\n\r\n{body}"
    )
}

const JSON: &str = "content-type: application/json\r\n";

#[tokio::test]
async fn curl_gets_values_errors_and_hints() {
    let server = start_server().await;
    let request_to = |path: &'static str, headers: &'static str, body: &'static str| {
        let (address, request) = (server.address.clone(), post(path, headers, body));
        async move { send_raw(&address, &request).await }
    };
    let (status, text) = request_to("/billing.quote", JSON, r#"{"order":"17"}"#).await;
    assert_eq!(status, 200);
    assert!(text.ends_with("\r\n\r\n2"), "{text}");

    let (status, text) = request_to("/billing.fail", JSON, r#"{"how":"Declined"}"#).await;
    assert_eq!(status, 422);
    assert!(text.ends_with(r#""Declined""#), "{text}");

    for (path, headers, body, status, kind, expected) in [
        (
            "/billing.quote",
            JSON,
            r#"{"ordr":"17"}"#,
            400,
            "decode",
            "unknown field, expected `order`",
        ),
        ("/billing.quote", "", r#"{"order":"17"}"#, 415, "decode", "application/json"),
        ("/billing.quote", "content-type: text/plain\r\n", "x", 415, "decode", "application/json"),
        ("/billing.nope", JSON, "{}", 404, "unimplemented", "billing.quote"),
        ("/billing", JSON, "{}", 404, "unimplemented", "name one of its methods: billing.charge"),
        ("/nobody", JSON, "{}", 404, "not_routable", "exposed"),
        ("/hidden", JSON, "{}", 404, "not_routable", "exposed"),
        ("/", JSON, "{}", 400, "decode", "POST /billing.charge"),
        ("/echo/", "", "x", 404, "not_routable", ""),
        ("/%65cho", "", "x", 404, "not_routable", ""),
        ("/../echo", "", "x", 404, "not_routable", ""),
        ("/ECHO", "", "x", 404, "not_routable", ""),
        ("/echo", "origin: https://evil.example\r\n", "x", 403, "denied", "allow_origin"),
        (
            "/echo",
            "connectivity-timeout-ms: soon\r\n",
            "x",
            400,
            "decode",
            "connectivity-timeout-ms",
        ),
        ("/echo", "connectivity-meta: %%\r\n", "x", 400, "decode", "connectivity-meta"),
    ] {
        let (actual, text) = request_to(path, headers, body).await;
        assert_eq!(actual, status, "{path}: {text}");
        assert!(text.contains(&format!("connectivity-error: {kind}\r\n")), "{path}: {text}");
        assert!(
            text.contains("connectivity-sent: no\r\n") && text.contains(expected),
            "{path}: {text}"
        );
    }
    let (status, text) =
        send_raw(&server.address, "GET /billing.quote HTTP/1.1\r\nhost: x\r\n\r\n").await;
    assert_eq!(status, 405);
    assert!(text.contains("allow: POST"), "{text}");
    assert!(server.shop.journal.orders.lock().unwrap().is_empty());
}

#[tokio::test]
async fn a_body_over_the_limit_is_413_before_anything_runs() {
    let server = start_server().await;
    let announced = "POST /echo HTTP/1.1\r\nhost: x\r\ncontent-length: 1099511627776\r\n\r\n";
    let (status, text) = send_raw(&server.address, announced).await;
    assert_eq!(status, 413, "{text}");
    for (size, status) in [(16 << 20, 200), ((16 << 20) + 1, 413)] {
        assert_eq!(
            send_raw(&server.address, &post("/echo", "", &"x".repeat(size))).await.0,
            status,
            "{size} bytes"
        );
    }
    let chunks = "POST /echo HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n";
    let chunk = format!("{:x}\r\n{}\r\n", 1 << 20, "x".repeat(1 << 20));
    let mut stream = TcpStream::connect(&server.address).await.unwrap();
    stream.write_all(chunks.as_bytes()).await.unwrap();
    for _ in 0..17 {
        if stream.write_all(chunk.as_bytes()).await.is_err() {
            break;
        }
    }
    let mut head = [0; 12];
    stream.read_exact(&mut head).await.unwrap();
    assert_eq!(&head, b"HTTP/1.1 413");
}

#[tokio::test]
async fn a_slow_body_is_cut_off() {
    let router = router(&MemoryRoutes::new());
    router.register_raw("echo", async |bytes| Ok(bytes)).unwrap();
    let hasty = HttpListener::new("127.0.0.1:0")
        .gateway(|gateway| gateway.body_timeout(Duration::from_millis(50)));
    let server =
        Server::builder(&router).expose_all().listener("http", hasty).start().await.unwrap();
    let address = server.address("http").unwrap();
    let (status, text) =
        send_raw(address, "POST /echo HTTP/1.1\r\nhost: x\r\ncontent-length: 10\r\n\r\nabc").await;
    assert_eq!(status, 408, "{text}");
    assert!(text.contains("connection: close"), "{text}");
}

#[tokio::test]
async fn an_address_that_others_reach_needs_a_rule() {
    let server = start_server().await;
    let open = |listener: HttpListener| {
        Server::builder(&server.router).expose_all().listener("http", listener).start()
    };
    let error = open(HttpListener::new("0.0.0.0:0")).await.unwrap_err().to_string();
    assert!(error.contains("open_to_everyone"), "{error}");
    let server = open(HttpListener::new("0.0.0.0:0").bearer("orders", "s3cret")).await.unwrap();
    let port = server.address("http").unwrap().rsplit(':').next().unwrap().to_owned();
    let request_to = |headers: &'static str| {
        send_raw_to(format!("127.0.0.1:{port}"), post("/billing.seen", headers, "{}"))
    };
    let (status, text) = request_to("content-type: application/json\r\n").await;
    assert_eq!(status, 401);
    assert!(text.contains("www-authenticate: Bearer"), "{text}");
    assert_eq!(
        request_to("content-type: application/json\r\nauthorization: Bearer s3creT\r\n").await.0,
        401
    );
    let (status, text) =
        request_to("content-type: application/json\r\nauthorization: Bearer s3cret\r\n").await;
    assert_eq!(status, 200);
    assert!(text.contains(r#""peer":"orders""#), "{text}");
}

async fn send_raw_to(address: String, request: String) -> (u16, String) {
    send_raw(&address, &request).await
}

#[tokio::test]
async fn nothing_is_exposed_that_is_not_named() {
    let router = router(&MemoryRoutes::new());
    let error = Server::builder(&router).http("127.0.0.1:0").start().await.unwrap_err().to_string();
    assert!(error.contains("expose"), "{error}");
    let error = Server::builder(&router).expose_all().start().await.unwrap_err().to_string();
    assert!(error.contains("no listener"), "{error}");
    let error = Server::builder(&router).expose(["bill ing"]).http("127.0.0.1:0").start().await;
    assert!(error.is_err());
}

#[tokio::test]
async fn a_noop_row_binds_calls_from_outside_too() {
    let routes = MemoryRoutes::new();
    let (server_router, shop) = (router(&routes), Shop::at("far"));
    register!(server_router, Billing => shop.clone()).unwrap();
    routes.set("billing", "noop", None, "{}");
    server_router.reload().await.unwrap();
    let server =
        Server::builder(&server_router).expose_all().http("127.0.0.1:0").start().await.unwrap();
    let address = server.address("http").unwrap();
    let (status, text) = send_raw(address, &post("/billing.quote", JSON, r#"{"order":"1"}"#)).await;
    assert_eq!(status, 200);
    assert!(text.ends_with("\r\n\r\n7"), "{text}");
    let (status, text) =
        send_raw(address, &post("/billing.charge", JSON, r#"{"order":"1","cents":1}"#)).await;
    assert_eq!(status, 503, "{text}");
    assert!(shop.journal.orders.lock().unwrap().is_empty());
}

#[tokio::test]
async fn a_gateway_mounts_into_an_axum_application() {
    let router = router(&MemoryRoutes::new());
    register!(router, Billing => Shop::at("far")).unwrap();
    let gateway = Gateway::new(router.inbound(Exposure::services(["billing"])));
    let app = axum::Router::new().nest("/rpc", gateway.into_router());
    let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = socket.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(socket, app).await });
    let (_client, billing) = client(&format!("http://{address}/rpc/billing"), "{}").await;
    assert_eq!(billing.charge("17", 1).await.unwrap().served_by, "far");
}

#[tokio::test]
async fn what_an_application_sets_around_a_gateway_arrives_and_no_header_overrules_it() {
    use axum::extract::Request;
    use axum::middleware::{Next, from_fn};

    let router = router(&MemoryRoutes::new());
    register!(router, Billing => Shop::at("far")).unwrap();
    let gateway = Gateway::new(router.inbound(Exposure::services(["billing"])));
    let signed_in = async |request: Request, next: Next| {
        let context = Context::new().with_meta("tenant", "acme").unwrap();
        let context = context
            .with_peer(context::Peer::new("session", "ann"))
            .with_timeout(Duration::from_secs(5));
        context::scope(context, next.run(request)).await
    };
    let app = gateway.into_router::<()>().layer(from_fn(signed_in));
    let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = socket.local_addr().unwrap().to_string();
    tokio::spawn(async move { axum::serve(socket, app).await });

    let claim = format!(
        "{JSON}connectivity-meta: tenant=evil&shelf=9\r\nconnectivity-timeout-ms: 60000\r\n"
    );
    let (status, text) = send_raw(&address, &post("/billing.seen", &claim, "{}")).await;
    assert_eq!(status, 200, "{text}");
    let seen: Seen = serde_json::from_str(text.lines().last().unwrap()).unwrap();
    assert_eq!((seen.tenant.as_deref(), seen.peer.as_deref()), (Some("acme"), Some("ann")));
    assert!((1..=5000).contains(&seen.remaining_ms.unwrap()), "{:?}", seen.remaining_ms);
}
