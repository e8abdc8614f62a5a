//! Errors that cannot be sent: their cause is logged by the process where they occur, and never
//! leaves it.
#![allow(unnameable_types, reason = "a contract that nobody else uses")]

use std::fmt::{self, Write};
use std::sync::{Arc, Mutex};

use connectivity_core::{
    Call, Codec, Error, ErrorKind, HttpTransport, MemoryRoutes, Name, Reply, Router, Sent, Server,
    register, service,
};
use serde::{Deserialize, Serialize};
use tracing::field::{Field, Visit};
use tracing::span;

use tests::shop::router;

#[derive(Debug, thiserror::Error, Serialize, Deserialize)]
pub enum StockError {
    #[error("no such item")]
    Unknown,
    #[error("the database failed")]
    #[serde(skip)]
    Database(#[from] Broken),
    #[error(transparent)]
    Connectivity(#[from] Error),
}

#[derive(Debug, thiserror::Error)]
#[error("no connection for user 4111")]
pub struct Broken(#[source] std::io::Error);

#[service]
pub trait Stock {
    async fn count(&self, item: &str) -> Result<u64, StockError>;
}

struct Here;

impl Stock for Here {
    async fn count(&self, item: &str) -> Result<u64, StockError> {
        match item {
            "none" => Err(StockError::Unknown),
            _ => Err(Broken(std::io::Error::other("password refused")).into()),
        }
    }
}

/// Collects log events as text.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<String>>);

impl Visit for Log {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        let _ = write!(self.0.lock().unwrap(), "{field}={value:?} ");
    }
}

impl tracing::Subscriber for Log {
    fn enabled(&self, metadata: &tracing::Metadata<'_>) -> bool {
        *metadata.level() <= tracing::Level::WARN
    }

    fn new_span(&self, _span: &span::Attributes<'_>) -> span::Id {
        span::Id::from_u64(1)
    }

    fn record(&self, _span: &span::Id, _values: &span::Record<'_>) {}
    fn record_follows_from(&self, _span: &span::Id, _follows: &span::Id) {}
    fn enter(&self, _span: &span::Id) {}
    fn exit(&self, _span: &span::Id) {}

    fn event(&self, event: &tracing::Event<'_>) {
        event.record(&mut self.clone());
        self.0.lock().unwrap().push('\n');
    }
}

fn is_internal(error: &Error) {
    assert_eq!((error.kind(), error.sent()), (ErrorKind::Internal, Sent::Yes), "{error}");
    let text = format!("{error} {error:?} {}", serde_json::to_string(error).unwrap());
    for private in ["4111", "password", "OtherString", "variant"] {
        assert!(!text.contains(private), "{text}");
    }
}

#[tokio::test]
async fn an_error_that_cannot_be_sent_is_internal_and_its_cause_is_logged() {
    let router = router(&MemoryRoutes::new());
    register!(router, Stock => Here).unwrap();
    let log = Log::default();
    for codec in [Codec::Json, Codec::Bincode] {
        let arguments = codec.encode(&("some",)).unwrap();
        let reply: Reply = router
            .send(Call::encoded(Name::parse("stock.count").unwrap(), codec, arguments))
            .await
            .unwrap();
        assert!(reply.is_app_error());
        let encode = || reply.encode("stock.count", codec);
        is_internal(&tracing::subscriber::with_default(log.clone(), encode).unwrap_err());
        let logged = std::mem::take(&mut *log.0.lock().unwrap());
        assert!(logged.contains("stock.count"), "{logged}");
        assert!(
            logged.contains("the database failed: no connection for user 4111: password refused"),
            "{logged}"
        );
    }
}

#[tokio::test]
async fn the_caller_over_a_wire_sees_internal() {
    let server_router = router(&MemoryRoutes::new());
    register!(server_router, Stock => Here).unwrap();
    let unix = format!("@connectivity-causes-{}", std::process::id());
    let server = Server::builder(&server_router)
        .expose(["stock"])
        .unix(&unix)
        .http("127.0.0.1:0")
        .start()
        .await
        .unwrap();
    let http = format!("http://{}/stock", server.address("http").unwrap());
    for (strategy, endpoint) in [("unix", &unix), ("http", &http)] {
        let routes = MemoryRoutes::new();
        routes.set("stock", strategy, Some(endpoint), "{}");
        let http = HttpTransport::new().allow_internal();
        let client_router =
            Router::builder().source(routes).transport("http", http).build().unwrap();
        let client = StockClient::new(&client_router);
        assert!(matches!(client.count("none").await, Err(StockError::Unknown)));
        match client.count("some").await {
            Err(StockError::Connectivity(error)) => is_internal(&error),
            other => panic!("{other:?}"),
        }
    }
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Line {
    #[serde(default = "usual", skip_serializing_if = "is_usual")]
    pub discount: u8,
    pub quantity: u8,
}

fn usual() -> u8 {
    77
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it so")]
fn is_usual(discount: &u8) -> bool {
    *discount == usual()
}

#[service]
pub trait Basket {
    async fn put(&self, line: Line) -> Result<Line, Error>;
}

impl Basket for Here {
    async fn put(&self, line: Line) -> Result<Line, Error> {
        Ok(line)
    }
}

#[tokio::test]
async fn a_method_whose_values_go_as_json_by_what_they_hold_is_told_of_once() {
    let router = router(&MemoryRoutes::new());
    register!(router, Basket => Here).unwrap();
    let log = Log::default();
    let mut logged = Vec::new();
    for discount in [1, 77, 77] {
        let line = format!(r#"{{"line":{{"discount":{discount},"quantity":2}}}}"#);
        let call = Call::encoded(
            Name::parse("basket.put").unwrap(),
            Codec::Json,
            bytes::Bytes::from(line),
        );
        let reply: Reply = router.send(call).await.unwrap();
        let encode = || reply.encode("basket.put", Codec::Bincode).unwrap();
        let (codec, _) = tracing::subscriber::with_default(log.clone(), encode);
        assert_eq!(codec == Some(Codec::Json), discount == 77);
        logged.push(std::mem::take(&mut *log.0.lock().unwrap()));
    }
    assert!(logged[0].is_empty() && logged[2].is_empty(), "{logged:?}");
    for part in ["basket.put", "`discount`", "set `codec` to `json`"] {
        assert!(logged[1].contains(part), "{logged:?}");
    }
}

/// The same with an error type that only its own process can read.
#[service]
pub trait Depot {
    async fn count(&self, item: &str) -> anyhow::Result<u64>;
}

impl Depot for Here {
    async fn count(&self, item: &str) -> anyhow::Result<u64> {
        let denied = Error::new(ErrorKind::Denied, "prices.get", "not you");
        let cause = match item {
            "nested" => anyhow::Error::new(denied),
            _ => Broken(std::io::Error::other("password refused")).into(),
        };
        Err(cause.context("counting for user 4111"))
    }
}

#[tokio::test]
async fn what_stays_behind_of_an_opaque_error_is_logged() {
    let router = router(&MemoryRoutes::new());
    register!(router, Depot => Here).unwrap();
    let log = Log::default();
    let encode = async |item: &str| {
        let arguments = Codec::Json.encode(&(item,)).unwrap();
        let call = Call::encoded(Name::parse("depot.count").unwrap(), Codec::Json, arguments);
        let reply: Reply = router.send(call).await.unwrap();
        let encode = || reply.encode("depot.count", Codec::Json);
        let encoded = tracing::subscriber::with_default(log.clone(), encode);
        (encoded, std::mem::take(&mut *log.0.lock().unwrap()))
    };
    let (encoded, logged) = encode("some").await;
    is_internal(&encoded.unwrap_err());
    let all = "counting for user 4111: no connection for user 4111: password refused";
    assert!(logged.contains("depot.count") && logged.contains(all), "{logged}");
    let (encoded, logged) = encode("nested").await;
    let (_, bytes) = encoded.unwrap();
    let nested: Error = Codec::Json.decode(&bytes).unwrap();
    assert_eq!((nested.kind(), nested.message()), (ErrorKind::Denied, "not you"));
    assert!(
        logged.contains("counting for user 4111: prices.get: not allowed: not you"),
        "{logged}"
    );
}
