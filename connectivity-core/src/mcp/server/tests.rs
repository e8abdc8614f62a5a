//! Sessions over a pipe, with paused time.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, DuplexStream, ReadHalf, WriteHalf};
use tokio::task::JoinHandle;

use super::line::End;
use super::session::{Limits, serve};
use super::*;
use crate::router::Router;
use crate::routes::MemoryRoutes;
use crate::transport::Exposure;

const LIMITS: Limits = Limits {
    open_timeout: Some(Duration::from_secs(10)),
    write_timeout: Some(Duration::from_secs(30)),
    max_message: 1 << 16,
};

const HELLO: &str = concat!(
    r#"{"jsonrpc":"2.0","id":0,"method":"initialize","params":{"protocolVersion":"2025-11-25","capabilities":{},"#,
    r#""clientInfo":{"name":"test","version":"1"}}}"#,
    "\n"
);

struct Client {
    reader: BufReader<ReadHalf<DuplexStream>>,
    writer: WriteHalf<DuplexStream>,
    session: JoinHandle<End>,
}

impl Client {
    fn new() -> Self {
        let router = Router::builder().source(MemoryRoutes::new()).build().unwrap();
        router.register_raw("echo", async |bytes| Ok(bytes)).unwrap();
        router.register_raw("hang", async |_| std::future::pending().await).unwrap();
        let mcp = Mcp::new(router.inbound(Exposure::all()))
            .raw("echo", RawForm::Bytes)
            .raw("hang", RawForm::Json);
        let (client, server) = tokio::io::duplex(1 << 12);
        let (reader, writer) = tokio::io::split(server);
        let session = tokio::spawn(async move {
            let ended =
                serve(mcp.into_inner(Workplace::default()), None, (reader, writer), LIMITS, None)
                    .await;
            drop(router);
            ended
        });
        let (reader, writer) = tokio::io::split(client);
        Self { reader: BufReader::new(reader), writer, session }
    }

    async fn send(&mut self, text: &str) {
        self.writer.write_all(text.as_bytes()).await.unwrap();
    }

    async fn receive(&mut self) -> Value {
        let mut line = String::new();
        self.reader.read_line(&mut line).await.unwrap();
        serde_json::from_str(&line).unwrap_or_else(|_| panic!("{line:?}"))
    }
}

fn call(id: usize, tool: &str, arguments: &Value) -> String {
    let params = json!({ "name": tool, "arguments": arguments });
    format!("{}\n", json!({ "jsonrpc": "2.0", "id": id, "method": "tools/call", "params": params }))
}

#[tokio::test(start_paused = true)]
async fn who_says_nothing_is_not_waited_for() {
    let client = Client::new();
    assert_eq!(client.session.await.unwrap(), End::Closed);
}

#[tokio::test(start_paused = true)]
async fn a_session_without_a_handshake_may_wait_for_its_first_call() {
    let mut client = Client::new();
    let meta = json!({
        "io.modelcontextprotocol/protocolVersion": "2026-07-28",
        "io.modelcontextprotocol/clientInfo": { "name": "test", "version": "1" },
        "io.modelcontextprotocol/clientCapabilities": {},
    });
    let ask = |id: usize, method: &str, mut params: Value| {
        params["_meta"] = meta.clone();
        let ask = json!({ "jsonrpc": "2.0", "id": id, "method": method, "params": params });
        format!("{ask}\n")
    };
    client.send(&ask(0, "server/discover", json!({}))).await;
    assert_eq!(client.receive().await["id"], 0);
    tokio::time::sleep(Duration::from_secs(600)).await;
    let call = ask(1, "tools/call", json!({ "name": "echo", "arguments": { "data": "aGk=" } }));
    client.send(&call).await;
    assert_eq!(client.receive().await["id"], 1);
}

#[tokio::test(start_paused = true)]
async fn a_call_has_its_time() {
    let mut client = Client::new();
    client.send(HELLO).await;
    client.receive().await;
    let started = tokio::time::Instant::now();
    client.send(&call(1, "hang", &json!({}))).await;
    let reply = client.receive().await;
    assert!(
        reply["result"]["content"][0]["text"].as_str().unwrap().contains(r#""kind":"timeout""#),
        "{reply}"
    );
    assert_eq!(started.elapsed().as_secs(), 30);
}

#[tokio::test(start_paused = true)]
async fn who_reads_no_answers_is_read_no_further_and_then_cut_off() {
    let mut client = Client::new();
    client.send(HELLO).await;
    client.receive().await;
    let large = json!({ "text": "x".repeat(1 << 12) });
    // Each reply is twice as long; unread replies must not pile up.
    let mut sent = 0;
    for id in 1.. {
        let call = call(id, "echo", &large);
        match tokio::time::timeout(Duration::from_secs(1), client.writer.write_all(call.as_bytes()))
            .await
        {
            Ok(written) => written.unwrap(),
            Err(_elapsed) => break,
        }
        sent = id;
    }
    assert!((1..1000).contains(&sent), "{sent} calls were taken");
    assert_eq!(client.session.await.unwrap(), End::Broken);
}

#[tokio::test(start_paused = true)]
async fn whoever_closes_gets_the_answers_under_way() {
    let mut client = Client::new();
    client.send(HELLO).await;
    client.receive().await;
    client.send(&call(1, "hang", &json!({}))).await;
    client.send(&call(2, "echo", &json!({ "text": "a" }))).await;
    client.writer.shutdown().await.unwrap();
    assert_eq!(client.receive().await["id"], 2);
    assert_eq!(client.receive().await["id"], 1, "after its 30 s");
    assert_eq!(client.session.await.unwrap(), End::Closed);
}
