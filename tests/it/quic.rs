//! Strategy `quic` between good and bad certificates, and what its port does with junk.

use std::time::Duration;

use connectivity_core::{
    Error, ErrorKind, MemoryRoutes, QuicListener, Router, Sent, Server, Tls, register,
};
use rcgen::date_time_ymd;
use tests::certificates::*;
use tests::shop::*;
use tokio::net::UdpSocket;

struct Far {
    _server: Server,
    shop: Shop,
    endpoint: String,
}

/// Serves `billing` with this identity, to everybody or to the clients of an authority.
async fn far(files: &Files, identity: &Identity, clients: Option<&Ca>) -> Far {
    let (cert, key) =
        (files.write("server.pem", &identity.cert), files.write("server.key", &identity.key));
    let tls = Tls::from_pem(cert, key).unwrap();
    let tls = match clients {
        Some(clients) => tls.client_ca(files.write("clients.pem", &clients.pem())).unwrap(),
        None => tls,
    };
    let (router, shop) = (router(&MemoryRoutes::new()), Shop::at("far"));
    register!(router, Billing => shop.clone()).unwrap();
    let server = Server::builder(&router)
        .expose(["billing"])
        .quic("127.0.0.1:0", tls)
        .start()
        .await
        .unwrap();
    let endpoint = server.address("quic").unwrap().to_owned();
    Far { _server: server, shop, endpoint }
}

fn near(endpoint: &str, config: &str) -> (Router, BillingClient) {
    let routes = MemoryRoutes::new();
    routes.set("billing", "quic", Some(endpoint), config);
    let router = router(&routes);
    let billing = BillingClient::new(&router);
    (router, billing)
}

fn connectivity(error: BillingError) -> Error {
    match error {
        BillingError::Connectivity(error) => error,
        BillingError::Declined => panic!("declined"),
    }
}

#[tokio::test]
async fn a_certificate_that_satisfies_the_row_is_let_through() {
    let (files, ours, clients) = (Files::new(), ca("ours"), ca("of the clients"));
    let ca_file = files.write("ca.pem", &ours.pem());
    let good = Identity::new(Some(&ours), "127.0.0.1", |_| {});
    let named = Identity::new(Some(&ours), "billing.internal", |_| {});
    let own = Identity::new(None, "elsewhere.example", |_| {});
    let shows = files.shows(&Identity::new(Some(&clients), "orders.internal", |_| {}));
    for (label, identity, clients, config, peer) in [
        ("its authority", &good, None, format!(r#"{{"ca_file":{ca_file:?}}}"#), None),
        (
            "a name",
            &named,
            None,
            format!(r#"{{"ca_file":{ca_file:?},"server_name":"billing.internal"}}"#),
            None,
        ),
        (
            "the pin of a self-signed one",
            &own,
            None,
            format!(r#"{{"pin_sha256":"{}"}}"#, pin_of(&own)),
            None,
        ),
        ("nothing is verified", &own, None, r#"{"insecure_tls":true}"#.to_owned(), None),
        (
            "both sides",
            &good,
            Some(&clients),
            format!(r#"{{"ca_file":{ca_file:?},{shows}}}"#),
            Some("dns:orders.internal"),
        ),
    ] {
        let far = far(&files, identity, clients).await;
        let (_router, billing) = near(&far.endpoint, &config);
        assert_eq!(billing.seen().await.unwrap().peer.as_deref(), peer, "{label}");
    }
}

#[tokio::test]
async fn a_certificate_that_does_not_is_refused_with_its_cause_before_a_call() {
    let (files, ours, other) = (Files::new(), ca("ours"), ca("another"));
    let ca_file = files.write("ca.pem", &ours.pem());
    let trusting = format!(r#"{{"ca_file":{ca_file:?}}}"#);
    let pinned = format!(r#"{{"pin_sha256":"{}"}}"#, "ab".repeat(32));
    let stranger = format!(
        r#"{{"ca_file":{ca_file:?},{}}}"#,
        files.shows(&Identity::new(Some(&ours), "x", |_| {}))
    );

    let good = Identity::new(Some(&ours), "127.0.0.1", |_| {});
    let foreign = Identity::new(Some(&other), "127.0.0.1", |_| {});
    let renamed = Identity::new(Some(&ours), "b.example", |_| {});
    let expired = Identity::new(Some(&ours), "127.0.0.1", |params| {
        params.not_after = date_time_ymd(2020, 1, 1)
    });
    let early = Identity::new(Some(&ours), "127.0.0.1", |params| {
        params.not_before = date_time_ymd(4000, 1, 1)
    });
    for (identity, clients, config, cause) in [
        (&foreign, None, &*trusting, "unknown issuer; set `ca_file` or `pin_sha256`"),
        (&renamed, None, &*trusting, "the certificate is for `b.example`, not for `127.0.0.1`"),
        (&expired, None, &*trusting, "the certificate expired "),
        (&early, None, &*trusting, "the certificate is not valid yet"),
        (&good, None, &*pinned, "wrong pin: the certificate's `pin_sha256` is "),
        (&good, None, "{}", "unknown issuer"),
        (
            &good,
            Some(&other),
            &*trusting,
            "the server wants a client certificate: set `client_cert_file`",
        ),
        (&good, Some(&other), &*stranger, "the other side refuses our certificate"),
    ] {
        let far = far(&files, identity, clients).await;
        let (router, billing) = near(&far.endpoint, config);
        let error = connectivity(billing.charge("17", 1).await.unwrap_err());
        assert!(error.message().contains(cause), "{cause}: {error}");
        assert_eq!((error.kind(), error.sent()), (ErrorKind::Connect, Sent::No), "{error}");
        assert!(far.shop.journal.orders.lock().unwrap().is_empty(), "{cause}");
        let shown = format!("{:?}", router.inspect().route("billing").unwrap().transport);
        assert!(shown.contains(cause.split('`').next().unwrap()), "{shown}");
    }
}

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
    let (files, own) = (Files::new(), Identity::new(None, "localhost", |_| {}));
    let far = far(&files, &own, None).await;
    let (_router, billing) =
        near(&far.endpoint, &format!(r#"{{"pin_sha256":"{}"}}"#, pin_of(&own)));
    assert!(billing.quote("abc").await.is_ok());
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    for n in 0..20_000u32 {
        let junk: Vec<u8> = (0..n % 1400).map(|byte| (byte.wrapping_mul(n) >> 3) as u8).collect();
        let _ = socket.send_to(&junk, &far.endpoint).await;
    }
    assert_eq!(billing.quote("abc").await, Ok(3));
    let mut answer = [0; 2048];
    let answered =
        tokio::time::timeout(Duration::from_millis(1), socket.recv_from(&mut answer)).await;
    if let Ok(Ok((length, _))) = answered {
        assert!(length <= 1400, "an answer is no larger than what it answers");
    }
}
