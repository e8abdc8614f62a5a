//! Connections of the HTTP client: how many it opens, and what `sent` says of calls that end before
//! their connection is established.

use std::io::{Read, Write};
use std::net::Shutdown;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use connectivity_core::context::{self, Context};
use connectivity_core::{Error, ErrorKind, HttpTransport, MemoryRoutes, Router, Sent};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

/// Returns a router with one row: the raw service `echo` at `endpoint`.
fn client(endpoint: &str, config: &str) -> Router {
    let routes = MemoryRoutes::new();
    routes.set("echo", "http", Some(endpoint), config);
    let builder = Router::builder().source(routes);
    builder.transport("http", HttpTransport::new().allow_internal()).build().unwrap()
}

async fn within(ms: u64, client: &Router, body: &'static str) -> Result<bytes::Bytes, Error> {
    let context = Context::new().with_timeout(Duration::from_millis(ms));
    context::scope(context, client.call("echo", body)).await
}

async fn wait_until(condition: impl Fn() -> bool) {
    let waiting = async {
        while !condition() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), waiting).await.expect("within 20 s");
}

/// A server that reads requests and answers only those whose body ends with `quick`. Returns its
/// endpoint and the number of requests received.
async fn slow_server() -> (String, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let requests = Arc::<AtomicUsize>::default();
    let count = Arc::clone(&requests);
    tokio::spawn(async move {
        while let Ok((mut client, _)) = listener.accept().await {
            let count = Arc::clone(&count);
            tokio::spawn(async move {
                let (mut request, mut piece) = (Vec::new(), [0; 4096]);
                while !request.ends_with(b"slow") && !request.ends_with(b"quick") {
                    match client.read(&mut piece).await {
                        Ok(read) if read > 0 => request.extend_from_slice(&piece[..read]),
                        _ => return,
                    }
                }
                count.fetch_add(1, Ordering::SeqCst);
                if request.ends_with(b"quick") {
                    let _ =
                        client.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").await;
                }
                // Keep the connection open until the client closes it.
                let _ = client.read(&mut piece).await;
            });
        }
    });
    (format!("http://{address}/echo"), requests)
}

#[tokio::test]
async fn a_call_waits_for_a_connection_until_its_deadline_and_those_that_go_make_room() {
    let (endpoint, requests) = slow_server().await;
    let client = client(&endpoint, r#"{"timeout_ms":600000}"#);
    let mut calls = tokio::task::JoinSet::new();
    for _ in 0..256 {
        let client = client.clone();
        calls.spawn(async move { client.call("echo", "slow").await.map(drop) });
    }
    wait_until(|| requests.load(Ordering::SeqCst) == 256).await;
    let error = within(300, &client, "quick").await.unwrap_err();
    assert_eq!((error.kind(), error.sent()), (ErrorKind::Timeout, Sent::No));
    assert_eq!(requests.load(Ordering::SeqCst), 256, "it waited");
    let queued = tokio::spawn({
        let client = client.clone();
        async move { client.call("echo", "quick").await }
    });
    // A call that is dropped while it waits for a connection does not block the calls behind it.
    drop(within(10, &client, "quick").await);
    calls.abort_all();
    assert_eq!(queued.await.unwrap().unwrap(), "ok");
}

#[tokio::test]
async fn a_call_that_ends_during_the_handshake_has_sent_nothing_whatever_its_body() {
    // Accepts connections but never answers the TLS handshake.
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let client = client(
        &format!("https://{}/echo", listener.local_addr().unwrap()),
        r#"{"insecure_tls":true}"#,
    );
    for body in ["", "some"] {
        let error = within(500, &client, body).await.unwrap_err();
        assert_eq!((error.kind(), error.sent()), (ErrorKind::Timeout, Sent::No), "{body:?}");
    }
}

#[tokio::test]
async fn a_connection_that_ends_before_the_request_has_sent_nothing() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = format!("http://{}/echo", listener.local_addr().unwrap());
    let (mut unsent, rounds) = (0, 20);
    for _ in 0..rounds {
        let client = client(&endpoint, "{}");
        let body = if unsent % 2 == 0 { "some" } else { "" };
        let mut call = Box::pin(client.call("echo", body));
        tokio::select! {
            biased;
            reply = &mut call => panic!("nobody has answered: {reply:?}"),
            () = tokio::task::yield_now() => {}
        }
        // The client runs on this thread, so it polls its connection only after the server has
        // closed it.
        let (mut server, _) = listener.accept().unwrap();
        server.shutdown(Shutdown::Write).unwrap();
        let error = call.await.unwrap_err();
        let mut request = Vec::new();
        server.read_to_end(&mut request).unwrap();
        let sent = if request.is_empty() { Sent::No } else { Sent::Maybe };
        assert_eq!(
            (error.kind(), error.sent()),
            (ErrorKind::Closed, sent),
            "{} bytes, {error}",
            request.len()
        );
        unsent += usize::from(request.is_empty());
    }
    assert!(unsent > 0, "the request left each time");
}

#[tokio::test]
async fn a_call_that_ends_while_its_head_leaves_may_have_run() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let dir = tempfile::tempdir().unwrap();
    let large = dir.path().join("large");
    std::fs::write(&large, "x".repeat(64 << 10)).unwrap();
    // The largest headers that a row allows, so that they do not fit into the socket buffers.
    let headers: Vec<_> =
        (0..64).map(|n| format!(r#""x-{n}":"file:{}""#, large.display())).collect();
    let config = format!(r#"{{"headers":{{{}}}}}"#, headers.join(","));
    for body in ["", "some"] {
        let client = client(&format!("http://{}/echo", listener.local_addr().unwrap()), &config);
        let mut call = Box::pin(within(3000, &client, body));
        let error = (&mut call).await.unwrap_err();
        let (mut server, _) = listener.accept().unwrap();
        let began = server.read(&mut [0; 4]).unwrap() > 0;
        let sent = if began { Sent::Maybe } else { Sent::No };
        assert_eq!((error.kind(), error.sent()), (ErrorKind::Timeout, sent), "{body:?}");
    }
}

/// Answers one request per connection without `connection: close`, then closes the connection and
/// reports on `closed`.
fn serve_one_request_each(listener: std::net::TcpListener, closed: std::sync::mpsc::Sender<()>) {
    std::thread::spawn(move || {
        while let Ok((mut client, _)) = listener.accept() {
            let mut request = Vec::new();
            while !request.ends_with(b"some") {
                let mut piece = [0; 4096];
                let read = client.read(&mut piece).unwrap_or(0);
                request.extend_from_slice(&piece[..read]);
                if read == 0 {
                    break;
                }
            }
            let _ = client.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok");
            drop(client);
            if closed.send(()).is_err() {
                return;
            }
        }
    });
}

#[tokio::test]
async fn a_request_on_a_connection_that_was_closed_before_goes_out_on_the_next() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let client = client(&format!("http://{}/echo", listener.local_addr().unwrap()), "{}");
    let (closed, closed_events) = std::sync::mpsc::channel();
    serve_one_request_each(listener, closed);
    let mut answered = 0;
    for _ in 0..50 {
        match client.call("echo", "some").await {
            Ok(_) => answered += 1,
            // The request left before the client noticed that the connection was closed. Only a
            // request that has not left is sent again.
            Err(error) => assert_eq!(
                (error.kind(), error.sent()),
                (ErrorKind::Closed, Sent::Maybe),
                "{error}"
            ),
        }
        // The client runs on this thread, so it notices the closed connection only during the next
        // call.
        closed_events.recv_timeout(Duration::from_secs(20)).unwrap();
    }
    assert!(answered > 1, "no request has gone out on a second connection");
}
