//! User code that calls back into the router that called it.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use connectivity_core::{
    BuildContext, CallService, MemoryRoutes, Remote, Reply, Route, RouteError, RouteState, Router,
    Transport, TransportState,
};

/// Timeout for anything that is expected to succeed.
const TIMEOUT: Duration = Duration::from_secs(20);

/// A transport whose state callback queries the router and registers a service.
#[derive(Clone, Default)]
struct Nosy {
    router: Arc<OnceLock<Router>>,
    queries: Arc<AtomicUsize>,
}

impl Transport for Nosy {
    fn build(&self, _route: &Route, _context: &BuildContext<'_>) -> Result<Remote, RouteError> {
        let service = CallService::from_fn(|_call| std::future::ready(Ok(Reply::raw("far"))));
        let nosy = self.clone();
        Ok(Remote::new(service).with_state(move || {
            let router = nosy.router.get().unwrap();
            let name = format!("extra{}", nosy.queries.fetch_add(1, Ordering::SeqCst));
            router.register_raw(&name, async |bytes| Ok(bytes)).unwrap();
            let why = format!("\u{1b}[2J {} services", router.services().len());
            TransportState::Failed { why, since: std::time::UNIX_EPOCH }
        }))
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_inspects_may_register_meanwhile_and_the_other_way_round() {
    let (routes, nosy) = (MemoryRoutes::new(), Nosy::default());
    routes.set("thumb", "nosy", Some("x"), "{}");
    let router = Router::builder().source(routes).transport("nosy", nosy.clone()).build().unwrap();
    nosy.router.get_or_init(|| router.clone());
    let registering = tokio::task::spawn_blocking({
        let router = router.clone();
        move || {
            (0..20).for_each(|n| {
                router.register_raw(&format!("more{n}"), async |bytes| Ok(bytes)).unwrap()
            })
        }
    });
    let inspecting = tokio::task::spawn_blocking({
        let router = router.clone();
        move || {
            for n in 0..20 {
                // A caller may register while it iterates over the inspection.
                for route in router.inspect().routes.iter().filter(|route| route.name == "thumb") {
                    router
                        .register_raw(&format!("{}-{n}", route.name), async |bytes| Ok(bytes))
                        .unwrap();
                }
            }
        }
    });
    tokio::time::timeout(TIMEOUT, registering).await.expect("no deadlock").unwrap();
    tokio::time::timeout(TIMEOUT, inspecting).await.expect("no deadlock").unwrap();
    let inspection = router.inspect();
    let registered = |name: String| inspection.services.iter().any(|service| service.name == name);
    assert!((0..20).all(|n| registered(format!("more{n}")) && registered(format!("thumb-{n}"))));
    let state = format!("{:?}", inspection.route("thumb").unwrap().transport);
    assert!(state.contains("[2J") && state.contains("services"), "{state}");
    let Some(TransportState::Failed { why, .. }) = &inspection.route("thumb").unwrap().transport
    else {
        panic!("{state}")
    };
    assert!(!why.contains('\u{1b}'), "what a transport says is escaped too: {why}");
}

/// A transport that registers a service with its router while it builds a route.
#[derive(Clone, Default)]
struct Meddler(Arc<OnceLock<Router>>);

impl Transport for Meddler {
    fn build(&self, _route: &Route, _context: &BuildContext<'_>) -> Result<Remote, RouteError> {
        let router = self.0.get().unwrap();
        router.register_raw("extra", async |bytes| Ok(bytes)).unwrap();
        Ok(Remote::new(CallService::from_fn(|_call| std::future::ready(Ok(Reply::raw("far"))))))
    }
}

#[tokio::test]
async fn a_transport_that_changes_its_router_while_it_builds_is_a_bad_row_and_no_deadlock() {
    let (meddler, routes) = (Meddler::default(), MemoryRoutes::new());
    let router = Router::builder()
        .source(routes.clone())
        .transport("meddler", meddler.clone())
        .build()
        .unwrap();
    assert!(meddler.0.set(router.clone()).is_ok());
    routes.set("echo", "meddler", Some("anywhere"), "{}");
    router.reload().await.unwrap();
    let RouteState::Bad { why, .. } = router.inspect().route("echo").unwrap().state.clone() else {
        panic!("in force")
    };
    assert!(why.contains("`meddler` panicked"), "{why}");
    router.register_raw("another", async |bytes| Ok(bytes)).unwrap();
    assert_eq!(router.call("another", "x").await.unwrap(), "x", "the router goes on");
}
