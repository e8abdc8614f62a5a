//! Limits on one client address of an HTTP listener: connections, requests, memory. Other addresses
//! are not affected.

use std::net::SocketAddr;
use std::time::Duration;

use connectivity_core::{HttpListener, MemoryRoutes, Router, Server};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};

/// Timeout for anything that is expected to succeed. The server closes silent connections only
/// after 15 s.
const TIMEOUT: Duration = Duration::from_secs(5);

/// Starts a server with `echo` and this connection limit.
async fn start_server(max_connections: usize) -> (Server, SocketAddr) {
    let router = Router::builder().source(MemoryRoutes::new()).build().unwrap();
    router.register_raw("echo", async |bytes| Ok(bytes)).unwrap();
    let http = HttpListener::new("127.0.0.1:0").max_connections(max_connections);
    let server =
        Server::builder(&router).expose(["echo"]).listener("http", http).start().await.unwrap();
    let address = server.address("http").unwrap().parse().unwrap();
    (server, address)
}

/// Connects from a local address.
async fn connect(from: &str, to: SocketAddr) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(format!("{from}:0").parse().unwrap()).unwrap();
    socket.connect(to).await.unwrap()
}

fn head(length: usize) -> String {
    format!("POST /echo HTTP/1.1\r\nhost: x\r\ncontent-length: {length}\r\n\r\n")
}

/// Sends a complete request. Returns the status code of the response.
async fn request_status(stream: &mut TcpStream) -> Option<String> {
    stream.write_all(format!("{}x", head(1)).as_bytes()).await.ok()?;
    let mut response = vec![0; 4096];
    let read = tokio::time::timeout(TIMEOUT, stream.read(&mut response))
        .await
        .expect("it is answered")
        .ok()?;
    let text = String::from_utf8_lossy(&response[..read]).into_owned();
    Some(text.get(9..12)?.to_owned())
}

async fn is_closed(stream: &mut TcpStream) -> bool {
    let read = tokio::time::timeout(TIMEOUT, stream.read(&mut [0; 1])).await;
    matches!(read, Ok(Ok(0) | Err(_)))
}

#[tokio::test]
async fn connections_without_a_request_make_room_for_newer_ones_the_oldest_first() {
    let (_server, address) = start_server(16).await;
    let (mut silent, mut idle) = (Vec::new(), Vec::new());
    for n in 0..40 {
        let mut stream = connect("127.0.0.1", address).await;
        if n % 2 == 0 {
            silent.push(stream);
        } else {
            assert_eq!(request_status(&mut stream).await.as_deref(), Some("200"), "{n}");
            idle.push(stream);
        }
    }
    assert!(is_closed(&mut silent[0]).await && is_closed(&mut idle[0]).await);
    let last = idle.last_mut().unwrap();
    assert_eq!(request_status(last).await.as_deref(), Some("200"), "the newest goes on");
}

#[tokio::test]
async fn requests_of_one_address_leave_room_for_others() {
    let (_server, address) = start_server(16).await;
    let mut unfinished = Vec::new();
    for _ in 0..14 {
        let mut stream = connect("127.0.0.1", address).await;
        let head = head(10).replace("host: x", "host: x\r\nexpect: 100-continue");
        stream.write_all(head.as_bytes()).await.unwrap();
        let mut response = [0; 25];
        tokio::time::timeout(TIMEOUT, stream.read_exact(&mut response))
            .await
            .expect("its body is awaited")
            .unwrap();
        assert_eq!(&response, b"HTTP/1.1 100 Continue\r\n\r\n");
        unfinished.push(stream);
    }
    let mut refused = connect("127.0.0.1", address).await;
    assert_eq!(
        request_status(&mut refused).await.as_deref(),
        Some("429"),
        "its address has its share"
    );
    for _ in 0..10 {
        let mut other = connect("127.0.0.2", address).await;
        assert_eq!(request_status(&mut other).await.as_deref(), Some("200"));
    }
    // A request that ends frees its share.
    let mut first = unfinished.swap_remove(0);
    first.write_all(b"0123456789").await.unwrap();
    assert!(!is_closed(&mut first).await, "it has an answer");
    let mut next = connect("127.0.0.1", address).await;
    assert_eq!(request_status(&mut next).await.as_deref(), Some("200"));
}

#[tokio::test]
async fn a_request_names_one_host() {
    let (_server, address) = start_server(16).await;
    for (hosts, status) in [
        ("host: x\r\n", "200"),
        ("host: [::1]:80\r\n", "200"),
        ("", "400"),
        ("host: x\r\nhost: x\r\n", "400"),
        ("host: x y\r\n", "400"),
        ("host: \r\n", "400"),
    ] {
        let mut stream = connect("127.0.0.1", address).await;
        let request = head(1).replace("host: x\r\n", hosts) + "x";
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut response = [0; 12];
        tokio::time::timeout(TIMEOUT, stream.read_exact(&mut response))
            .await
            .expect("it is answered")
            .unwrap();
        assert_eq!(&response[9..], status.as_bytes(), "{hosts:?}");
    }
}

#[tokio::test]
async fn large_bodies_that_stop_hold_up_no_other() {
    let (_server, address) = start_server(1024).await;
    let mut stopped = Vec::new();
    // Twice the memory that one address may use for large requests.
    for _ in 0..16 {
        let mut stream = connect("127.0.0.1", address).await;
        stream.write_all(head(16 << 20).as_bytes()).await.unwrap();
        stream.write_all(&[7; 70_000]).await.unwrap();
        stopped.push(stream);
    }
    let mut honest = connect("127.0.0.1", address).await;
    let large = [head(300_000).as_bytes(), &[7; 300_000]].concat();
    honest.write_all(&large).await.unwrap();
    let mut response = vec![0; 300_000];
    let read = tokio::time::timeout(3 * TIMEOUT, honest.read_exact(&mut response)).await;
    read.expect("it is served").unwrap();
    assert!(response.starts_with(b"HTTP/1.1 200"));
}
