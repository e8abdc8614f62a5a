//! Strategy `http` against real https servers: the TLS keys of a row. `certificates.rs` has the
//! table of good and bad certificates.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use connectivity_core::{
    Error, ErrorKind, Exposure, Gateway, HttpTransport, MemoryRoutes, RouteState, Router, register,
};
use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tower::util::MapRequestLayer;

use tests::certificates::*;
use tests::shop::*;

/// An HTTPS server in front of a gateway. Counts the requests that reach it.
pub(super) struct TestServer {
    pub(super) shop: Shop,
    pub(super) endpoint: String,
    pub(super) requests: Arc<AtomicUsize>,
    hosts: Arc<Mutex<Vec<String>>>,
}

impl TestServer {
    pub(super) async fn new(identity: &Identity, client_ca: Option<&Ca>) -> Self {
        let (requests, hosts) =
            (Arc::<AtomicUsize>::default(), Arc::<Mutex<Vec<String>>>::default());
        let (router, shop) = (router(&MemoryRoutes::new()), Shop::at("far"));
        register!(router, Billing => shop.clone()).unwrap();
        let (count, seen) = (Arc::clone(&requests), Arc::clone(&hosts));
        let counted = MapRequestLayer::new(move |request: axum::extract::Request| {
            count.fetch_add(1, Ordering::SeqCst);
            seen.lock().unwrap().push(request.headers()["host"].to_str().unwrap().to_owned());
            request
        });
        let app = Gateway::new(router.inbound(Exposure::all())).into_router().layer(counted);
        let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = format!("https://{}/billing", socket.local_addr().unwrap());
        let acceptor = TlsAcceptor::from(Arc::new(server_config(identity, client_ca)));
        tokio::spawn(async move {
            while let Ok((stream, _)) = socket.accept().await {
                tokio::spawn(serve(acceptor.clone(), stream, app.clone()));
            }
        });
        Self { shop, endpoint, requests, hosts }
    }

    fn requests(&self) -> usize {
        self.requests.load(Ordering::SeqCst)
    }

    /// Calls the server once, through a row with this config.
    async fn quote(&self, config: &str) -> Result<u64, Error> {
        let routes = MemoryRoutes::new();
        client(&routes, &self.endpoint, config).quote().await
    }
}

fn server_config(identity: &Identity, client_ca: Option<&Ca>) -> ServerConfig {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions();
    let builder = match client_ca {
        None => builder.unwrap().with_no_client_auth(),
        Some(client_ca) => {
            let mut roots = RootCertStore::empty();
            roots.add(client_ca.der().clone()).unwrap();
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider)
                .build()
                .unwrap();
            builder.unwrap().with_client_cert_verifier(verifier)
        }
    };
    let chain = vec![CertificateDer::from_pem_slice(identity.cert.as_bytes()).unwrap()];
    builder
        .with_single_cert(chain, PrivateKeyDer::from_pem_slice(identity.key.as_bytes()).unwrap())
        .unwrap()
}

async fn serve(acceptor: TlsAcceptor, stream: TcpStream, app: axum::Router) {
    match acceptor.accept(stream).into_fallible().await {
        Ok(stream) => {
            let service = TowerToHyperService::new(app);
            let _ = hyper::server::conn::http1::Builder::new()
                .serve_connection(TokioIo::new(stream), service)
                .await;
        }
        Err((_, mut stream)) => {
            // Closing a socket with unread bytes sends a reset, which would overtake the alert.
            stream.shutdown().await.unwrap();
            let mut rest = Vec::new();
            let _ =
                tokio::time::timeout(Duration::from_secs(20), stream.read_to_end(&mut rest)).await;
        }
    }
}

/// A router with one row, and its client.
struct TestClient {
    router: Router,
    billing: BillingClient,
}

fn client(routes: &MemoryRoutes, endpoint: &str, config: &str) -> TestClient {
    routes.set("billing", "http", Some(endpoint), config);
    let http = HttpTransport::new().allow_internal();
    let router = Router::builder().source(routes.clone()).transport("http", http).build().unwrap();
    TestClient { billing: BillingClient::new(&router), router }
}

impl TestClient {
    async fn quote(&self) -> Result<u64, Error> {
        match self.billing.quote("abc").await {
            Ok(price) => Ok(price),
            Err(BillingError::Connectivity(error)) => Err(error),
            Err(BillingError::Declined) => panic!("declined"),
        }
    }

    fn warnings(&self) -> Vec<String> {
        self.router.inspect().route("billing").unwrap().warnings.clone()
    }
}

#[tokio::test]
async fn what_says_insecure_in_another_way_verifies_all_the_same() {
    let server = TestServer::new(&Identity::new(None, "127.0.0.1", |_| {}), None).await;
    for config in
        ["\"true\"", "1", "null", "[true]"].map(|value| format!(r#"{{"insecure_tls":{value}}}"#))
    {
        assert_eq!(
            server.quote(&config).await.unwrap_err().kind(),
            ErrorKind::RouteInvalid,
            "{config}"
        );
    }
    for config in [r#"{"insecure_tl":true}"#, r#"{"Insecure_tls":true}"#, r#"{"insecure":true}"#] {
        assert_eq!(server.quote(config).await.unwrap_err().kind(), ErrorKind::Connect, "{config}");
    }
    assert_eq!(server.requests(), 0);
}

#[tokio::test]
async fn inspect_tells_that_nothing_is_verified_and_why_a_handshake_failed() {
    let server = TestServer::new(&Identity::new(None, "127.0.0.1", |_| {}), None).await;
    let routes = MemoryRoutes::new();
    let client = client(&routes, &server.endpoint, r#"{"insecure_tls":true}"#);
    assert_eq!(client.quote().await, Ok(3));
    assert!(client.warnings()[0].contains("certificate checks are off"), "{:?}", client.warnings());

    routes.set("billing", "http", Some(&server.endpoint), "{}");
    client.router.reload().await.unwrap();
    assert_eq!(client.warnings(), [""; 0]);
    client.quote().await.unwrap_err();
    let state = format!("{:?}", client.router.inspect().route("billing").unwrap().transport);
    assert!(state.contains("unknown issuer"), "{state}");
}

#[tokio::test]
async fn a_server_is_asked_for_by_the_name_in_the_row() {
    let (files, ours) = (Files::new(), ca("ours"));
    let ca_file = files.write("ca.pem", &ours.pem());
    let server =
        TestServer::new(&Identity::new(Some(&ours), "billing.internal", |_| {}), None).await;
    let config = format!(r#"{{"ca_file":{ca_file:?},"server_name":"billing.internal"}}"#);
    assert_eq!(server.quote(&config).await, Ok(3));
    assert!(server.hosts.lock().unwrap()[0].starts_with("billing.internal:"), "{:?}", server.hosts);
    let config = format!(r#"{{"ca_file":{ca_file:?},"server_name":"10.0.0.5"}}"#);
    let error = server.quote(&config).await.unwrap_err();
    assert!(error.message().starts_with("config.server_name: "), "{error}");
}

#[tokio::test]
async fn a_row_whose_files_changed_is_built_anew_by_a_reload() {
    let (files, ours) = (Files::new(), ca("ours"));
    let server = TestServer::new(&Identity::new(Some(&ours), "127.0.0.1", |_| {}), None).await;
    let ca_file = files.write("ca.pem", &ca("another").pem());
    let routes = MemoryRoutes::new();
    let client = client(&routes, &server.endpoint, &format!(r#"{{"ca_file":{ca_file:?}}}"#));
    assert_eq!(client.quote().await.unwrap_err().kind(), ErrorKind::Connect);

    files.write("ca.pem", &ours.pem());
    client.router.reload().await.unwrap();
    assert_eq!(client.quote().await, Ok(3));

    files.write("ca.pem", "nonsense");
    client.router.reload().await.unwrap();
    assert_eq!(client.quote().await, Ok(3), "the last good one stays");
    let state = client.router.inspect().route("billing").unwrap().state.clone();
    let RouteState::Bad { why, meanwhile, .. } = state else { panic!("{state:?}") };
    assert!(why.starts_with("config.ca_file: ") && why.contains("it is no PEM"), "{why}");
    assert_eq!(meanwhile.as_deref(), Some("http"));

    files.write("ca.pem", &ours.pem());
    client.router.reload().await.unwrap();
    assert_eq!(client.router.inspect().route("billing").unwrap().state, RouteState::InForce);
}
