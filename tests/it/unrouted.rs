//! Calls of a name without a row: when a row is added later, its limit counts the calls still in
//! flight.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use connectivity_core::{Error, ErrorKind, MemoryRoutes, Router, Sent, Server, register};
use tests::shop::*;
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;

/// A router without rows, with `billing` and with `gate`, whose calls wait for a permit.
struct World {
    routes: MemoryRoutes,
    here: Router,
    shop: Shop,
    gate: Arc<Semaphore>,
}

const LIMIT: &str = r#"{"concurrency":1}"#;

impl World {
    async fn new() -> Self {
        let (routes, shop, gate) =
            (MemoryRoutes::new(), Shop::at("here"), Arc::new(Semaphore::new(0)));
        let here = router(&routes);
        register!(here, Billing => shop.clone()).unwrap();
        let (journal, waiting) = (Arc::clone(&shop.journal), Arc::clone(&gate));
        let wait = move |_: Bytes| {
            let (journal, waiting) = (Arc::clone(&journal), Arc::clone(&waiting));
            async move {
                journal.began.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
                let _permit = waiting.acquire().await;
                Ok::<_, Error>(Bytes::new())
            }
        };
        here.register_raw("gate", wait).unwrap();
        routes.remove("billing");
        routes.remove("gate");
        here.reload().await.unwrap();
        assert!(here.inspect().routes.iter().all(|route| route.in_flight == 0));
        Self { routes, here, shop, gate }
    }

    /// Returns a router whose calls of both services arrive here over a socket.
    async fn remote_router(&self, dir: &tempfile::TempDir) -> (Server, Router) {
        let path = dir.path().join("here.sock").display().to_string();
        let server = Server::builder(&self.here)
            .expose(["billing", "gate"])
            .unix(&path)
            .start()
            .await
            .unwrap();
        let routes = MemoryRoutes::new();
        routes.set("billing", "unix", Some(&path), "{}");
        routes.set("gate", "unix", Some(&path), "{}");
        (server, router(&routes))
    }

    async fn wait_for_calls(&self, calls: usize) {
        let waiting = async {
            while self.shop.journal.began() < calls {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(20), waiting).await.expect("within 20 s");
    }

    async fn row(&self, name: &str) {
        self.routes.set(name, "local", None, LIMIT);
        self.here.reload().await.unwrap();
    }

    fn in_flight(&self, name: &str) -> usize {
        self.here.inspect().route(name).unwrap().in_flight
    }
}

fn call_gate(router: &Router) -> JoinHandle<Result<Bytes, Error>> {
    let router = router.clone();
    tokio::spawn(async move { router.call("gate", "x").await })
}

fn is_over_limit(error: &Error) -> bool {
    (error.kind(), error.sent()) == (ErrorKind::Overloaded, Sent::No)
}

fn connectivity(error: BillingError) -> Error {
    match error {
        BillingError::Connectivity(error) => error,
        BillingError::Declined => panic!("declined"),
    }
}

#[tokio::test]
async fn a_row_counts_calls_of_a_raw_service_that_began_before_it_was_there() {
    let (world, dir) = (World::new().await, tempfile::tempdir().unwrap());
    let (_server, remote_router) = world.remote_router(&dir).await;
    let calls = [call_gate(&world.here), call_gate(&world.here), call_gate(&remote_router)];
    world.wait_for_calls(3).await;
    world.row("gate").await;
    assert_eq!(world.in_flight("gate"), 3);
    for caller in [&world.here, &remote_router] {
        assert!(
            is_over_limit(&caller.call("gate", "x").await.unwrap_err()),
            "three run, the row allows one"
        );
    }
    world.gate.add_permits(1000);
    for call in calls {
        assert_eq!(call.await.unwrap().unwrap(), "");
    }
    assert_eq!(world.in_flight("gate"), 0);
    assert_eq!(world.here.call("gate", "x").await.unwrap(), "");
}

#[tokio::test]
async fn a_row_counts_calls_from_outside_and_of_no_cancel_methods_that_began_before_it_was_there() {
    let (world, dir) = (World::new().await, tempfile::tempdir().unwrap());
    let (_server, remote_router) = world.remote_router(&dir).await;
    let (local, remote) = (BillingClient::new(&world.here), BillingClient::new(&remote_router));
    let billing = local.clone();
    let audit = tokio::spawn(async move { billing.audit(3_600_000).await });
    world.wait_for_calls(1).await;
    // `audit` is `no_cancel`: its work continues.
    audit.abort();
    let sleep = tokio::spawn(async move { remote.sleep(3_600_000).await });
    world.wait_for_calls(2).await;
    world.row("billing").await;
    assert_eq!(world.in_flight("billing"), 2);
    assert!(is_over_limit(&connectivity(local.quote("abc").await.unwrap_err())));
    sleep.abort();
    while world.in_flight("billing") > 1 {
        tokio::task::yield_now().await;
    }
    assert!(is_over_limit(&connectivity(local.quote("abc").await.unwrap_err())), "the audit runs");
}

/// The fast path does not count calls, as `docs/configuration.md` says.
#[tokio::test]
async fn a_row_does_not_count_calls_that_went_straight_to_the_implementation() {
    let world = World::new().await;
    let billing = BillingClient::new(&world.here);
    let caller = billing.clone();
    let straight = tokio::spawn(async move { caller.sleep(3_600_000).await });
    world.wait_for_calls(1).await;
    world.row("billing").await;
    assert_eq!(world.in_flight("billing"), 0);
    let caller = billing.clone();
    let counted = tokio::spawn(async move { caller.sleep(3_600_000).await });
    world.wait_for_calls(2).await;
    assert_eq!(world.in_flight("billing"), 1);
    assert!(is_over_limit(&connectivity(billing.quote("abc").await.unwrap_err())));
    straight.abort();
    counted.abort();
}

#[tokio::test]
async fn closing_a_router_waits_for_calls_without_a_row() {
    let world = World::new().await;
    let call = call_gate(&world.here);
    world.wait_for_calls(1).await;
    assert_eq!(world.here.close(Duration::ZERO).await, 1, "it runs");
    world.gate.add_permits(1);
    assert_eq!(call.await.unwrap().unwrap(), "");
}
