//! Malformed frames on a real socket: they end their own call or connection, and no other.

pub(super) mod bytes;

use std::time::Duration;

use connectivity_core::{MemoryRoutes, Server, register};
use tests::shop::*;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;

use bytes::{PREAMBLE, frame, request};

/// Encodes a request of `billing.sleep` with a JSON body.
fn sleep(call: u64, number: u32, declare: bool, body: &[u8]) -> Vec<u8> {
    let mut request = request(call, number, declare.then_some("billing.sleep"), body);
    request[20] = 2;
    request
}

struct World {
    server: Server,
    shop: Shop,
    path: String,
    _dir: tempfile::TempDir,
}

impl World {
    async fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("far.sock").display().to_string();
        let router = router(&MemoryRoutes::new());
        let shop = Shop::at("far");
        register!(router, Billing => shop.clone()).unwrap();
        router.register_raw("echo", async |bytes| Ok(bytes)).unwrap();
        let server =
            Server::builder(&router).expose(["echo", "billing"]).unix(&path).start().await.unwrap();
        Self { server, shop, path, _dir: dir }
    }

    /// Sends bytes on a new connection and reads until the server closes it or the reply ends with
    /// `last`.
    async fn send(&self, bytes: &[u8], last: &[u8]) -> Vec<u8> {
        let mut stream = UnixStream::connect(&self.path).await.unwrap();
        let _ = stream.write_all(bytes).await;
        let mut reply = Vec::new();
        while !reply.ends_with(last) {
            let read =
                tokio::time::timeout(Duration::from_secs(20), stream.read_buf(&mut reply)).await;
            match read.expect("the server answers or hangs up") {
                Ok(read) if read > 0 => {}
                _ => break,
            }
        }
        reply
    }
}

#[tokio::test]
async fn a_call_by_hand_is_answered() {
    let world = World::new().await;
    let bytes =
        [&PREAMBLE[..], &request(7, 0, Some("echo"), b"hi"), &request(8, 0, None, b"ho")].concat();
    let reply = world.send(&bytes, b"\0ho").await;
    assert_eq!(reply, [frame(2, 7, b"\0hi"), frame(2, 8, b"\0ho")].concat());
}

#[tokio::test]
async fn what_is_no_protocol_ends_its_connection_and_no_other() {
    let world = World::new().await;
    let mut neighbour = UnixStream::connect(&world.path).await.unwrap();
    neighbour.write_all(&PREAMBLE).await.unwrap();
    let endless = [&PREAMBLE[..], &u32::MAX.to_le_bytes(), &[1; 12]].concat();
    let undeclared = [&PREAMBLE[..], &request(1, 5, None, b"x")].concat();
    let truncated = [&PREAMBLE[..], &frame(1, 1, &[0; 3])].concat();
    let codec = [&PREAMBLE[..], &frame(1, 1, &[0, 0, 0, 0, 9, 0, 0, 0, 0, 0, 0])].concat();
    let forever = r#"{"ms":3600000}"#.as_bytes();
    let twice = [&PREAMBLE[..], &sleep(1, 0, true, forever), &sleep(1, 0, false, forever)].concat();
    let mut single = PREAMBLE;
    single[4] = 1;
    let second = [&single[..], &sleep(1, 0, true, forever), &sleep(2, 0, false, forever)].concat();
    for hostile in [twice, second] {
        assert!(world.send(&hostile, b"never").await.is_empty(), "{hostile:?}");
    }
    for hostile in [b"GET / HTTP/1.1\r\n\r\n".to_vec(), endless, undeclared, truncated, codec] {
        assert!(world.send(&hostile, b"never").await.is_empty(), "{hostile:?}");
    }
    neighbour.write_all(&request(1, 0, Some("echo"), b"hi")).await.unwrap();
    let mut reply = [0; 19];
    neighbour.read_exact(&mut reply).await.unwrap();
    assert_eq!(reply[..], frame(2, 1, b"\0hi"));
}

#[tokio::test]
async fn what_cannot_be_served_is_an_error_of_its_call_and_the_connection_goes_on() {
    let world = World::new().await;
    let last = request(99, 50, Some("echo"), b"hi");
    for (hostile, kind) in [
        (request(1, 0, Some("nobody"), b""), "not_routable"),
        (request(1, 0, Some("no/name"), b""), "not_routable"),
        (request(1, 0, Some("billing.nope"), b""), "unimplemented"),
        (request(1, 0, Some("billing.quote"), b"raw bytes"), "decode"),
        (frame(9, 1, b"an item"), "unimplemented"),
        (frame(11, 1, b"credit"), "unimplemented"),
    ] {
        let reply = world.send(&[&PREAMBLE[..], &hostile, &last].concat(), b"\0hi").await;
        let text = String::from_utf8_lossy(&reply);
        assert!(text.contains(kind) && text.ends_with("\0hi"), "{kind}: {text}");
    }
    for skipped in [frame(200, 1, b"of a later version"), frame(4, 77, b""), frame(7, 1, b"")] {
        let reply = world.send(&[&PREAMBLE[..], &skipped, &last].concat(), b"\0hi").await;
        assert_eq!(reply, frame(2, 99, b"\0hi"));
    }
}

#[tokio::test]
async fn a_client_that_reads_nothing_holds_up_neither_the_stop_nor_the_work() {
    let world = World::new().await;
    let mut greedy = UnixStream::connect(&world.path).await.unwrap();
    greedy
        .write_all(&[&PREAMBLE[..], &sleep(1, 0, true, br#"{"ms":3600000}"#)].concat())
        .await
        .unwrap();
    let mut first = true;
    let body = vec![7; 60_000];
    // Send until the server stops reading, because its replies are unread.
    let flooding = async {
        for call in 2..100_000 {
            greedy.write_all(&request(call, 1, first.then_some("echo"), &body)).await.unwrap();
            first = false;
        }
    };
    assert!(
        tokio::time::timeout(Duration::from_secs(3), flooding).await.is_err(),
        "unread answers are bounded"
    );
    assert_eq!(world.shop.journal.began(), 1);
    let start = std::time::Instant::now();
    world.server.shutdown(Duration::from_millis(500)).await;
    assert!(start.elapsed() < Duration::from_secs(20));
    assert!(!std::path::Path::new(&world.path).exists(), "the listener has ended");
}

#[tokio::test]
async fn a_raw_service_is_called_by_its_own_name_only() {
    let world = World::new().await;
    let reply = world
        .send(&[&PREAMBLE[..], &request(1, 0, Some("echo.anything"), b"x")].concat(), b"here")
        .await;
    assert!(String::from_utf8_lossy(&reply).contains("not_routable"));
}
