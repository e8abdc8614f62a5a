//! Clients that do not read their replies, and methods that block their thread: they hold up only
//! their own session.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;

use bytes::Bytes;
use connectivity_core::{HttpListener, McpTransport, MemoryRoutes, RawForm, Router, Server};
use serde_json::{Value, json};

use super::client::*;

/// Timeout for anything that is expected to succeed.
const TIMEOUT: Duration = Duration::from_secs(20);

/// Registers `late` with replies of 1 MiB. Returns the number of its calls that have started.
fn with_large_answers(server: &TestServer) -> Arc<AtomicUsize> {
    let began = Arc::<AtomicUsize>::default();
    let count = Arc::clone(&began);
    let large = move |_| {
        count.fetch_add(1, Ordering::SeqCst);
        async { Ok(Bytes::from(vec![b'x'; 1 << 20])) }
    };
    server.router.register_raw("late", large).unwrap();
    began
}

fn call(id: usize, text: &str) -> String {
    let params = json!({ "name": "late", "arguments": { "text": text } });
    json!({ "jsonrpc": "2.0", "id": id, "method": "tools/call", "params": params }).to_string()
        + "\n"
}

/// Reads `count` replies. Returns how many of them are results.
async fn read_answers(client: &mut Client, count: usize) -> usize {
    let (mut buffer, mut results) = (Vec::new(), 0);
    for _ in 0..count {
        let line = loop {
            let chunk = tokio::time::timeout(TIMEOUT, client.receive.read_chunk(usize::MAX, true))
                .await
                .unwrap();
            let chunk = chunk.unwrap().expect("the session goes on").bytes;
            let end = chunk.iter().position(|&byte| byte == b'\n');
            buffer.extend_from_slice(&chunk[..end.unwrap_or(chunk.len())]);
            if let Some(end) = end {
                break std::mem::replace(&mut buffer, chunk[end + 1..].to_vec());
            }
        };
        let response: Value = serde_json::from_slice(&line).unwrap();
        results += usize::from(response["result"]["structuredContent"]["text"].is_string());
    }
    results
}

/// Waits until a call has started and another client has completed many calls.
async fn wait_until_held_up(began: &AtomicUsize, witness: &mut Client) {
    wait_until_one_began(began).await;
    for _ in 0..50 {
        witness.assert_alive("answers that another client leaves unread").await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn answers_that_nobody_reads_hold_up_the_next_calls_of_their_session() {
    let server = start_server().await;
    let began = with_large_answers(&server);
    let (mut greedy, mut witness) = (Client::open(&server).await, Client::open(&server).await);
    for id in 100..228 {
        greedy.write(call(id, "")).await;
    }
    wait_until_held_up(&began, &mut witness).await;
    // A reply of 1 MiB takes 2 MiB as a message. One more may be in flight, and each thread may
    // have started one at the same time.
    let held_up = began.load(Ordering::SeqCst);
    assert!(held_up <= 8, "{held_up} began of 128");
    assert_eq!(read_answers(&mut greedy, 12).await, 12, "whoever reads gets its answers");
    assert!(began.load(Ordering::SeqCst) >= 12);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_answers_are_unread_no_further_request_is_read() {
    let server = start_server().await;
    let began = with_large_answers(&server);
    let (mut greedy, mut witness) = (Client::open(&server).await, Client::open(&server).await);
    for id in 100..108 {
        greedy.write(call(id, "")).await;
    }
    wait_until_held_up(&began, &mut witness).await;
    let large = "x".repeat(900_000);
    let mut sent = 0;
    while sent < 64 {
        // On a slow machine fewer requests are sent, which still satisfies the assertion.
        let send = &mut greedy.send;
        let request = call(200 + sent, &large);
        if tokio::time::timeout(Duration::from_secs(2), send.write_all(request.as_bytes()))
            .await
            .is_err()
        {
            break;
        }
        sent += 1;
    }
    assert!(sent < 16, "{sent} requests of 900 kB were taken");
    witness.assert_alive("requests that wait").await;
}

/// Registers a method that blocks its thread until released. Returns the number of its calls that
/// have started.
fn with_blocking(router: &Router, name: &str) -> (Arc<AtomicUsize>, mpsc::Sender<()>) {
    let (release, released) = mpsc::channel::<()>();
    let (began, released) = (Arc::<AtomicUsize>::default(), Arc::new(Mutex::new(released)));
    let count = Arc::clone(&began);
    let blocks = move |bytes| {
        let (count, released) = (Arc::clone(&count), Arc::clone(&released));
        async move {
            count.fetch_add(1, Ordering::SeqCst);
            let _ = released.lock().unwrap().recv_timeout(4 * TIMEOUT);
            Ok(bytes)
        }
    };
    router.register_raw(name, blocks).unwrap();
    (began, release)
}

async fn wait_until_one_began(began: &AtomicUsize) {
    while began.load(Ordering::SeqCst) == 0 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_method_that_blocks_its_thread_keeps_no_call_of_its_session_from_beginning() {
    let server = start_server().await;
    let (began, release) = with_blocking(&server.router, "late");
    let mut client = Client::open(&server).await;
    client.write(call(100, "")).await;
    wait_until_one_began(&began).await;
    client.assert_alive("a call that blocks").await;
    release.send(()).unwrap();
    assert_eq!(client.next().await["id"], 100);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_method_that_blocks_its_thread_keeps_no_call_over_http_from_beginning() {
    let router = Router::builder().source(MemoryRoutes::new()).build().unwrap();
    router.register_raw("echo", async |bytes| Ok(bytes)).unwrap();
    let (began, release) = with_blocking(&router, "block");
    let http = HttpListener::new("127.0.0.1:0");
    let http = http.mcp(|mcp| mcp.raw("echo", RawForm::Json).raw("block", RawForm::Json));
    let server = Server::builder(&router)
        .expose(["echo", "block"])
        .listener("http", http)
        .start()
        .await
        .unwrap();
    let routes = MemoryRoutes::new();
    for name in ["echo", "block"] {
        let endpoint = format!("http://{}/mcp", server.address("http").unwrap());
        routes.set(name, "mcp", Some(&endpoint), &format!(r#"{{"tool_name":"{name}"}}"#));
    }
    let client = Router::builder().transport("mcp", McpTransport::new().allow_internal());
    let client = client.source(routes).build().unwrap();
    let blocked = tokio::spawn({
        let client = client.clone();
        async move { client.call("block", "{}").await }
    });
    wait_until_one_began(&began).await;
    let response =
        tokio::time::timeout(TIMEOUT, client.call("echo", "{}")).await.expect("it begins");
    assert_eq!(response.unwrap(), "{}");
    release.send(()).unwrap();
    assert_eq!(blocked.await.unwrap().unwrap(), "{}");
}
