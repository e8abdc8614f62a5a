//! Rows of strategy `dbsync`: targets of a publisher, and what their calls answer.

use connectivity_core::{ErrorKind, MemoryRoutes, RouteState, Router};
use serde_json::Value;

use super::*;

const TABLE: &str = "CREATE TABLE t (v INT); INSERT INTO t VALUES (1)";
const VALUE: &str = "SELECT v FROM t";

async fn status(router: &Router, name: &str) -> Value {
    serde_json::from_slice(&router.call(name, "").await.unwrap()).unwrap()
}

fn config(edge: &Edge) -> String {
    format!(r#"{{"pin_sha256":"{}"}}"#, pin_of(&edge.identity))
}

#[tokio::test]
async fn a_row_is_a_target_for_as_long_as_it_is_in_force() {
    let (source, edge) = (Source::new(TABLE), Edge::start().await);
    let publisher =
        Publisher::builder(source.path(), Filter::new().table("t")).start().await.unwrap();
    let routes = MemoryRoutes::new();
    let router = Router::builder()
        .source(routes.clone())
        .transport("dbsync", publisher.transport())
        .build()
        .unwrap();
    let endpoint = edge.listener.address().to_owned();
    routes.set("dbsync:edge", "noop", Some(&endpoint), &config(&edge));
    routes.set("status", "dbsync", Some(&endpoint), &config(&edge));
    router.reload().await.unwrap();
    assert!(publisher.status().targets.is_empty(), "neither is a target");
    until("there is a snapshot", || publisher.status().last_snapshot.is_some()).await;
    let answer = status(&router, "status").await;
    assert_eq!((&answer["role"], &answer["status"]), (&"publisher".into(), &"ok".into()));
    assert_eq!(answer["last_snapshot"]["hash"].as_str().unwrap().len(), 64);

    routes.set("dbsync:edge", "dbsync", Some(&endpoint), &config(&edge));
    router.reload().await.unwrap();
    edge.sees(VALUE, 1).await;
    until("it is known to be delivered", || publisher.status().targets[0].delivered.is_some())
        .await;
    let answer = status(&router, "dbsync:edge").await;
    assert_eq!((&answer["status"], &answer["endpoint"]), (&"ok".into(), &endpoint.into()));
    assert_eq!(answer["delivered"], answer["last_snapshot"]["version"]);

    routes.remove("dbsync:edge");
    router.reload().await.unwrap();
    until("it is none any more", || publisher.status().targets.is_empty()).await;
    let before = publisher.status().last_snapshot;
    source.run("UPDATE t SET v = 2");
    until("a snapshot is made", || publisher.status().last_snapshot != before).await;
    assert_eq!(number(&edge.reader(), VALUE), Ok(1));
}

#[tokio::test]
async fn the_status_of_a_target_that_is_not_reached_says_so() {
    let source = Source::new(TABLE);
    let publisher =
        Publisher::builder(source.path(), Filter::new().table("t")).start().await.unwrap();
    let closed = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let routes = MemoryRoutes::new();
    routes.set("dbsync:edge", "dbsync", Some(&closed.local_addr().unwrap().to_string()), "{}");
    let router = Router::builder()
        .source(routes)
        .transport("dbsync", publisher.transport())
        .build()
        .unwrap();
    let mut answer = Value::Null;
    while answer["status"] != "failed" {
        answer = status(&router, "dbsync:edge").await;
        assert!(answer["status"] == "pending" || answer["error"].is_string(), "{answer}");
        tokio::task::yield_now().await;
    }
    assert!(answer["error"].as_str().unwrap().contains("nobody answers"), "{answer}");
}

#[tokio::test]
async fn a_subscriber_answers_as_the_original() {
    let (source, edge) = (Source::new(TABLE), Edge::start().await);
    let routes = MemoryRoutes::new();
    routes.set("replica", "dbsync", None, "{}");
    let router = Router::builder()
        .source(routes)
        .transport("dbsync", edge.subscriber.transport())
        .build()
        .unwrap();
    let empty = status(&router, "replica").await;
    assert_eq!((&empty["role"], &empty["has_db"]), (&"subscriber".into(), &false.into()));
    assert_eq!(empty["status"], "empty");
    let _publisher = source.publish(Filter::new().table("t"), &edge).await;
    edge.sees(VALUE, 1).await;
    let full = status(&router, "replica").await;
    assert_eq!((&full["status"], &full["has_db"]), (&"ok".into(), &true.into()));
    assert_eq!(full["last_version"], edge.reader().snapshot().version);
    assert_eq!(full["last_hash"], *edge.reader().snapshot().hash);
    assert!(full["age_seconds"].is_u64() && full["last_swap_at"].is_string(), "{full}");
}

#[tokio::test]
async fn a_process_that_is_neither_says_so() {
    let routes = MemoryRoutes::new();
    routes.set("dbsync:edge", "dbsync", Some("10.0.0.7:4437"), "{}");
    let router = Router::builder().source(routes).build().unwrap();
    let error = router.call("dbsync:edge", "").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotRoutable);
    assert!(error.message().contains("publisher.transport()"), "{error}");
    let inspection = router.inspect();
    let route = inspection.route("dbsync:edge").unwrap();
    assert_eq!(route.state, RouteState::InForce);
    assert!(route.warnings.iter().any(|warning| warning.contains("neither")));
}

#[tokio::test]
async fn a_row_with_an_endpoint_that_is_none_is_bad() {
    let source = Source::new(TABLE);
    let publisher =
        Publisher::builder(source.path(), Filter::new().table("t")).start().await.unwrap();
    let routes = MemoryRoutes::new();
    routes.set("dbsync:edge", "dbsync", Some("10.0.0.7"), "{}");
    routes.set("dbsync:none", "dbsync", None, "{}");
    let router = Router::builder()
        .source(routes)
        .transport("dbsync", publisher.transport())
        .build()
        .unwrap();
    for (name, problem) in [("dbsync:edge", "it has no port"), ("dbsync:none", "needs one")] {
        let error = router.call(name, "").await.unwrap_err();
        assert!(error.message().contains(problem), "{error}");
    }
    let error = Publisher::builder(source.dir.path().join("shop.db"), Filter::new().table("t"))
        .directory(source.dir.path().join("other"))
        .target("10.0.0.7", RouteTls::default())
        .start()
        .await
        .unwrap_err();
    assert!(error.to_string().starts_with("target `10.0.0.7`"), "{error}");
}
