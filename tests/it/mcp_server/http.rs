//! The same tools over Streamable HTTP.

use std::time::Duration;

use connectivity_core::{
    Exposure, HttpListener, Mcp, MemoryRoutes, RawForm, Router, Server, register,
};
use serde_json::{Value, json};
use tests::shop::*;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;

use super::client::INITIALIZE;

pub(super) async fn serve(mcp: Mcp) -> String {
    let app: axum::Router = axum::Router::new().nest("/mcp", mcp.into_router());
    let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = socket.local_addr().unwrap().to_string();
    tokio::spawn(async move { axum::serve(socket, app).await });
    address
}

fn router_with_shop() -> (Router, Shop) {
    let (router, router_with_shop) = (router(&MemoryRoutes::new()), Shop::at("far"));
    register!(router, Billing => router_with_shop.clone()).unwrap();
    (router, router_with_shop)
}

/// Returns the `_meta` of a request of the newest protocol version.
fn newest_meta() -> Value {
    json!({
        "io.modelcontextprotocol/protocolVersion": "2026-07-28",
        "io.modelcontextprotocol/clientInfo": { "name": "test", "version": "1" },
        "io.modelcontextprotocol/clientCapabilities": {},
    })
}

fn mcp(router: &Router) -> Mcp {
    Mcp::new(router.inbound(Exposure::services(["billing"])))
}

pub(super) async fn post(address: &str, headers: &str, body: &str) -> (u16, String) {
    send(address, "/mcp", headers, body).await
}

async fn begin(address: &str, path: &str, headers: &str, body: &str) -> TcpStream {
    begin_as(address, address, path, headers, body).await
}

async fn begin_as(address: &str, host: &str, path: &str, headers: &str, body: &str) -> TcpStream {
    let request = format!(
        "POST {path} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\ncontent-type: application/json\r\n\
         accept: application/json, text/event-stream\r\n{headers}content-length: {}\r\n\r\n{body}",
        body.len()
    );
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    stream
}

async fn send(address: &str, path: &str, headers: &str, body: &str) -> (u16, String) {
    let mut stream = begin(address, path, headers, body).await;
    let mut response = String::new();
    let read =
        tokio::time::timeout(Duration::from_secs(20), stream.read_to_string(&mut response)).await;
    read.unwrap().unwrap();
    let status = response.split(' ').nth(1).unwrap().parse().unwrap();
    (status, response.split_once("\r\n\r\n").unwrap().1.to_owned())
}

pub(super) async fn request(address: &str, headers: &str, method: &str, params: Value) -> Value {
    let request = json!({ "jsonrpc": "2.0", "id": 2, "method": method, "params": params });
    let (status, body) = post(address, headers, &request.to_string()).await;
    serde_json::from_str(&body).unwrap_or_else(|_| panic!("{status}: {body}"))
}

#[tokio::test]
async fn both_eras_of_the_protocol_are_served() {
    let (router, _shop) = router_with_shop();
    let address = serve(mcp(&router)).await;
    let (status, hello) = post(&address, "", INITIALIZE).await;
    assert!(
        status == 200 && hello.contains(r#""protocolVersion":"2025-06-18""#),
        "{status}: {hello}"
    );
    let quote = json!({ "name": "billing.quote", "arguments": { "order": "abc" } });
    let old =
        request(&address, "mcp-protocol-version: 2025-06-18\r\n", "tools/call", quote.clone())
            .await;
    assert_eq!(old["result"]["structuredContent"], json!({ "result": 3 }), "{old}");
    let mut new = quote;
    new["_meta"] = newest_meta();
    let headers =
        "mcp-protocol-version: 2026-07-28\r\nmcp-method: tools/call\r\nmcp-name: billing.quote\r\n";
    let new = request(&address, headers, "tools/call", new).await;
    assert_eq!(
        (&new["result"]["structuredContent"], &new["result"]["resultType"]),
        (&json!({ "result": 3 }), &json!("complete")),
        "{new}"
    );
}

#[tokio::test]
async fn a_token_is_asked_for_and_its_name_is_the_peer() {
    let (router, _shop) = router_with_shop();
    let address = serve(mcp(&router).bearer("agent", "s3cret")).await;
    let seen = json!({ "name": "billing.seen" });
    for wrong in ["", "authorization: Bearer wrong\r\n"] {
        let (status, body) = post(
            &address,
            wrong,
            &json!({ "jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": seen })
                .to_string(),
        )
        .await;
        assert_eq!(status, 401, "{body}");
    }
    let response = request(&address, "authorization: Bearer s3cret\r\n", "tools/call", seen).await;
    assert_eq!(response["result"]["structuredContent"]["peer"], "agent", "{response}");
}

#[tokio::test]
async fn pages_and_borrowed_names_are_refused() {
    let (router, _shop) = router_with_shop();
    for mcp in [mcp(&router), mcp(&router).allow_host("*")] {
        let address = serve(mcp).await;
        for origin in [
            "http://evil.example",
            "null",
            "http://localhost:1",
            "https://localhost",
            "http://127.0.0.1.evil.example",
        ] {
            let (status, body) = post(&address, &format!("origin: {origin}\r\n"), INITIALIZE).await;
            assert_eq!(status, 403, "{origin}: {body}");
        }
        assert_eq!(
            post(&address, &format!("origin: http://{address}\r\n"), INITIALIZE).await.0,
            200,
            "its own page"
        );
    }
    let address = serve(mcp(&router)).await;
    for (borrowed, origin) in
        [("evil.example", ""), ("evil.example", "origin: http://evil.example\r\n")]
    {
        let mut stream = begin_as(&address, borrowed, "/mcp", origin, INITIALIZE).await;
        let mut response = String::new();
        stream.read_to_string(&mut response).await.unwrap();
        assert!(response.starts_with("HTTP/1.1 403 "), "{response}");
    }
    let address = serve(mcp(&router).allow_host("*")).await;
    let mut stream =
        begin_as(&address, "evil.example", "/mcp", "origin: http://evil.example\r\n", INITIALIZE)
            .await;
    let mut response = String::new();
    stream.read_to_string(&mut response).await.unwrap();
    assert!(
        response.starts_with("HTTP/1.1 403 "),
        "a page that has borrowed this machine's address: {response}"
    );
}

#[tokio::test]
async fn a_body_is_bounded() {
    let (router, _shop) = router_with_shop();
    let address = serve(mcp(&router).max_message_bytes(1000)).await;
    assert_eq!(post(&address, "", &"x".repeat(1001)).await.0, 413);
    assert_eq!(post(&address, "", INITIALIZE).await.0, 200);
    let address = serve(mcp(&router)).await;
    let crowd = format!(
        r#"{{"jsonrpc":"2.0","id":1,"method":"ping","params":{{"a":[{}0]}}}}"#,
        "0,".repeat(400_000)
    );
    assert_eq!(post(&address, "", &crowd).await.0, 413);
    for (junk, statuses) in [("", 400..500), ("[]", 400..500), ("{", 400..500), ("null", 400..500)]
    {
        let (status, body) = post(&address, "", junk).await;
        assert!(statuses.contains(&status), "{junk}: {status} {body}");
    }
}

/// Reports when the work that holds it ends.
struct Held(mpsc::UnboundedSender<&'static str>);

impl Drop for Held {
    fn drop(&mut self) {
        let _ = self.0.send("ended");
    }
}

#[tokio::test]
async fn a_client_that_goes_ends_its_call() {
    let (router, _shop) = router_with_shop();
    let (sender, mut events) = mpsc::unbounded_channel();
    let hold = move |_bytes| {
        let held = Held(sender.clone());
        let _ = held.0.send("began");
        async move {
            let _held = held;
            std::future::pending().await
        }
    };
    router.register_raw("hold", hold).unwrap();
    let mcp = Mcp::new(router.inbound(Exposure::services(["hold"]))).raw("hold", RawForm::Json);
    let address = serve(mcp).await;
    let body =
        json!({ "jsonrpc": "2.0", "id": 2, "method": "tools/call", "params": { "name": "hold" } })
            .to_string();
    let client = tokio::spawn(async move { post(&address, "", &body).await });
    assert_eq!(events.recv().await, Some("began"));
    client.abort();
    assert_eq!(events.recv().await, Some("ended"));
}

#[tokio::test]
async fn a_gateway_answers_both() {
    let (router, _shop) = router_with_shop();
    let listener = HttpListener::new("127.0.0.1:0").bearer("agent", "s3cret").mcp(|mcp| mcp);
    let server = Server::builder(&router)
        .expose(["billing"])
        .listener("http", listener)
        .start()
        .await
        .unwrap();
    let address = server.address("http").unwrap();
    assert_eq!(post(address, "", INITIALIZE).await.0, 401);
    let token = "authorization: Bearer s3cret\r\n";
    let quote = json!({ "name": "billing.quote", "arguments": { "order": "abc" } });
    assert_eq!(
        request(address, token, "tools/call", quote).await["result"]["structuredContent"],
        json!({ "result": 3 })
    );
    let (status, body) = send(address, "/billing.quote", token, r#"{"order":"abc"}"#).await;
    assert_eq!((status, &*body), (200, "3"));
    // A subscription does not delay the shutdown.
    let newest_meta = newest_meta();
    let listen = json!({ "jsonrpc": "2.0", "id": 1, "method": "subscriptions/listen",
        "params": { "_meta": newest_meta, "notifications": { "toolsListChanged": true } } })
    .to_string();
    let headers =
        format!("{token}mcp-protocol-version: 2026-07-28\r\nmcp-method: subscriptions/listen\r\n");
    let mut stream = begin(address, "/mcp", &headers, &listen).await;
    let mut piece = [0; 4096];
    assert!(stream.read(&mut piece).await.unwrap() > 0);
    server.shutdown(Duration::from_secs(3600)).await;
}
