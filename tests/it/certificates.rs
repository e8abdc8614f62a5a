//! Server and client certificates against the TLS keys of a row: one table of cases, for every
//! strategy that uses TLS.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use connectivity_core::{
    Error, ErrorKind, HttpTransport, McpListener, McpTransport, MemoryRoutes, QuicListener, Router,
    Sent, Server, Tls, register,
};
use rcgen::date_time_ymd;
use tests::certificates::*;
use tests::shop::*;

use super::https;

/// One combination of a server certificate and a row.
struct Case<'a> {
    label: &'static str,
    server: &'a Identity,
    /// The CA of the client certificates that the server requires; it requires none if `None`.
    client_ca: Option<&'a Ca>,
    /// The keys of the row's config.
    row: String,
    expected: Expected,
}

/// The outcome of a call.
enum Expected {
    /// The call is answered. The implementation sees this peer.
    Accepted(Option<&'static str>),
    /// The handshake fails with this cause, before anything of the call is sent.
    Refused(&'static str),
}

use Expected::{Accepted, Refused};

#[tokio::test]
async fn over_quic_a_certificate_that_satisfies_the_row_is_let_through_and_no_other() {
    check_all("quic").await;
}

#[tokio::test]
async fn over_mcp_a_certificate_that_satisfies_the_row_is_let_through_and_no_other() {
    check_all("mcp").await;
}

#[tokio::test]
async fn over_https_a_certificate_that_satisfies_the_row_is_let_through_and_no_other() {
    check_all("https").await;
}

async fn check_all(strategy: &str) {
    let (files, stranger_files) = (Files::new(), Files::new());
    let (ours, clients, other) = (ca("ours"), ca("of the clients"), ca("another"));
    let ca_file = files.write("ca.pem", &ours.pem());
    let ca_file = format!(r#""ca_file":{ca_file:?}"#);
    let bundle = files.write("bundle.pem", &format!("{}{}", other.pem(), ours.pem()));
    let bundle = format!(r#""ca_file":{bundle:?}"#);
    let server_name = format!(r#"{ca_file},"server_name":"billing.internal""#);
    let pin = |pin: &str| format!(r#""pin_sha256":"{pin}""#);
    let orders = files.client_identity(&Identity::new(Some(&clients), "orders.internal", |_| {}));
    let stranger = stranger_files.client_identity(&Identity::new(Some(&ours), "x", |_| {}));

    let good = Identity::new(Some(&ours), "127.0.0.1", |_| {});
    let named = Identity::new(Some(&ours), "billing.internal", |_| {});
    let self_signed = Identity::new(None, "127.0.0.1", |_| {});
    let elsewhere = Identity::new(None, "elsewhere.example", |_| {});
    let foreign = Identity::new(Some(&other), "127.0.0.1", |_| {});
    let renamed = Identity::new(Some(&ours), "b.example", |_| {});
    let expired = Identity::new(Some(&ours), "127.0.0.1", |params| {
        params.not_after = date_time_ymd(2020, 1, 1)
    });
    let early = Identity::new(Some(&ours), "127.0.0.1", |params| {
        params.not_before = date_time_ymd(4000, 1, 1)
    });

    let case = |label, server, row: &str, expected| Case {
        label,
        server,
        client_ca: None,
        row: row.to_owned(),
        expected,
    };
    let with_client_ca = |client_ca, case| Case { client_ca: Some(client_ca), ..case };
    let cases = [
        case("its authority", &good, &ca_file, Accepted(None)),
        case("one of two authorities", &good, &bundle, Accepted(None)),
        case(
            "authority and pin",
            &good,
            &format!("{bundle},{}", pin(&pin_of(&good))),
            Accepted(None),
        ),
        case("a name", &named, &server_name, Accepted(None)),
        case("the pin of a self-signed one", &elsewhere, &pin(&pin_of(&elsewhere)), Accepted(None)),
        case(
            "the pin of an old one",
            &expired,
            &pin(&pin_of(&expired).to_uppercase()),
            Accepted(None),
        ),
        case("nothing is verified", &elsewhere, r#""insecure_tls":true"#, Accepted(None)),
        with_client_ca(
            &clients,
            case(
                "both sides",
                &good,
                &format!("{ca_file},{orders}"),
                Accepted(Some("dns:orders.internal")),
            ),
        ),
        with_client_ca(
            &clients,
            case(
                "both sides, one of two authorities",
                &good,
                &format!("{bundle},{orders}"),
                Accepted(Some("dns:orders.internal")),
            ),
        ),
        case(
            "another authority",
            &foreign,
            &ca_file,
            Refused("unknown issuer; set `ca_file` or `pin_sha256`"),
        ),
        case(
            "another name than the endpoint's",
            &renamed,
            &ca_file,
            Refused("the certificate is for `b.example`, not for `127.0.0.1`"),
        ),
        case(
            "another name than the row's",
            &good,
            &server_name,
            Refused("the certificate is for `127.0.0.1`, not for `billing.internal`"),
        ),
        case("expired", &expired, &ca_file, Refused("the certificate expired ")),
        case("not valid yet", &early, &ca_file, Refused("the certificate is not valid yet")),
        case(
            "another pin",
            &good,
            &pin(&"ab".repeat(32)),
            Refused("wrong pin: the certificate's `pin_sha256` is "),
        ),
        case("a private authority", &good, "", Refused("unknown issuer")),
        case(
            "a private authority, verified",
            &good,
            r#""insecure_tls":false"#,
            Refused("unknown issuer"),
        ),
        case("self-signed", &self_signed, &ca_file, Refused("unknown issuer")),
        case(
            "self-signed, without keys in the row",
            &self_signed,
            "",
            Refused("unknown issuer; set `ca_file` or `pin_sha256`"),
        ),
        case(
            "self-signed, verified",
            &self_signed,
            r#""insecure_tls":false"#,
            Refused("unknown issuer"),
        ),
        with_client_ca(
            &other,
            case(
                "no client certificate",
                &good,
                &ca_file,
                Refused("the server wants a client certificate: set `client_cert_file`"),
            ),
        ),
        with_client_ca(
            &other,
            case(
                "a client certificate of another authority",
                &good,
                &format!("{ca_file},{stranger}"),
                Refused("the other side refuses our certificate"),
            ),
        ),
    ];
    for case in &cases {
        check(strategy, &files, case).await;
    }
}

async fn check(strategy: &str, files: &Files, case: &Case<'_>) {
    let label = format!("{strategy}: {}", case.label);
    let server = TestServer::start(strategy, files, case).await;
    let (router, billing) = server.client(strategy, &format!("{{{}}}", case.row));
    match case.expected {
        Accepted(peer) => {
            assert_eq!(billing.quote("abc").await, Ok(3), "{label}");
            server.assert_requests(1, &label);
            let seen = billing.seen().await.unwrap();
            // The https server ends TLS in front of the gateway, which sees no certificate.
            let peer = peer.filter(|_| strategy != "https");
            assert_eq!(seen.peer.as_deref(), peer, "{label}");
        }
        Refused(cause) => {
            let error = connectivity(billing.charge("17", 1).await.unwrap_err());
            assert!(error.message().contains(cause), "{label}: {cause}: {error}");
            assert_eq!(
                (error.kind(), error.sent()),
                (ErrorKind::Connect, Sent::No),
                "{label}: {error}"
            );
            assert!(server.shop.journal.orders.lock().unwrap().is_empty(), "{label}");
            server.assert_requests(0, &label);
            let state = format!("{:?}", router.inspect().route("billing").unwrap().transport);
            assert!(state.contains(cause.split('`').next().unwrap()), "{label}: {state}");
        }
    }
}

fn connectivity(error: BillingError) -> Error {
    match error {
        BillingError::Connectivity(error) => error,
        BillingError::Declined => panic!("declined"),
    }
}

/// A server of `billing` with the certificate of a case.
struct TestServer {
    _handle: Option<Server>,
    shop: Shop,
    endpoint: String,
    /// The requests that reached an https server.
    requests: Option<Arc<AtomicUsize>>,
}

impl TestServer {
    async fn start(strategy: &str, files: &Files, case: &Case<'_>) -> Self {
        if strategy == "https" {
            let https::TestServer { shop, endpoint, requests, .. } =
                https::TestServer::new(case.server, case.client_ca).await;
            return Self { _handle: None, shop, endpoint, requests: Some(requests) };
        }
        let cert = files.write("server.pem", &case.server.cert);
        let key = files.write("server.key", &case.server.key);
        let tls = Tls::from_pem(cert, key).unwrap();
        let tls = match case.client_ca {
            Some(ca) => tls.client_ca(files.write("clients.pem", &ca.pem())).unwrap(),
            None => tls,
        };
        let (router, shop) = (router(&MemoryRoutes::new()), Shop::at("far"));
        register!(router, Billing => shop.clone()).unwrap();
        let builder = Server::builder(&router).expose(["billing"]);
        let builder = match strategy {
            "quic" => builder.listener("quic", QuicListener::new("127.0.0.1:0", tls)),
            _ => builder.listener("mcp", McpListener::new("127.0.0.1:0", tls)),
        };
        let handle = builder.start().await.unwrap();
        let endpoint = handle.address(strategy).unwrap().to_owned();
        Self { _handle: Some(handle), shop, endpoint, requests: None }
    }

    /// Returns a router with one row to this server, and a client of it.
    fn client(&self, strategy: &str, config: &str) -> (Router, BillingClient) {
        let routes = MemoryRoutes::new();
        let strategy = if strategy == "https" { "http" } else { strategy };
        routes.set("billing", strategy, Some(&self.endpoint), config);
        let router = Router::builder()
            .source(routes)
            .transport("http", HttpTransport::new().allow_internal())
            .transport("mcp", McpTransport::new().allow_internal())
            .build()
            .unwrap();
        let billing = BillingClient::new(&router);
        (router, billing)
    }

    fn assert_requests(&self, expected: usize, label: &str) {
        if let Some(requests) = &self.requests {
            assert_eq!(requests.load(Ordering::SeqCst), expected, "{label}");
        }
    }
}
