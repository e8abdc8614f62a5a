//! A QUIC listener on an address that others reach, and under a flood of junk datagrams.
//! `certificates.rs` has the table of good and bad certificates.

use std::time::Duration;

use connectivity_core::{MemoryRoutes, QuicListener, Server, Tls, register};
use tests::shop::*;
use tokio::net::UdpSocket;

#[tokio::test]
async fn an_address_that_others_reach_needs_a_rule() {
    let router = router(&MemoryRoutes::new());
    let tls = || Tls::self_signed(["localhost"]).unwrap();
    let start = |listener| Server::builder(&router).expose_all().listener("quic", listener).start();
    let error = start(QuicListener::new("0.0.0.0:0", tls())).await.unwrap_err().to_string();
    assert!(error.contains("open_to_everyone"), "{error}");
    assert!(start(QuicListener::new("0.0.0.0:0", tls()).open_to_everyone()).await.is_ok());
}

#[tokio::test]
async fn junk_is_dropped_and_calls_go_on() {
    let tls = Tls::self_signed(["localhost"]).unwrap();
    let config = format!(r#"{{"pin_sha256":"{}"}}"#, tls.pin_sha256());
    let server_router = router(&MemoryRoutes::new());
    register!(server_router, Billing => Shop::at("far")).unwrap();
    let builder = Server::builder(&server_router).expose(["billing"]);
    let server = builder.quic("127.0.0.1:0", tls).start().await.unwrap();
    let endpoint = server.address("quic").unwrap();
    let routes = MemoryRoutes::new();
    routes.set("billing", "quic", Some(endpoint), &config);
    let client_router = router(&routes);
    let billing = BillingClient::new(&client_router);
    assert!(billing.quote("abc").await.is_ok());
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    for n in 0..20_000u32 {
        let junk: Vec<u8> = (0..n % 1400).map(|byte| (byte.wrapping_mul(n) >> 3) as u8).collect();
        let _ = socket.send_to(&junk, endpoint).await;
    }
    assert_eq!(billing.quote("abc").await, Ok(3));
    let mut reply = [0; 2048];
    let received =
        tokio::time::timeout(Duration::from_millis(1), socket.recv_from(&mut reply)).await;
    if let Ok(Ok((length, _))) = received {
        assert!(length <= 1400, "an answer is no larger than what it answers");
    }
}
