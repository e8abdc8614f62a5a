//! Secrets that rows refer to: read when a route is built, read again when their file changes, and
//! never shown.

use std::path::PathBuf;
use std::time::Duration;

use connectivity_core::{
    ErrorKind, HttpListener, HttpTransport, Inspection, MemoryRoutes, RouteState, Router, Server,
    register,
};

use tests::shop::*;

/// A gateway that requires a token, and a router whose row reads the token from a file.
struct World {
    _server: Server,
    secret: PathBuf,
    router: Router,
    billing: BillingClient,
    _dir: tempfile::TempDir,
}

impl World {
    async fn new(token: &str, secret: Option<&str>) -> Self {
        let server_router = router(&MemoryRoutes::new());
        register!(server_router, Billing => Shop::at("far")).unwrap();
        let listener = HttpListener::new("127.0.0.1:0").bearer("orders", token);
        let server = Server::builder(&server_router)
            .expose(["billing"])
            .listener("http", listener)
            .start()
            .await
            .unwrap();
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("token");
        if let Some(secret) = secret {
            std::fs::write(&path, secret).unwrap();
        }
        let routes = MemoryRoutes::new();
        let endpoint = format!("http://{}/billing", server.address("http").unwrap());
        let config = format!(r#"{{"headers":{{"authorization":"file:{}"}}}}"#, path.display());
        routes.set("billing", "http", Some(&endpoint), &config);
        let http = HttpTransport::new().allow_internal();
        let router = Router::builder().source(routes).transport("http", http).build().unwrap();
        let billing = BillingClient::new(&router);
        Self { _server: server, secret: path, router, billing, _dir: dir }
    }

    /// Waits until calls succeed, without a reload.
    async fn wait_until_answered(&self) {
        let waiting = async {
            while self.billing.quote("abc").await != Ok(3) {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(20), waiting).await.expect("within 20 s");
    }
}

#[tokio::test]
async fn a_secret_that_is_renewed_in_its_file_is_used_without_a_reload() {
    let world = World::new("new-token", Some("Bearer old-token\n")).await;
    let error = connectivity(world.billing.quote("abc").await.unwrap_err());
    assert_eq!(error.kind(), ErrorKind::Unauthenticated);
    std::fs::write(&world.secret, "Bearer new-token\n").unwrap();
    world.wait_until_answered().await;

    std::fs::remove_file(&world.secret).unwrap();
    world.router.reload().await.unwrap();
    assert_eq!(world.billing.quote("abc").await, Ok(3), "the last good route stays");
    let why = bad_row_reason(&world.router.inspect());
    assert!(why.contains("authorization") && why.contains("cannot be read"), "{why}");
    assert!(!format!("{:?}", world.router.inspect()).contains("new-token"));
}

#[tokio::test]
async fn a_row_whose_secret_is_not_there_is_bad_until_the_file_comes() {
    let world = World::new("token", None).await;
    let error = connectivity(world.billing.quote("abc").await.unwrap_err());
    assert_eq!(error.kind(), ErrorKind::RouteInvalid);
    assert!(bad_row_reason(&world.router.inspect()).contains("cannot be read"));
    std::fs::write(&world.secret, "Bearer token").unwrap();
    world.wait_until_answered().await;
    assert_eq!(world.router.inspect().route("billing").unwrap().state, RouteState::InForce);
}

fn bad_row_reason(inspection: &Inspection) -> String {
    match &inspection.route("billing").unwrap().state {
        RouteState::Bad { why, .. } => why.clone(),
        state => panic!("{state:?}"),
    }
}

fn connectivity(error: BillingError) -> connectivity_core::Error {
    match error {
        BillingError::Connectivity(error) => error,
        BillingError::Declined => panic!("declined"),
    }
}
