//! The same tools over Streamable HTTP.

use std::time::Duration;

use connectivity_core::{Exposure, Mcp, MemoryRoutes, RawForm, Router, register};
use serde_json::{Value, json};
use tests::shop::*;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;

use super::client::HELLO;

pub(super) async fn serve(mcp: Mcp) -> String {
    let app: axum::Router = axum::Router::new().nest("/mcp", mcp.into_router());
    let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = socket.local_addr().unwrap().to_string();
    tokio::spawn(async move { axum::serve(socket, app).await });
    address
}

fn shop() -> (Router, Shop) {
    let (router, shop) = (router(&MemoryRoutes::new()), Shop::at("far"));
    register!(router, Billing => shop.clone()).unwrap();
    (router, shop)
}

fn mcp(router: &Router) -> Mcp {
    Mcp::new(router.inbound(Exposure::services(["billing"])))
}

pub(super) async fn post(address: &str, headers: &str, body: &str) -> (u16, String) {
    let request = format!(
        "POST /mcp HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\ncontent-type: application/json\r\n\
         accept: application/json, text/event-stream\r\n{headers}content-length: {}\r\n\r\n{body}",
        body.len()
    );
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    let read = tokio::time::timeout(Duration::from_secs(20), stream.read_to_string(&mut answer)).await;
    read.unwrap().unwrap();
    let status = answer.split(' ').nth(1).unwrap().parse().unwrap();
    (status, answer.split_once("\r\n\r\n").unwrap().1.to_owned())
}

pub(super) async fn ask(address: &str, headers: &str, method: &str, params: Value) -> Value {
    let request = json!({ "jsonrpc": "2.0", "id": 2, "method": method, "params": params });
    let (status, body) = post(address, headers, &request.to_string()).await;
    serde_json::from_str(&body).unwrap_or_else(|_| panic!("{status}: {body}"))
}

#[tokio::test]
async fn both_eras_of_the_protocol_are_served() {
    let (router, _shop) = shop();
    let address = serve(mcp(&router)).await;
    let (status, hello) = post(&address, "", HELLO).await;
    assert!(status == 200 && hello.contains(r#""protocolVersion":"2025-06-18""#), "{status}: {hello}");
    let quote = json!({ "name": "billing.quote", "arguments": { "order": "abc" } });
    let old = ask(&address, "mcp-protocol-version: 2025-06-18\r\n", "tools/call", quote.clone()).await;
    assert_eq!(old["result"]["structuredContent"], json!({ "result": 3 }), "{old}");
    let mut new = quote;
    new["_meta"] = json!({
        "io.modelcontextprotocol/protocolVersion": "2026-07-28",
        "io.modelcontextprotocol/clientInfo": { "name": "test", "version": "1" },
        "io.modelcontextprotocol/clientCapabilities": {},
    });
    let headers = "mcp-protocol-version: 2026-07-28\r\nmcp-method: tools/call\r\nmcp-name: billing.quote\r\n";
    let new = ask(&address, headers, "tools/call", new).await;
    assert_eq!(
        (&new["result"]["structuredContent"], &new["result"]["resultType"]),
        (&json!({ "result": 3 }), &json!("complete")),
        "{new}"
    );
}

#[tokio::test]
async fn a_token_is_asked_for_and_its_name_is_the_peer() {
    let (router, _shop) = shop();
    let address = serve(mcp(&router).bearer("agent", "s3cret")).await;
    let seen = json!({ "name": "billing.seen" });
    for wrong in ["", "authorization: Bearer wrong\r\n"] {
        let (status, body) = post(
            &address,
            wrong,
            &json!({ "jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": seen }).to_string(),
        )
        .await;
        assert_eq!(status, 401, "{body}");
    }
    let answer = ask(&address, "authorization: Bearer s3cret\r\n", "tools/call", seen).await;
    assert_eq!(answer["result"]["structuredContent"]["peer"], "agent", "{answer}");
}

#[tokio::test]
async fn pages_and_borrowed_names_are_refused() {
    let (router, _shop) = shop();
    let address = serve(mcp(&router)).await;
    let (status, _) = post(&address, "origin: http://evil.example\r\n", HELLO).await;
    assert_eq!(status, 403);
    let borrowed = HELLO.len();
    let request = format!(
        "POST /mcp HTTP/1.1\r\nhost: evil.example\r\nconnection: close\r\ncontent-type: application/json\r\naccept: application/json, text/event-stream\r\ncontent-length: {borrowed}\r\n\r\n{HELLO}"
    );
    let mut stream = TcpStream::connect(&address).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 403 "), "{answer}");
}

#[tokio::test]
async fn a_body_is_bounded() {
    let (router, _shop) = shop();
    let address = serve(mcp(&router).max_message_bytes(1000)).await;
    assert_eq!(post(&address, "", &"x".repeat(1001)).await.0, 413);
    assert_eq!(post(&address, "", HELLO).await.0, 200);
}

/// Tells when the work that holds it has ended.
struct Held(mpsc::UnboundedSender<&'static str>);

impl Drop for Held {
    fn drop(&mut self) {
        let _ = self.0.send("ended");
    }
}

#[tokio::test]
async fn a_client_that_goes_ends_its_call() {
    let (router, _shop) = shop();
    let (tell, mut told) = mpsc::unbounded_channel();
    let hold = move |_bytes| {
        let held = Held(tell.clone());
        let _ = held.0.send("began");
        async move {
            let _held = held;
            std::future::pending().await
        }
    };
    router.register_raw("hold", hold).unwrap();
    let mcp = Mcp::new(router.inbound(Exposure::services(["hold"]))).raw("hold", RawForm::Json);
    let address = serve(mcp).await;
    let body = json!({ "jsonrpc": "2.0", "id": 2, "method": "tools/call", "params": { "name": "hold" } }).to_string();
    let client = tokio::spawn(async move { post(&address, "", &body).await });
    assert_eq!(told.recv().await, Some("began"));
    client.abort();
    assert_eq!(told.recv().await, Some("ended"));
}
