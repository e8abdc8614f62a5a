//! Effects of changed rows on routes, calls and connections.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use connectivity_core::{
    BuildContext, CallService, Codec, ErrorKind, Field, MemoryRoutes, MissingRow, Remote, Reply,
    Route, RouteError, RouteRow, RouteState, Router, Transport, TransportState, register,
};

use tests::shop::*;

mod files;

/// A transport that counts its builds and replies with the endpoint of its row.
#[derive(Clone, Default)]
struct Marks {
    built: Arc<AtomicUsize>,
    refuse: Arc<AtomicBool>,
}

impl Transport for Marks {
    fn build(&self, route: &Route, _context: &BuildContext<'_>) -> Result<Remote, RouteError> {
        self.built.fetch_add(1, Ordering::SeqCst);
        if self.refuse.load(Ordering::SeqCst) {
            return Err(RouteError::new("refused as told"));
        }
        if route.endpoint() == Some("panic") {
            panic!("a transport of the user's");
        }
        let mark = route.endpoint().unwrap_or_default().to_owned();
        let service = CallService::from_fn(move |call| {
            let mark = mark.clone();
            async move {
                let typed = call.method().is_some();
                if typed && call.name() == "billing.sleep" {
                    tokio::time::sleep(Duration::from_millis(200)).await;
                    return Ok(Reply::encoded(Codec::Json, "null", false));
                }
                let receipt = Receipt { id: "far".into(), cents: 0, served_by: mark.clone() };
                let json = serde_json::to_vec(&receipt).unwrap();
                Ok(if typed { Reply::encoded(Codec::Json, json, false) } else { Reply::raw(mark) })
            }
        });
        Ok(Remote::new(service).with_state(|| TransportState::Connected))
    }
}

struct World {
    routes: MemoryRoutes,
    router: Router,
    billing: BillingClient,
    marks: Marks,
}

impl World {
    fn new() -> Self {
        let (routes, marks) = (MemoryRoutes::new(), Marks::default());
        let router = Router::builder()
            .source(routes.clone())
            .transport("mark", marks.clone())
            .build()
            .unwrap();
        register!(router, Billing => Shop::at("here")).unwrap();
        Self { billing: BillingClient::new(&router), routes, router, marks }
    }

    async fn row(&self, name: &str, strategy: &str, endpoint: &str, config: &str) {
        self.routes.set(name, strategy, Some(endpoint), config);
        self.router.reload().await.unwrap();
    }

    async fn served_by(&self) -> Result<String, ErrorKind> {
        match self.billing.charge("17", 1).await {
            Ok(receipt) => Ok(receipt.served_by),
            Err(BillingError::Connectivity(error)) => Err(error.kind()),
            Err(BillingError::Declined) => panic!("declined"),
        }
    }

    fn state(&self, name: &str) -> RouteState {
        self.router.inspect().route(name).unwrap().state.clone()
    }
}

#[tokio::test]
async fn the_next_call_after_a_change_goes_where_the_row_says() {
    let world = World::new();
    assert_eq!(world.served_by().await, Ok("here".into()));
    world.row("billing", "mark", "a", "{}").await;
    assert_eq!(world.served_by().await, Ok("a".into()));
    world.row("billing", "mark", "b", "{}").await;
    assert_eq!(world.served_by().await, Ok("b".into()));
    world.routes.remove("billing");
    world.router.reload().await.unwrap();
    assert_eq!(world.served_by().await, Ok("here".into()), "no row means local");
}

#[tokio::test]
async fn only_what_changed_is_built_anew() {
    let world = World::new();
    for n in 0..10 {
        world.routes.set(&format!("s{n}"), "mark", Some("x"), "{}");
    }
    world.router.reload().await.unwrap();
    let built = world.marks.built.load(Ordering::SeqCst);
    world.row("s3", "mark", "y", "{}").await;
    assert_eq!(world.marks.built.load(Ordering::SeqCst), built + 1);
    world.router.reload().await.unwrap();
    assert_eq!(world.marks.built.load(Ordering::SeqCst), built + 1, "nothing changed");
}

#[tokio::test]
async fn a_bad_row_keeps_the_last_good_route_and_says_why_until_it_is_repaired() {
    let world = World::new();
    world.row("billing", "mark", "a", "{}").await;
    for (strategy, endpoint, config, expected) in [
        ("mark", "b", r#"{"timeout_ms":0}"#, "config.timeout_ms"),
        ("mark", "b", "no json", "config: "),
        (
            "nowhere",
            "b",
            "{}",
            "no transport `nowhere`; it has dbsync, embed, http, local, mark, mcp, noop",
        ),
        ("Mark!", "b", "{}", "strategy: "),
        ("mark", "panic", "{}", "panicked"),
        (
            "http",
            "http://example.com/b",
            r#"{"ca_file":"/etc/ca.pem"}"#,
            "config.ca_file: the endpoint is plain http",
        ),
    ] {
        world.row("billing", strategy, endpoint, config).await;
        assert_eq!(world.served_by().await, Ok("a".into()), "{strategy} {endpoint} {config}");
        let RouteState::Bad { why, meanwhile, .. } = world.state("billing") else {
            panic!("{strategy} is bad")
        };
        assert!(why.contains(expected), "{why}");
        assert_eq!(meanwhile.as_deref(), Some("mark"));
    }
    world.row("billing", "mark", "c", "{}").await;
    assert_eq!(world.state("billing"), RouteState::InForce);
    assert_eq!(world.served_by().await, Ok("c".into()));
}

#[tokio::test]
async fn a_row_that_is_bad_from_the_start_never_falls_back_to_local() {
    let world = World::new();
    world.routes.remove("billing");
    world.router.reload().await.unwrap();
    world.row("billing", "nowhere", "x", "{}").await;
    assert_eq!(world.served_by().await, Err(ErrorKind::NoTransport));
    world.row("billing", "mark", "x", "[]").await;
    assert_eq!(world.served_by().await, Err(ErrorKind::RouteInvalid));
}

#[tokio::test]
async fn a_bad_row_of_a_method_leaves_its_calls_to_the_row_of_the_service() {
    let world = World::new();
    for served_by in ["far", "here"] {
        match served_by {
            "far" => world.row("billing", "mark", "far", "{}").await,
            _ => world.row("billing", "local", "", "{}").await,
        }
        world.row("billing.charge", "mark", "b", r#"{"timeout_ms":0}"#).await;
        assert_eq!(world.served_by().await, Ok(served_by.into()));
        assert!(matches!(world.state("billing.charge"), RouteState::Bad { .. }));
    }
    world.row("billing.charge", "mark", "own", "{}").await;
    assert_eq!(world.served_by().await, Ok("own".into()));
}

#[tokio::test]
async fn a_failure_tells_that_the_row_which_should_have_replaced_the_route_is_bad() {
    let routes = MemoryRoutes::new();
    let row =
        |strategy, endpoint, config: &str| routes.set("billing", strategy, Some(endpoint), config);
    row("unix", "/nowhere/billing.sock", "{}");
    let router = Router::builder().source(routes.clone()).build().unwrap();
    let message = async || router.call("billing", "x").await.unwrap_err().message().to_owned();
    assert!(!message().await.contains("its row is bad"));
    row("http", "http://example.com/b", r#"{"timeout_ms":0}"#);
    router.reload().await.unwrap();
    let text = message().await;
    assert!(
        text.contains("(its row is bad since 20") && text.contains("config.timeout_ms"),
        "{text}"
    );
    row("unix", "/nowhere/billing.sock", "{}");
    router.reload().await.unwrap();
    assert!(!message().await.contains("its row is bad"), "it was mended");
}

#[tokio::test]
async fn a_transport_has_a_name_that_rows_can_say() {
    let router = Router::builder().source(MemoryRoutes::new()).build().unwrap();
    for name in ["local", "noop", "My Own", ""] {
        assert!(router.add_transport(name, Marks::default()).is_err(), "{name}");
        let builder =
            Router::builder().source(MemoryRoutes::new()).transport(name, Marks::default());
        assert!(builder.build().is_err(), "{name}");
    }
    router.add_transport("my-own", Marks::default()).unwrap();
}

#[tokio::test]
async fn since_when_a_row_is_bad_does_not_move_while_it_stays_so() {
    let world = World::new();
    let since = |world: &World| match world.state("billing") {
        RouteState::Bad { since, .. } => since,
        other => panic!("{other:?}"),
    };
    world.row("billing", "mark", "a", "[]").await;
    let first = since(&world);
    world.row("orders", "noop", "", "{}").await;
    assert_eq!(since(&world), first);
}

#[tokio::test]
async fn tls_keys_are_a_matter_of_the_transport_and_parked_elsewhere() {
    let world = World::new();
    for strategy in ["mark", "local", "noop"] {
        world
            .row("billing", strategy, "a", r#"{"ca_file":"/nowhere/ca.pem","insecure_tls":false}"#)
            .await;
        assert_eq!(world.state("billing"), RouteState::InForce, "{strategy}");
        assert_eq!(
            world.router.inspect().route("billing").unwrap().warnings,
            [""; 0],
            "{strategy}"
        );
    }
}

#[tokio::test]
async fn a_transport_that_refused_is_asked_again_at_the_next_change() {
    let world = World::new();
    world.marks.refuse.store(true, Ordering::SeqCst);
    world.row("billing", "mark", "a", "{}").await;
    assert!(matches!(world.state("billing"), RouteState::Bad { .. }));
    world.marks.refuse.store(false, Ordering::SeqCst);
    world.router.reload().await.unwrap();
    assert_eq!(world.served_by().await, Ok("a".into()));
}

#[tokio::test]
async fn a_new_transport_is_in_force_at_once() {
    let world = World::new();
    world.row("billing", "later", "a", "{}").await;
    assert!(matches!(world.state("billing"), RouteState::Bad { .. }));
    world.router.add_transport("later", Marks::default()).unwrap();
    assert_eq!(world.served_by().await, Ok("a".into()));
}

#[tokio::test]
async fn local_without_an_implementation_is_bad_where_it_is_called_and_elsewhere_otherwise() {
    let routes = MemoryRoutes::new();
    routes.set("billing", "local", None, "{}");
    let router = router(&routes);
    assert_eq!(router.inspect().route("billing").unwrap().state, RouteState::NotServedHere);
    let billing = BillingClient::new(&router);
    let state = router.inspect().route("billing").unwrap().state.clone();
    assert!(
        matches!(state, RouteState::Bad { ref why, .. } if why.contains("registered")),
        "{state:?}"
    );
    assert!(billing.quote("x").await.is_err());
    register!(router, Billing => Shop::at("here")).unwrap();
    assert_eq!(router.inspect().route("billing").unwrap().state, RouteState::InForce);
    assert_eq!(billing.quote("x").await, Ok(1));
}

#[tokio::test]
async fn a_node_serves_its_own_rows_locally() {
    let routes = MemoryRoutes::new();
    routes.set("billing", "mark", Some("far"), r#"{"home":"billing-node"}"#);
    let process = |node: &str| {
        let builder =
            Router::builder().node(node).source(routes.clone()).transport("mark", Marks::default());
        let router = builder.build().unwrap();
        register!(router, Billing => Shop::at("home")).unwrap();
        BillingClient::new(&router)
    };
    assert_eq!(process("billing-node").charge("17", 1).await.unwrap().served_by, "home");
    assert_eq!(process("orders-node").charge("17", 1).await.unwrap().served_by, "far");
}

#[tokio::test]
async fn a_missing_row_can_be_refused() {
    let routes = MemoryRoutes::new();
    let router =
        Router::builder().missing_row(MissingRow::Refuse).source(routes.clone()).build().unwrap();
    register!(router, Billing => Shop::at("here")).unwrap();
    let billing = BillingClient::new(&router);
    assert!(billing.quote("x").await.is_ok(), "registering added the row");
    routes.remove("billing");
    router.reload().await.unwrap();
    let Err(BillingError::Connectivity(error)) = billing.quote("x").await else {
        panic!("refused")
    };
    assert_eq!(error.kind(), ErrorKind::NotRoutable);
}

#[tokio::test(start_paused = true)]
async fn a_call_in_flight_ends_on_the_route_it_began_on_within_the_drain_time() {
    let world = World::new();
    for (config, ends) in [("{}", true), (r#"{"drain_ms":50}"#, false)] {
        world.row("billing", "mark", "a", config).await;
        let call = tokio::spawn({
            let billing = world.billing.clone();
            async move { billing.sleep(0).await }
        });
        while world.router.inspect().route("billing").unwrap().in_flight == 0 {
            tokio::task::yield_now().await;
        }
        world.row("billing", "local", "", "{}").await;
        let outcome = call.await.unwrap();
        assert_eq!(outcome.is_ok(), ends, "{outcome:?}");
    }
}

#[tokio::test]
async fn a_closed_router_refuses_and_a_close_always_returns() {
    let world = World::new();
    world.row("billing", "mark", "a", "{}").await;
    let call = tokio::spawn({
        let billing = world.billing.clone();
        async move { billing.sleep(0).await }
    });
    while world.router.inspect().route("billing").unwrap().in_flight == 0 {
        tokio::task::yield_now().await;
    }
    assert_eq!(world.router.close(Duration::from_secs(20)).await, 0);
    assert_eq!(call.await.unwrap(), Ok(()), "it was in flight");
    assert_eq!(world.served_by().await, Err(ErrorKind::Closed));
    assert!(world.router.inspect().closed);
    assert!(world.router.register_raw("late", async |bytes| Ok(bytes)).is_err());
}

#[tokio::test]
async fn hostile_values_spoil_their_row_only() {
    let world = World::new();
    let text = |text: &str| Field::text(text);
    let hostile = [
        Field::Null,
        Field::Other { what: "a blob" },
        text("\u{1b}[2J\u{0}'; DROP TABLE routes; --"),
        text(&"x".repeat(1 << 20)),
        text(""),
    ];
    for (n, value) in hostile.iter().enumerate() {
        let name = format!("s{n}");
        world.routes.set_row(RouteRow::from_fields(
            value.clone(),
            text("noop"),
            Field::Null,
            text("{}"),
        ));
        world.routes.set_row(RouteRow::from_fields(
            text(&format!("a{name}")),
            value.clone(),
            Field::Null,
            text("{}"),
        ));
        world.routes.set_row(RouteRow::from_fields(
            text(&format!("b{name}")),
            text("mark"),
            value.clone(),
            text("{}"),
        ));
        world.routes.set_row(RouteRow::from_fields(
            text(&format!("c{name}")),
            text("mark"),
            text("e"),
            value.clone(),
        ));
    }
    world.row("billing", "mark", "good", "{}").await;
    assert_eq!(world.served_by().await, Ok("good".into()));
    let inspection = world.router.inspect();
    assert_eq!(inspection.routes.len(), 1 + 4 * hostile.len());
    let json = serde_json::to_string(&inspection).unwrap();
    assert!(!json.contains('\u{1b}') && json.len() < 64 << 10, "{} bytes", json.len());
    for route in &inspection.routes {
        if let RouteState::Bad { why, .. } = &route.state {
            assert!(why.len() <= 1024 && !why.contains('\u{1b}'), "{why}");
        }
    }
}

#[tokio::test]
async fn a_source_that_cannot_be_read_leaves_everything_in_force() {
    let world = World::new();
    world.row("billing", "mark", "a", "{}").await;
    world.routes.fail_reads(Some("the disk is gone"));
    assert!(world.router.reload().await.is_err());
    assert_eq!(world.served_by().await, Ok("a".into()));
    let warnings = world.router.inspect().warnings.join("\n");
    assert!(warnings.contains("the disk is gone"), "{warnings}");
    world.routes.fail_reads(None);
    world.router.reload().await.unwrap();
    assert!(world.router.inspect().warnings.is_empty());
}
