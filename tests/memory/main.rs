//! Limits on the memory that one peer can use. This is a separate binary, because no other test may
//! run at the same time.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    reason = "tests have no users, and a failed unwrap is a failed test"
)]

#[path = "../it/frames/bytes.rs"]
mod frames;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use connectivity_core::{MemoryRoutes, Router, Server};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream, UnixListener, UnixStream};
use tokio::sync::Mutex;

use frames::{PREAMBLE, frame, request};

/// Serializes the tests.
static ALONE: Mutex<()> = Mutex::const_new(());

/// Returns the resident memory of this process in MiB.
fn resident() -> usize {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
    statm.split(' ').nth(1).unwrap().parse::<usize>().unwrap() / 256
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn answers_that_nobody_reads_hold_up_the_calls_that_would_make_more() {
    let _alone = ALONE.lock().await;
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("far.sock").display().to_string();
    let router = Router::builder().source(MemoryRoutes::new()).build().unwrap();
    let started = Arc::<AtomicUsize>::default();
    let count = Arc::clone(&started);
    let large = move |_| {
        count.fetch_add(1, Ordering::SeqCst);
        async { Ok(Bytes::from(vec![7; 1 << 20])) }
    };
    router.register_raw("large", large).unwrap();
    router.register_raw("echo", async |bytes| Ok(bytes)).unwrap();
    let _server =
        Server::builder(&router).expose(["echo", "large"]).unix(&path).start().await.unwrap();
    let routes = MemoryRoutes::new();
    routes.set("echo", "unix", Some(&path), "{}");
    let client = Router::builder().source(routes).build().unwrap();
    client.call("echo", "x").await.unwrap();

    let mut greedy = UnixStream::connect(&path).await.unwrap();
    let mut requests = PREAMBLE.to_vec();
    for call in 1..=3000 {
        requests.extend(request(call, 0, (call == 1).then_some("large"), b""));
    }
    let before = resident();
    greedy.write_all(&requests).await.unwrap();
    // Wait until the server has reached its limit, which shows as a stable count of started calls.
    // Calls of other clients still succeed.
    let mut seen = 0;
    for _ in 0..50 {
        client.call("echo", "x").await.unwrap();
        tokio::time::sleep(Duration::from_millis(20)).await;
        let now = started.load(Ordering::SeqCst);
        if now > 0 && now == seen {
            break;
        }
        seen = now;
    }
    assert!((1..200).contains(&seen), "{seen} calls have made a mebibyte each");
    assert!(resident() < before + 250, "{} MiB, {before} before", resident());
    // Calls that were held up start as replies are read.
    let mut read = vec![0; 1 << 20];
    let reading = async {
        while started.load(Ordering::SeqCst) < 1000 {
            greedy.read_exact(&mut read).await.unwrap();
        }
    };
    tokio::time::timeout(Duration::from_secs(60), reading).await.expect("calls go on");
    assert!(resident() < before + 250, "{} MiB, {before} before", resident());
}

#[tokio::test]
async fn a_server_that_pings_without_end_and_does_not_read_fills_nobodys_memory() {
    let _alone = ALONE.lock().await;
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("pings.sock");
    let listener = UnixListener::bind(&path).unwrap();
    let pings = frame(6, 7, b"").repeat(4096);
    tokio::spawn(async move {
        let (mut client, _) = listener.accept().await.unwrap();
        client.read_exact(&mut [0; 24]).await.unwrap();
        client.write_all(&frame(7, 0, b"")).await.unwrap();
        while client.write_all(&pings).await.is_ok() {}
    });
    let routes = MemoryRoutes::new();
    routes.set("echo", "unix", path.to_str(), r#"{"timeout_ms":2000}"#);
    let client = Router::builder().source(routes).build().unwrap();
    let before = resident();
    assert!(client.call("echo", "x").await.is_err());
    assert!(resident() < before + 50, "{} MiB, {before} before", resident());
}

/// Starts an HTTP server with `echo`, and with `large`, whose replies exceed the socket buffers and
/// whose calls are counted.
async fn start_http_server() -> (Server, String, Arc<AtomicUsize>) {
    let router = Router::builder().source(MemoryRoutes::new()).build().unwrap();
    let started = Arc::<AtomicUsize>::default();
    let count = Arc::clone(&started);
    let large = move |_| {
        count.fetch_add(1, Ordering::SeqCst);
        async { Ok(Bytes::from(vec![7; 16 << 20])) }
    };
    router.register_raw("large", large).unwrap();
    router.register_raw("echo", async |bytes| Ok(bytes)).unwrap();
    let server = Server::builder(&router)
        .expose(["echo", "large"])
        .http("127.0.0.1:0")
        .start()
        .await
        .unwrap();
    let address = server.address("http").unwrap().to_owned();
    (server, address, started)
}

fn head(name: &str, length: usize) -> Vec<u8> {
    format!("POST /{name} HTTP/1.1\r\nhost: x\r\ncontent-length: {length}\r\n\r\n").into_bytes()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn answers_over_http_that_nobody_reads_hold_up_the_calls_that_would_make_more() {
    let _alone = ALONE.lock().await;
    let (_server, address, started) = start_http_server().await;
    let before = resident();
    let mut greedy = Vec::new();
    for _ in 0..80 {
        let socket = TcpSocket::new_v4().unwrap();
        // Socket buffers of the kernel do not count as memory of this process.
        socket.set_recv_buffer_size(4096).unwrap();
        let mut stream = socket.connect(address.parse().unwrap()).await.unwrap();
        stream.write_all(&head("large", 0)).await.unwrap();
        greedy.push(stream);
    }
    let mut seen = 0;
    for _ in 0..50 {
        tokio::time::sleep(Duration::from_millis(20)).await;
        let now = started.load(Ordering::SeqCst);
        if now > 0 && now == seen {
            break;
        }
        seen = now;
    }
    assert!((1..30).contains(&seen), "{seen} calls have made 16 MiB each");
    assert!(resident() < before + 400, "{} MiB, {before} before", resident());
    // Calls that were held up start as replies are read.
    for stream in &mut greedy {
        let _ = stream.shutdown().await;
        let mut rest = Vec::new();
        // Requests that were refused or timed out end at once.
        let _ = tokio::time::timeout(Duration::from_secs(20), stream.read_to_end(&mut rest))
            .await
            .expect("it ends");
        if started.load(Ordering::SeqCst) > seen {
            break;
        }
    }
    assert!(started.load(Ordering::SeqCst) > seen, "{seen} began, and no more");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bodies_over_http_that_stop_fill_nobodys_memory() {
    let _alone = ALONE.lock().await;
    let (_server, address, _) = start_http_server().await;
    let before = resident();
    let piece = vec![7; 15 << 20];
    let mut stopped = Vec::new();
    for _ in 0..40 {
        let mut stream = TcpStream::connect(&address).await.unwrap();
        stream.write_all(&head("echo", 16 << 20)).await.unwrap();
        // Unread bytes fill the socket buffers, and then the write blocks.
        let _ = tokio::time::timeout(Duration::from_millis(100), stream.write_all(&piece)).await;
        stopped.push(stream);
    }
    // Each request gives up the memory of its body for the next one if needed.
    assert!(resident() < before + 250, "{} MiB, {before} before", resident());
}
