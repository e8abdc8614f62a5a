//! The same behavior on every remote strategy.

use std::sync::Arc;
use std::time::Duration;

use connectivity_core::context::{self, Context};
use connectivity_core::{
    Error, ErrorKind, HttpTransport, MemoryRoutes, Router, Sent, Server, Tls, register,
};

use tests::shop::*;

/// A server with its own router behind a real socket, as a second process would have, and a client
/// router with a row for its `billing`.
struct World {
    strategy: &'static str,
    server: Option<Server>,
    server_router: Router,
    shop: Shop,
    endpoint: String,
    client: Router,
    routes: MemoryRoutes,
    billing: BillingClient,
    tls: Tls,
    _dir: tempfile::TempDir,
}

const STRATEGIES: [&str; 4] = ["http", "unix", "unix abstract", "quic"];

impl World {
    async fn new(strategy: &'static str, config: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let server_router = router(&MemoryRoutes::new());
        let shop = Shop::at("far");
        register!(server_router, Billing => shop.clone()).unwrap();
        server_router.register_raw("echo", async |bytes| Ok(bytes)).unwrap();
        let tls = Tls::self_signed(["localhost"]).unwrap();
        let address = match strategy {
            "http" | "quic" => "127.0.0.1:0".to_owned(),
            "unix" => dir.path().join("billing.sock").display().to_string(),
            _ => format!("@connectivity-test-{}", dir.path().display()),
        };
        let server = serve(&server_router, strategy, &address, &tls).await;
        let config = match strategy {
            "quic" => pinned(config, &tls.pin_sha256()),
            _ => config.to_owned(),
        };
        let word = strategy.split(' ').next().unwrap();
        let bound = server.address(word).unwrap();
        let endpoint =
            if word == "http" { format!("http://{bound}/billing") } else { bound.to_owned() };
        let routes = MemoryRoutes::new();
        routes.set("billing", word, Some(&endpoint), &config);
        let echo =
            if word == "http" { endpoint.replace("/billing", "/echo") } else { endpoint.clone() };
        routes.set("echo", word, Some(&echo), &config);
        let http = HttpTransport::new().allow_internal();
        let client =
            Router::builder().source(routes.clone()).transport("http", http).build().unwrap();
        let billing = BillingClient::new(&client);
        Self {
            strategy,
            server: Some(server),
            server_router,
            shop,
            endpoint,
            client,
            routes,
            billing,
            tls,
            _dir: dir,
        }
    }

    async fn each(config: &str) -> Vec<Self> {
        let mut worlds = Vec::new();
        for strategy in STRATEGIES {
            worlds.push(Self::new(strategy, config).await);
        }
        worlds
    }

    fn config(&self, config: &str) -> String {
        if self.strategy == "quic" {
            pinned(config, &self.tls.pin_sha256())
        } else {
            config.to_owned()
        }
    }

    fn address(&self) -> String {
        self.endpoint.trim_start_matches("http://").trim_end_matches("/billing").to_owned()
    }

    async fn stop(&mut self, limit: Duration) {
        if let Some(server) = self.server.take() {
            server.shutdown(limit).await;
        }
    }
}

async fn serve(server_router: &Router, strategy: &str, address: &str, tls: &Tls) -> Server {
    let builder = Server::builder(server_router).expose(["billing", "echo"]);
    let builder = match strategy {
        "http" => builder.http(address),
        "quic" => builder.quic(address, tls.clone()),
        _ => builder.unix(address),
    };
    builder.start().await.unwrap()
}

/// Adds the pin of a certificate to a config.
fn pinned(config: &str, pin: &str) -> String {
    let rest = config.trim_start_matches('{');
    let comma = if rest == "}" { "" } else { "," };
    format!(r#"{{"pin_sha256":"{pin}"{comma}{rest}"#)
}

fn connectivity(error: BillingError) -> Error {
    match error {
        BillingError::Connectivity(error) => error,
        BillingError::Declined => panic!("declined"),
    }
}

async fn wait_until(mut condition: impl FnMut() -> bool) {
    let waiting = tokio::time::timeout(Duration::from_secs(20), async {
        while !condition() {
            tokio::task::yield_now().await;
        }
    });
    waiting.await.expect("within 20 s");
}

#[tokio::test]
async fn values_and_errors_of_the_contract_in_both_codecs() {
    for config in ["{}", r#"{"codec":"json"}"#] {
        for world in World::each(config).await {
            let billing = &world.billing;
            assert_eq!(
                billing.charge("17", 4200).await.unwrap().served_by,
                "far",
                "{}",
                world.strategy
            );
            assert_eq!(
                billing.fail(Failure::Declined).await,
                Err(BillingError::Declined),
                "{}",
                world.strategy
            );
            let error = connectivity(billing.fail(Failure::Panic).await.unwrap_err());
            assert_eq!(
                (error.kind(), error.sent(), error.name()),
                (ErrorKind::Panicked, Sent::Yes, "billing.fail")
            );
            assert!(!error.to_string().contains("secret"), "{error}");
            assert_eq!(
                world.client.call("echo", "a\0b").await.unwrap(),
                "a\0b",
                "{}",
                world.strategy
            );
        }
    }
}

#[tokio::test]
async fn what_is_not_exposed_is_not_there() {
    for world in World::each("{}").await {
        world.server_router.register_raw("hidden", async |bytes| Ok(bytes)).unwrap();
        let word = world.strategy.split(' ').next().unwrap();
        let hidden = if word == "http" {
            world.endpoint.replace("/billing", "/hidden")
        } else {
            world.endpoint.clone()
        };
        world.routes.set("hidden", word, Some(&hidden), &world.config("{}"));
        world.client.reload().await.unwrap();
        let error = world.client.call("hidden", "x").await.unwrap_err();
        assert_eq!(
            (error.kind(), error.sent()),
            (ErrorKind::NotRoutable, Sent::No),
            "{}",
            world.strategy
        );
    }
}

#[tokio::test]
async fn a_name_can_be_another_one_on_the_other_side() {
    for world in World::each("{}").await.into_iter().filter(|world| world.strategy != "http") {
        let word = world.strategy.split(' ').next().unwrap();
        let config = world.config(r#"{"remote_name":"echo"}"#);
        world.routes.set("reverb", word, Some(&world.endpoint), &config);
        world.client.reload().await.unwrap();
        assert_eq!(world.client.call("reverb", "x").await.unwrap(), "x", "{}", world.strategy);
    }
}

#[tokio::test]
async fn claims_and_deadlines_travel() {
    for world in World::each("{}").await {
        let context = Context::new()
            .with_meta("tenant", "Käse & Co")
            .unwrap()
            .with_timeout(Duration::from_secs(5));
        let seen = context::scope(context, world.billing.seen()).await.unwrap();
        assert_eq!(seen.tenant.as_deref(), Some("Käse & Co"), "{}", world.strategy);
        assert!((1..=5000).contains(&seen.remaining_ms.unwrap()), "{}: {seen:?}", world.strategy);
        assert_eq!(
            seen.peer.is_some(),
            world.strategy.starts_with("unix"),
            "the kernel says who it is"
        );
    }
}

#[tokio::test]
async fn a_call_ends_at_its_deadline_and_its_work_with_it() {
    for mut world in World::each(r#"{"timeout_ms":100}"#).await {
        let journal = Arc::clone(&world.shop.journal);
        // The deadline is the caller's. On a busy machine it may pass before the work starts or a
        // connection is established.
        for _ in 0..200 {
            let error = connectivity(world.billing.sleep(60_000).await.unwrap_err());
            assert_eq!(error.kind(), ErrorKind::Timeout, "{}", world.strategy);
            if journal.began() > 0 {
                assert_eq!(error.sent(), Sent::Maybe, "{}", world.strategy);
                break;
            }
        }
        world.stop(Duration::from_secs(5)).await;
        assert!(journal.began() > 0 && journal.ended() == 0, "{}", world.strategy);
    }
}

#[tokio::test]
async fn dropping_the_call_ends_the_work_there_but_not_with_no_cancel() {
    for mut world in World::each("{}").await {
        let journal = Arc::clone(&world.shop.journal);
        let mut sleeping = Box::pin(world.billing.sleep(3_600_000));
        let mut auditing = Box::pin(world.billing.audit(200));
        tokio::select! {
            _ = &mut sleeping => panic!("it sleeps an hour"),
            _ = &mut auditing => panic!("not before both began"),
            () = wait_until(|| journal.began() == 2) => {}
        }
        drop((sleeping, auditing));
        wait_until(|| journal.ended() == 1).await;
        let start = std::time::Instant::now();
        world.stop(Duration::from_secs(60)).await;
        assert!(
            start.elapsed() < Duration::from_secs(30),
            "{}: the sleeper was still there",
            world.strategy
        );
    }
}

#[tokio::test]
async fn a_shutdown_answers_what_is_in_flight_and_always_returns() {
    for mut world in World::each("{}").await {
        let journal = Arc::clone(&world.shop.journal);
        let call = |ms| {
            tokio::spawn({
                let billing = world.billing.clone();
                async move { billing.sleep(ms).await }
            })
        };
        let calls: Vec<_> = (0..20).map(|_| call(300)).collect();
        let stuck = call(3_600_000);
        wait_until(|| journal.began() == 21).await;
        world.stop(Duration::from_secs(2)).await;
        for call in calls {
            assert_eq!(call.await.unwrap(), Ok(()), "{}", world.strategy);
        }
        let error = connectivity(stuck.await.unwrap().unwrap_err());
        assert_eq!(
            (error.kind(), error.sent()),
            (ErrorKind::Closed, Sent::Maybe),
            "{}",
            world.strategy
        );
        let error = connectivity(world.billing.quote("x").await.unwrap_err());
        assert_eq!(
            (error.kind(), error.sent()),
            (ErrorKind::Connect, Sent::No),
            "{}",
            world.strategy
        );
        assert!(error.is_retryable_for("billing.quote"));
    }
}

#[tokio::test]
async fn a_server_that_comes_back_is_found_without_a_manual_step() {
    for mut world in World::each("{}").await {
        assert!(world.billing.quote("x").await.is_ok());
        world.stop(Duration::from_secs(1)).await;
        assert!(world.billing.quote("x").await.is_err(), "{}", world.strategy);
        let state = format!("{:?}", world.client.inspect().route("billing").unwrap().transport);
        assert!(state.contains("Failed"), "{}: {state}", world.strategy);
        let word = world.strategy.split(' ').next().unwrap();
        world.server = Some(serve(&world.server_router, word, &world.address(), &world.tls).await);
        assert_eq!(world.billing.quote("abc").await, Ok(3), "{}", world.strategy);
    }
}

#[tokio::test]
async fn a_connection_that_broke_comes_back_without_a_call() {
    for mut world in World::each("{}").await {
        if world.strategy == "http" {
            // HTTP connections are opened on demand and closed when idle.
            continue;
        }
        assert!(world.billing.quote("x").await.is_ok());
        let state = |world: &World| {
            format!("{:?}", world.client.inspect().route("billing").unwrap().transport)
        };
        world.stop(Duration::from_secs(1)).await;
        wait_until(|| state(&world).contains("Failed")).await;
        let word = world.strategy.split(' ').next().unwrap();
        world.server = Some(serve(&world.server_router, word, &world.address(), &world.tls).await);
        wait_until(|| state(&world) == "Some(Connected)").await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_drain_serves_large_calls_or_refuses_them_unsent() {
    for mut world in World::each("{}").await {
        if world.strategy == "http" {
            // HTTP/1.1 has no drain signal: a request can cross the close of an idle connection.
            continue;
        }
        for _ in 0..3 {
            let callers: Vec<_> =
                (0..4).map(|_| tokio::spawn(large_calls(world.client.clone()))).collect();
            wait_until(|| world.client.inspect().route("echo").unwrap().in_flight > 0).await;
            world.stop(Duration::from_secs(30)).await;
            for caller in callers {
                let error = caller.await.unwrap();
                assert_eq!(error.sent(), Sent::No, "{}: {error}", world.strategy);
            }
            let word = world.strategy.split(' ').next().unwrap();
            world.server =
                Some(serve(&world.server_router, word, &world.address(), &world.tls).await);
        }
    }
}

/// Sends large calls one after the other until one fails.
async fn large_calls(client: Router) -> Error {
    loop {
        if let Err(error) = client.call("echo", vec![7u8; 100_000]).await {
            return error;
        }
    }
}

#[tokio::test]
async fn bodies_up_to_the_limit_go_through_and_larger_ones_do_not() {
    for world in World::each("{}").await {
        for size in [0, 1, 64 << 10, (64 << 10) + 1, 1 << 20, 16 << 20] {
            let body = vec![7u8; size];
            let back = world.client.call("echo", body.clone()).await.unwrap();
            assert!(back == body, "{}: {size} bytes", world.strategy);
        }
        let error = world.client.call("echo", vec![7u8; (16 << 20) + 1]).await.unwrap_err();
        assert_eq!(
            (error.kind(), error.sent()),
            (ErrorKind::TooLarge, Sent::No),
            "{}",
            world.strategy
        );
    }
}

#[tokio::test]
async fn a_reply_over_the_limit_of_the_row_is_refused() {
    for world in World::each(r#"{"max_reply_bytes":100000}"#).await {
        assert!(world.client.call("echo", vec![7u8; 100_000]).await.is_ok(), "{}", world.strategy);
        let error = world.client.call("echo", vec![7u8; 100_001]).await.unwrap_err();
        assert_eq!(
            (error.kind(), error.sent()),
            (ErrorKind::TooLarge, Sent::Yes),
            "{}",
            world.strategy
        );
        assert!(world.client.call("echo", "x").await.is_ok(), "the connection goes on");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_call_gets_its_own_answer() {
    for world in World::each("{}").await {
        let calls: Vec<_> = (0..2000)
            .map(|n| {
                let client = world.client.clone();
                let body = format!("{n}").repeat(1 + n % 50);
                tokio::spawn(async move {
                    (client.call("echo", body.clone()).await.unwrap() == body, n)
                })
            })
            .collect();
        for call in calls {
            let (matches, n) = call.await.unwrap();
            assert!(matches, "{}: call {n}", world.strategy);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn calls_that_are_dropped_leave_nothing_behind() {
    for mut world in World::each("{}").await {
        // Drops 10,000 calls in batches: HTTP opens a connection per call and would run out of
        // them.
        for _ in 0..100 {
            drop_two_of_three(&world).await;
        }
        assert!(world.billing.quote("x").await.is_ok());
        wait_until(|| world.client.inspect().route("billing").unwrap().in_flight == 0).await;
        let start = std::time::Instant::now();
        world.stop(Duration::from_secs(60)).await;
        assert!(start.elapsed() < Duration::from_secs(30), "{}: work was left", world.strategy);
    }
}

async fn drop_two_of_three(world: &World) {
    let calls: Vec<_> = (0..150)
        .map(|n| {
            let billing = world.billing.clone();
            let call =
                tokio::spawn(
                    async move { billing.sleep(if n % 3 == 0 { 0 } else { 600_000 }).await },
                );
            (n, call)
        })
        .collect();
    for (n, call) in calls {
        if n % 3 == 0 {
            assert_eq!(call.await.unwrap(), Ok(()), "{}", world.strategy);
        } else {
            call.abort();
        }
    }
}
