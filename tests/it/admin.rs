//! Changes rows through `Admin` and checks that routers follow.

use std::time::Duration;

use connectivity_core::{
    Admin, AdminError, BuildContext, CallService, MemoryRoutes, Remote, Reply, Route, RouteError,
    RouteSpec, Router, Transport, register,
};
use tests::shop::*;

/// Two routers on one routes file, and an `Admin` of that file.
struct World {
    _dir: tempfile::TempDir,
    router: Router,
    other: Router,
    billing: BillingClient,
    admin: Admin,
}

impl World {
    async fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("routes.db");
        let router = Router::open_or_create(&path).await.unwrap();
        register!(router, Billing => Shop::at("here")).unwrap();
        let other = Router::open(&path).await.unwrap();
        let (billing, admin) = (BillingClient::new(&router), Admin::open(&path).await.unwrap());
        Self { _dir: dir, router, other, billing, admin }
    }
}

/// Waits until the watcher of a router has put a generation in force.
async fn wait_for_generation(router: &Router, generation: u64) {
    let waiting = async {
        while router.generation() < generation {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), waiting).await.unwrap();
}

#[tokio::test]
async fn a_change_by_a_routers_admin_is_in_force_when_it_returns() {
    let world = World::new().await;
    let World { router, other, billing, .. } = &world;
    let admin = router.admin().unwrap();
    for _ in 0..20 {
        admin.set_strategy("billing", "noop").await.unwrap();
        assert_eq!(billing.quote("abc").await, Ok(7));
        let change = admin.set_strategy("billing", "local").await.unwrap().unwrap();
        assert_eq!((billing.quote("abc").await, router.generation()), (Ok(3), change.generation));
    }
    let change = admin.set_strategy("billing", "noop").await.unwrap().unwrap();
    wait_for_generation(other, change.generation).await;
    assert_eq!(other.inspect().route("billing").unwrap().strategy.as_deref(), Some("noop"));
    assert!(admin.dry_run().set_strategy("billing", "local").await.unwrap().is_some());
    assert_eq!((billing.quote("abc").await, router.generation()), (Ok(7), change.generation));
}

#[tokio::test]
async fn a_row_that_its_strategy_would_refuse_is_not_written() {
    let world = World::new().await;
    let router_admin = world.router.admin().unwrap();
    let tls = r#"{"ca_file":"/nowhere/ca.pem"}"#;
    let http = [" ", "example.com", "ftp://example.com/", "http://169.254.169.254/"]
        .map(|endpoint| ("http", endpoint, "{}"));
    let ports =
        ["host", "host:0", ":4433", "ho st:4433", "255.255.255.255:4433", "[::1:4433", "::1:4433"];
    let ports =
        ports.into_iter().flat_map(|endpoint| [("quic", endpoint, "{}"), ("mcp", endpoint, "{}")]);
    let others =
        [("unix", "", "{}"), ("quic", "host:4433", tls), ("http", "https://example.com/", tls)];
    for (strategy, endpoint, config) in http.into_iter().chain(ports).chain(others) {
        for admin in [&router_admin, &world.admin] {
            let spec = RouteSpec::new("billing", strategy).endpoint(endpoint).config(config);
            let refused = admin.upsert(spec).await;
            assert!(
                matches!(refused, Err(AdminError::Invalid(_))),
                "{strategy} {endpoint:?} {config}: {refused:?}"
            );
        }
    }
    let billing = world.admin.get("billing").await.unwrap().unwrap();
    assert_eq!(serde_json::to_value(&billing).unwrap()["strategy"], "local");
    // `SET_ELSEWHERE_ONLY` may be set in another process; this process cannot know.
    let secret = r#"{"headers":{"authorization":"env:SET_ELSEWHERE_ONLY"}}"#;
    let spec = RouteSpec::new("billing", "http").endpoint("https://example.com/").config(secret);
    world.admin.upsert(spec).await.unwrap();
}

/// Fault 11 of the original: a router did not see changes made in its own process.
#[tokio::test]
async fn a_change_made_in_this_process_is_seen_by_every_router_of_it() {
    let world = World::new().await;
    let World { router, other, billing, admin, .. } = &world;
    for _ in 0..10 {
        for (strategy, price) in [("noop", 7), ("local", 3)] {
            let change = admin.set_strategy("billing", strategy).await.unwrap().unwrap();
            wait_for_generation(router, change.generation).await;
            assert_eq!(billing.quote("abc").await, Ok(price));
            wait_for_generation(other, change.generation).await;
        }
    }
}

#[tokio::test]
async fn a_rollback_moves_calls_back() {
    let world = World::new().await;
    let World { router, billing, .. } = &world;
    let admin = router.admin().unwrap();
    let before = router.generation();
    admin.upsert(RouteSpec::new("billing.quote", "noop")).await.unwrap();
    admin.set_strategy("billing", "noop").await.unwrap();
    assert_eq!(billing.quote("abc").await, Ok(7));
    admin.rollback(before, None).await.unwrap();
    assert_eq!(billing.quote("abc").await, Ok(3));
    assert!(router.inspect().route("billing.quote").is_none());
}

#[tokio::test]
async fn the_words_of_a_routers_own_transports_are_known() {
    let world = World::new().await;
    let World { router, admin, .. } = &world;
    let spec = || RouteSpec::new("thumbnail", "mark").endpoint("there").config(r#"{"any key":1}"#);
    assert!(matches!(admin.upsert(spec()).await, Err(AdminError::UnknownStrategy { .. })));
    let echo = CallService::from_fn(async |_call| Ok(Reply::raw("")));
    router.add_transport("mark", Mark(echo)).unwrap();
    admin.upsert(spec()).await.unwrap();
}

/// A transport that accepts any row.
struct Mark(CallService);

impl Transport for Mark {
    fn build(&self, _route: &Route, _context: &BuildContext<'_>) -> Result<Remote, RouteError> {
        Ok(Remote::new(self.0.clone()))
    }
}

#[tokio::test]
async fn rows_that_are_in_no_file_have_no_admin() {
    let error = router(&MemoryRoutes::new()).admin().unwrap_err().to_string();
    assert!(error.contains("no SQLite file"), "{error}");
}
