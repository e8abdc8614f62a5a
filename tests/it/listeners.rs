//! User-defined listeners beside the built-in ones, and extreme limits.

use std::time::Duration;

use connectivity_core::{
    Drain, HttpTransport, Inbound, Listener, Listening, MemoryRoutes, Router, ServeError, Server,
};

/// A listener that ends as soon as it has started.
struct Short {
    panics: bool,
}

impl Listener for Short {
    fn listen(
        self: Box<Self>,
        _inbound: Inbound,
        _drain: Drain,
    ) -> connectivity_core::BoxFuture<'static, Result<Listening, ServeError>> {
        Box::pin(async move {
            Ok(Listening::new("nowhere", async move {
                assert!(!self.panics, "a listener of the user's");
            }))
        })
    }
}

#[tokio::test]
async fn a_listener_that_ends_by_itself_is_noticed() {
    for panics in [false, true] {
        let router = Router::builder().source(MemoryRoutes::new()).build().unwrap();
        router.register_raw("echo", async |bytes| Ok(bytes)).unwrap();
        let server = Server::builder(&router)
            .expose(["echo"])
            .http("127.0.0.1:0")
            .listener("own", Short { panics });
        let server = server.start().await.unwrap();
        let ended = tokio::time::timeout(Duration::from_secs(20), server.listener_ended()).await;
        assert_eq!(ended, Ok("own"), "{panics}");
        let ended = server.run_until_signal(Duration::from_secs(1)).await;
        let strategy = match ended {
            Err(ServeError::ListenerEnded { strategy }) => strategy,
            other => panic!("{other:?}"),
        };
        assert_eq!(strategy, "own", "a program that only serves ends with the reason");
    }
}

#[tokio::test]
async fn a_listener_that_is_asked_to_end_is_no_failure() {
    let router = Router::builder().source(MemoryRoutes::new()).build().unwrap();
    router.register_raw("echo", async |bytes| Ok(bytes)).unwrap();
    let server =
        Server::builder(&router).expose(["echo"]).http("127.0.0.1:0").start().await.unwrap();
    let ended = server.listener_ended();
    let result = tokio::time::timeout(Duration::ZERO, ended).await;
    assert!(result.is_err(), "it goes on");
    server.shutdown(Duration::from_secs(1)).await;
}

#[tokio::test]
async fn a_limit_can_be_as_long_as_can_be() {
    let router = Router::builder().source(MemoryRoutes::new()).build().unwrap();
    router.register_raw("echo", async |bytes| Ok(bytes)).unwrap();
    let http = connectivity_core::HttpListener::new("127.0.0.1:0").max_connections(usize::MAX);
    let http =
        http.gateway(|gateway| gateway.body_timeout(Duration::MAX).max_timeout(Duration::MAX));
    let server =
        Server::builder(&router).expose(["echo"]).listener("http", http).start().await.unwrap();
    let routes = MemoryRoutes::new();
    routes.set(
        "echo",
        "http",
        Some(&format!("http://{}/echo", server.address("http").unwrap())),
        "{}",
    );
    let client =
        Router::builder().source(routes).transport("http", HttpTransport::new().allow_internal());
    let client = client
        .layer(connectivity_core::layer::RetryLayer::new(1).backoff(Duration::MAX))
        .build()
        .unwrap();
    let call = connectivity_core::context::timeout(Duration::MAX, client.call("echo", "x"));
    assert_eq!(call.await.unwrap().unwrap(), "x");
    server.shutdown(Duration::MAX).await;
}
