//! Calls follow the strategy of their row and behave the same on each local strategy.

use std::sync::Arc;
use std::time::Duration;

use connectivity_core::{Error, ErrorKind, MemoryRoutes, Router, Sent, context, register};

use tests::shop::*;

/// A router with a local implementation, and its rows.
struct World {
    router: Router,
    routes: MemoryRoutes,
    shop: Shop,
    billing: BillingClient,
}

impl World {
    fn new() -> Self {
        let routes = MemoryRoutes::new();
        let (router, shop) = (router(&routes), Shop::at("here"));
        register!(router, Billing => shop.clone()).unwrap();
        Self { billing: BillingClient::new(&router), router, routes, shop }
    }

    async fn row(&self, name: &str, strategy: &str, config: &str) {
        self.routes.set(name, strategy, None, config);
        self.router.reload().await.unwrap();
    }
}

#[tokio::test]
async fn a_registered_service_is_local_and_has_a_row() {
    let World { billing, .. } = World::new();
    assert_eq!(billing.charge("17", 4200).await.unwrap().served_by, "here");
}

#[tokio::test]
async fn an_error_of_the_contract_comes_back_as_itself() {
    let world = World::new();
    let billing = &world.billing;
    assert_eq!(billing.fail(Failure::Declined).await, Err(BillingError::Declined));
    world.row("billing", "local", r#"{"timeout_ms":1000}"#).await;
    assert_eq!(billing.fail(Failure::Declined).await, Err(BillingError::Declined));
}

fn connectivity(error: BillingError) -> Error {
    match error {
        BillingError::Connectivity(error) => error,
        BillingError::Declined => panic!("declined"),
    }
}

#[tokio::test]
async fn noop_answers_what_the_method_says_and_nothing_else() {
    let world = World::new();
    let (billing, shop) = (&world.billing, &world.shop);
    world.row("billing", "noop", "{}").await;
    assert_eq!(billing.quote("17").await, Ok(7), "#[noop = 7]");
    assert_eq!(billing.sleep(1_000_000).await, Ok(()), "a method that returns nothing");
    let error = connectivity(billing.charge("17", 1).await.unwrap_err());
    assert_eq!(
        (error.kind(), error.name(), error.sent()),
        (ErrorKind::Noop, "billing.charge", Sent::No)
    );
    assert_eq!(shop.journal.began(), 0);
}

#[tokio::test]
async fn the_most_specific_row_wins() {
    let world = World::new();
    let billing = &world.billing;
    world.row("billing.quote", "noop", "{}").await;
    assert_eq!(billing.quote("17").await, Ok(7));
    assert!(billing.charge("17", 1).await.is_ok());
    world.row("billing", "noop", "{}").await;
    world.row("billing.quote", "local", "{}").await;
    assert_eq!(billing.quote("17").await, Ok(2));
    assert!(billing.charge("17", 1).await.is_err());
}

#[tokio::test(start_paused = true)]
async fn a_row_caps_a_local_call_and_the_caller_may_ask_for_less() {
    let world = World::new();
    let (billing, shop) = (&world.billing, &world.shop);
    world.row("billing", "local", r#"{"timeout_ms":100}"#).await;
    let error = connectivity(billing.sleep(10_000).await.unwrap_err());
    assert_eq!((error.kind(), error.sent()), (ErrorKind::Timeout, Sent::Maybe));
    let hasty = billing.with_timeout(Duration::from_millis(10));
    let start = tokio::time::Instant::now();
    assert!(hasty.sleep(10_000).await.is_err());
    assert_eq!(start.elapsed().as_millis(), 10);
    assert_eq!((shop.journal.began(), shop.journal.ended()), (2, 0), "the work was dropped");
}

#[tokio::test(start_paused = true)]
async fn a_nested_call_inherits_the_deadline_and_the_claims() {
    let world = World::new();
    let billing = &world.billing;
    world.row("billing", "local", r#"{"timeout_ms":60000}"#).await;
    let context = context::current()
        .with_meta("tenant", "acme")
        .unwrap()
        .with_timeout(Duration::from_secs(5));
    let seen = context::scope(context, billing.seen()).await.unwrap();
    assert_eq!(seen, Seen { tenant: Some("acme".into()), peer: None, remaining_ms: Some(5000) });
}

#[tokio::test]
async fn a_panic_under_a_policy_is_a_typed_error_without_its_text() {
    let world = World::new();
    let billing = &world.billing;
    world.row("billing", "local", r#"{"concurrency":8}"#).await;
    let error = connectivity(billing.fail(Failure::Panic).await.unwrap_err());
    assert_eq!(error.kind(), ErrorKind::Panicked);
    assert!(!error.to_string().contains("secret"), "{error}");
}

#[tokio::test(start_paused = true)]
async fn a_concurrency_limit_refuses_what_is_over_it() {
    let world = World::new();
    let (billing, shop) = (&world.billing, &world.shop);
    world.row("billing", "local", r#"{"concurrency":2}"#).await;
    let calls: Vec<_> = (0..3)
        .map(|_| {
            tokio::spawn({
                let b = billing.clone();
                async move { b.sleep(50).await }
            })
        })
        .collect();
    let mut refused = 0;
    for call in calls {
        if let Err(error) = call.await.unwrap() {
            let error = connectivity(error);
            assert_eq!((error.kind(), error.sent()), (ErrorKind::Overloaded, Sent::No));
            refused += 1;
        }
    }
    assert_eq!((refused, shop.journal.ended()), (1, 2));
    assert!(billing.sleep(1).await.is_ok(), "places are given back");
}

#[tokio::test(start_paused = true)]
async fn dropping_the_future_ends_the_work_but_not_with_no_cancel() {
    let world = World::new();
    let (billing, shop) = (&world.billing, &world.shop);
    for config in ["{}", r#"{"concurrency":8}"#] {
        world.row("billing", "local", config).await;
        let began = shop.journal.began();
        let _ = tokio::time::timeout(Duration::from_millis(10), billing.sleep(100)).await;
        let _ = tokio::time::timeout(Duration::from_millis(10), billing.audit(100)).await;
        tokio::time::sleep(Duration::from_millis(500)).await;
        assert_eq!(shop.journal.began() - began, 2, "{config}");
    }
    assert_eq!(shop.journal.ended(), 2, "the two audits");
}

#[tokio::test]
async fn a_service_without_row_and_implementation_is_not_routable() {
    let routes = MemoryRoutes::new();
    let billing = BillingClient::new(&router(&routes));
    let error = connectivity(billing.quote("17").await.unwrap_err());
    assert_eq!((error.kind(), error.sent()), (ErrorKind::NotRoutable, Sent::No));
}

async fn total(billing: impl Billing) -> u64 {
    billing.quote("a").await.unwrap() + billing.quote("bc").await.unwrap()
}

#[tokio::test]
async fn client_implementation_and_fake_are_the_same_to_a_caller() {
    let World { billing, shop, .. } = World::new();
    let dynamic: Arc<dyn DynBilling> = Arc::new(shop.clone());
    assert_eq!(total(billing).await, 3);
    assert_eq!(total(shop.clone()).await, 3);
    assert_eq!(total(BillingClient::direct(shop)).await, 3);
    assert_eq!(tokio::spawn(total(dynamic)).await.unwrap(), 3);
}

#[tokio::test]
async fn an_error_that_a_raw_service_hands_on_says_nothing_about_its_own_call() {
    let router = router(&MemoryRoutes::new());
    let nested = router.clone();
    router
        .register_raw("outer", move |bytes: bytes::Bytes| {
            let nested = nested.clone();
            async move { nested.call("nobody", bytes).await }
        })
        .unwrap();
    let error = router.call("outer", "x").await.unwrap_err();
    assert_eq!(
        (error.kind(), error.sent(), error.is_relayed()),
        (ErrorKind::NotRoutable, Sent::Maybe, true)
    );
    assert!(!error.is_retryable_for("outer"));
}

#[test]
fn a_context_never_outgrows_a_wire() {
    let crowded = (0..2000)
        .try_fold(context::Context::new(), |context, n| context.with_meta(format!("k{n}"), ""));
    assert_eq!(crowded.unwrap_err().kind(), ErrorKind::TooLarge);
    assert_eq!(context::Context::new().with_trace_parent(&"0".repeat(200)).trace_parent(), None);
    let same = (0..2000)
        .try_fold(context::Context::new(), |context, n| context.with_meta("k", n.to_string()))
        .unwrap();
    assert_eq!(same.meta("k"), Some("1999"));
}

#[tokio::test]
async fn an_implementation_can_be_any_expression() -> Result<(), Box<dyn std::error::Error>> {
    async fn connect() -> std::io::Result<Shop> {
        Ok(Shop::at("here"))
    }
    let router = Router::builder().source(MemoryRoutes::new()).build()?;
    register!(router, Billing => connect().await?)?;
    assert_eq!(BillingClient::new(&router).quote("abc").await, Ok(3));
    Ok(())
}
