//! Two programs with different versions of a contract: compatible methods keep working,
//! incompatible ones are refused before they run.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use connectivity_core::{
    Call, Codec, Error, ErrorKind, Exposure, HttpTransport, MemoryRoutes, Name, Router, Sent,
    Server, Tls, register,
};
use serde::{Deserialize, Serialize};

use tests::shop::router;

#[derive(Debug, PartialEq, thiserror::Error, Serialize, Deserialize)]
pub enum OrdersError {
    #[error(transparent)]
    Connectivity(#[from] Error),
}

impl OrdersError {
    fn inner(self) -> Error {
        let Self::Connectivity(error) = self;
        error
    }
}

/// Counts the calls that an implementation ran.
#[derive(Clone, Debug, Default)]
pub struct Ran(Arc<AtomicUsize>);

impl Ran {
    fn count(&self) -> usize {
        self.0.load(Ordering::SeqCst)
    }

    fn one<T>(&self, value: T) -> Result<T, OrdersError> {
        self.0.fetch_add(1, Ordering::SeqCst);
        Ok(value)
    }
}

pub mod v1 {
    use connectivity_core::service;
    use serde::{Deserialize, Serialize};

    use super::{OrdersError, Ran};

    #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
    pub struct Order {
        pub id: String,
        pub lines: Vec<(String, u32)>,
    }

    #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
    pub enum State {
        Open,
        Paid(u64),
    }

    #[service]
    pub trait Orders {
        async fn place(&self, order: Order) -> Result<Order, OrdersError>;
        async fn mark(&self, state: State) -> Result<State, OrdersError>;
        async fn cancel(&self, id: u64) -> Result<(), OrdersError>;
        async fn total(&self) -> Result<u64, OrdersError>;
        async fn annotate(&self, note: serde_json::Value) -> Result<(), OrdersError>;
        async fn list(&self, limit: u32) -> Result<u32, OrdersError>;
        async fn ping(&self) -> Result<u8, OrdersError>;
    }

    impl Orders for Ran {
        async fn place(&self, order: Order) -> Result<Order, OrdersError> {
            self.one(order)
        }

        async fn mark(&self, state: State) -> Result<State, OrdersError> {
            self.one(state)
        }

        async fn cancel(&self, _id: u64) -> Result<(), OrdersError> {
            self.one(())
        }

        async fn total(&self) -> Result<u64, OrdersError> {
            self.one(17)
        }

        async fn annotate(&self, _note: serde_json::Value) -> Result<(), OrdersError> {
            self.one(())
        }

        async fn list(&self, limit: u32) -> Result<u32, OrdersError> {
            self.one(limit)
        }

        async fn ping(&self) -> Result<u8, OrdersError> {
            self.one(1)
        }
    }
}

pub mod v2 {
    use connectivity_core::service;
    use serde::{Deserialize, Serialize};

    use super::{OrdersError, Ran};

    #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
    pub struct Order {
        pub id: String,
        pub note: Option<String>,
        pub lines: Vec<(String, u32)>,
    }

    #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
    pub enum State {
        Lost,
        Open,
        Paid(u64),
    }

    #[service]
    pub trait Orders {
        async fn place(&self, order: Order) -> Result<Order, OrdersError>;
        async fn mark(&self, state: State) -> Result<State, OrdersError>;
        async fn cancel(&self, id: String) -> Result<(), OrdersError>;
        async fn total(&self) -> Result<String, OrdersError>;
        async fn annotate(&self, note: serde_json::Value) -> Result<(), OrdersError>;
        async fn list(&self, limit: u32, after: Option<String>) -> Result<u32, OrdersError>;
        async fn track(&self, id: String) -> Result<(), OrdersError>;
        async fn ping(&self) -> Result<u8, OrdersError>;
    }

    impl Orders for Ran {
        async fn place(&self, order: Order) -> Result<Order, OrdersError> {
            self.one(order)
        }

        async fn mark(&self, _state: State) -> Result<State, OrdersError> {
            self.one(State::Lost)
        }

        async fn cancel(&self, _id: String) -> Result<(), OrdersError> {
            self.one(())
        }

        async fn total(&self) -> Result<String, OrdersError> {
            self.one("17".to_owned())
        }

        async fn annotate(&self, _note: serde_json::Value) -> Result<(), OrdersError> {
            self.one(())
        }

        async fn list(&self, limit: u32, after: Option<String>) -> Result<u32, OrdersError> {
            assert_eq!(after, None);
            self.one(limit)
        }

        async fn track(&self, _id: String) -> Result<(), OrdersError> {
            self.one(())
        }

        async fn ping(&self) -> Result<u8, OrdersError> {
            self.one(1)
        }
    }
}

const STRATEGIES: [&str; 3] = ["http", "quic", "unix"];

/// A server with either version of the contract.
struct TestServer {
    handle: Server,
    strategy: &'static str,
    address: String,
    config: String,
    ran: Ran,
}

/// Returns an unused address to listen on.
fn unused_address(strategy: &str) -> String {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    match strategy {
        "unix" => format!(
            "@connectivity-contract-{}-{}",
            std::process::id(),
            NEXT.fetch_add(1, Ordering::SeqCst)
        ),
        _ => "127.0.0.1:0".to_owned(),
    }
}

async fn serve(router: &Router, strategy: &'static str, address: &str, ran: Ran) -> TestServer {
    let tls = Tls::self_signed(["localhost"]).unwrap();
    let (builder, pin) = (Server::builder(router).expose(["orders"]), tls.pin_sha256());
    let (builder, config) = match strategy {
        "http" => (builder.http(address), "{}".to_owned()),
        "unix" => (builder.unix(address), "{}".to_owned()),
        _ => (builder.quic(address, tls), format!(r#"{{"pin_sha256":"{pin}"}}"#)),
    };
    let handle = builder.start().await.unwrap();
    let address = handle.address(strategy).unwrap().to_owned();
    TestServer { handle, strategy, address, config, ran }
}

async fn old_server(strategy: &'static str, address: &str) -> TestServer {
    let (router, ran) = (router(&MemoryRoutes::new()), Ran::default());
    register!(router, v1::Orders => ran.clone()).unwrap();
    serve(&router, strategy, address, ran).await
}

async fn new_server(strategy: &'static str, address: &str) -> TestServer {
    let (router, ran) = (router(&MemoryRoutes::new()), Ran::default());
    register!(router, v2::Orders => ran.clone()).unwrap();
    serve(&router, strategy, address, ran).await
}

/// Returns a router with one row, which points to `server`.
fn client_router(server: &TestServer) -> Router {
    let routes = MemoryRoutes::new();
    let endpoint = match server.strategy {
        "http" => format!("http://{}/orders", server.address),
        _ => server.address.clone(),
    };
    routes.set("orders", server.strategy, Some(&endpoint), &server.config);
    let http = HttpTransport::new().allow_internal();
    Router::builder().source(routes).transport("http", http).build().unwrap()
}

fn warnings(router: &Router) -> Vec<String> {
    router.inspect().route("orders").unwrap().warnings.clone()
}

#[tokio::test]
async fn an_implementation_of_another_contract_than_that_of_a_client_is_refused_with_the_difference()
 {
    let router = Router::builder().source(MemoryRoutes::new()).build().unwrap();
    let _client = v1::OrdersClient::new(&router);
    let refused = register!(router, v2::Orders => Ran::default()).unwrap_err().to_string();
    assert!(
        refused.starts_with("`orders` cannot be registered: a client of another contract"),
        "{refused}"
    );
    assert!(refused.ends_with("the client has no method `track`"), "{refused}");
    let refused = router.register_raw("orders", async |bytes| Ok(bytes)).unwrap_err().to_string();
    assert!(
        refused.ends_with("that client is of a typed service, and this one is raw"),
        "{refused}"
    );
}

#[tokio::test]
async fn equal_contracts_go_as_bincode_without_a_word() {
    for strategy in STRATEGIES {
        let server = new_server(strategy, &unused_address(strategy)).await;
        let router = client_router(&server);
        let orders = v2::OrdersClient::new(&router);
        let order = v2::Order {
            id: "17".into(),
            note: Some("gift".into()),
            lines: vec![("pen".into(), 2)],
        };
        assert_eq!(orders.place(order.clone()).await, Ok(order));
        assert_eq!(orders.mark(v2::State::Lost).await, Ok(v2::State::Lost));
        assert_eq!(warnings(&router), [""; 0]);
    }
}

#[tokio::test]
async fn one_more_optional_field_works_in_both_directions() {
    for strategy in STRATEGIES {
        let server = new_server(strategy, &unused_address(strategy)).await;
        let router = client_router(&server);
        let old = v1::OrdersClient::new(&router);
        let order = v1::Order { id: "17".into(), lines: vec![("pen".into(), 2)] };
        for _ in 0..3 {
            assert_eq!(old.place(order.clone()).await, Ok(order.clone()));
            assert_eq!(old.list(5).await, Ok(5));
        }
        assert_eq!(server.ran.count(), 6);

        let server = old_server(strategy, &unused_address(strategy)).await;
        let router = client_router(&server);
        let new = v2::OrdersClient::new(&router);
        let order = v2::Order { id: "17".into(), note: None, lines: vec![] };
        for _ in 0..3 {
            assert_eq!(new.place(order.clone()).await, Ok(order.clone()));
            assert_eq!(new.list(5, None).await, Ok(5));
        }
        assert_eq!(server.ran.count(), 6);
        let error = new.list(5, Some("17".into())).await.unwrap_err().inner();
        assert_eq!(
            (error.kind(), error.sent()),
            (ErrorKind::Contract, Sent::No),
            "an argument would be lost: {error}"
        );
        assert_eq!(new.ping().await, Ok(1));
        let warnings = warnings(&router);
        assert_eq!(warnings.len(), 2, "not ping: {warnings:?}");
        assert_eq!(
            warnings[0],
            "orders.list goes as JSON: the contracts differ; \
             here `list(limit: u32, after: option<string>) -> u32 ! enum{Connectivity(error)}`, \
             there `list(limit: u32) -> u32 ! enum{Connectivity(error)}`"
        );
    }
}

#[tokio::test]
async fn one_more_variant_works_unless_it_is_sent() {
    for strategy in STRATEGIES {
        let server = old_server(strategy, &unused_address(strategy)).await;
        let new = v2::OrdersClient::new(&client_router(&server));
        // As bincode, `Open` of one version is `Paid` of the other.
        assert_eq!(new.mark(v2::State::Open).await, Ok(v2::State::Open));
        assert_eq!(new.mark(v2::State::Paid(5)).await, Ok(v2::State::Paid(5)));
        let error = new.mark(v2::State::Lost).await.unwrap_err().inner();
        assert_eq!((error.kind(), error.sent()), (ErrorKind::Contract, Sent::No));
        assert!(
            error
                .message()
                .contains("the argument `state`: unknown variant, expected `Open` or `Paid`"),
            "{error}"
        );
        assert_eq!(server.ran.count(), 2);

        let server = new_server(strategy, &unused_address(strategy)).await;
        let old = v1::OrdersClient::new(&client_router(&server));
        let error = old.mark(v1::State::Open).await.unwrap_err().inner();
        assert_eq!(
            (error.kind(), error.sent()),
            (ErrorKind::Contract, Sent::Yes),
            "the reply is the new variant"
        );
        assert_eq!(server.ran.count(), 1);
    }
}

#[tokio::test]
async fn one_more_method_is_unimplemented_at_the_old_end_only() {
    for strategy in STRATEGIES {
        let server = new_server(strategy, &unused_address(strategy)).await;
        assert_eq!(v1::OrdersClient::new(&client_router(&server)).ping().await, Ok(1));

        let server = old_server(strategy, &unused_address(strategy)).await;
        let new = v2::OrdersClient::new(&client_router(&server));
        let error = new.track("17".into()).await.unwrap_err().inner();
        assert_eq!((error.kind(), error.sent()), (ErrorKind::Unimplemented, Sent::No));
        assert_eq!(new.ping().await, Ok(1));
    }
}

#[tokio::test]
async fn an_incompatible_change_is_told_before_anything_runs() {
    for strategy in STRATEGIES {
        let server = old_server(strategy, &unused_address(strategy)).await;
        let new = v2::OrdersClient::new(&client_router(&server));
        for _ in 0..2 {
            let error = new.cancel("17".into()).await.unwrap_err().inner();
            assert_eq!(
                (error.kind(), error.sent(), error.name()),
                (ErrorKind::Contract, Sent::No, "orders.cancel"),
                "{error}"
            );
            let (here, there) =
                ("here `cancel(id: string) -> unit", "there `cancel(id: u64) -> unit");
            assert!(error.message().contains(here) && error.message().contains(there), "{error}");
        }
        assert_eq!(server.ran.count(), 0);

        let error = new.total().await.unwrap_err().inner();
        assert_eq!(
            (error.kind(), error.sent()),
            (ErrorKind::Contract, Sent::Yes),
            "it ran, and its reply is another"
        );
        assert!(error.message().contains("there `total() -> u64"), "{error}");
        assert_eq!(server.ran.count(), 1);
    }
}

#[tokio::test]
async fn what_bincode_cannot_carry_goes_as_json_from_the_start() {
    for strategy in STRATEGIES {
        let server = old_server(strategy, &unused_address(strategy)).await;
        let router = client_router(&server);
        let orders = v1::OrdersClient::new(&router);
        assert_eq!(orders.annotate(serde_json::json!({"a": [1, null, "b"]})).await, Ok(()));
        assert_eq!(
            warnings(&router),
            ["orders.annotate goes as JSON: bincode cannot carry note: a value of `serde_json`"]
        );
    }
}

#[tokio::test]
async fn bincode_without_a_fingerprint_is_refused_unread() {
    for strategy in STRATEGIES {
        let server = old_server(strategy, &unused_address(strategy)).await;
        // This program has no contract for the name: there is nothing to compare, and nothing to
        // encode again.
        let router = client_router(&server);
        let call = Call::encoded(Name::parse("orders.cancel").unwrap(), Codec::Bincode, vec![7u8]);
        let error = router.send(call).await.unwrap_err();
        assert_eq!((error.kind(), error.sent()), (ErrorKind::Contract, Sent::No));
        assert!(error.message().contains("`cancel(id: u64) -> unit"), "{error}");
        let call = Call::encoded(Name::parse("orders.cancel").unwrap(), Codec::Json, r#"{"id":7}"#);
        assert!(!router.send(call).await.unwrap().is_app_error());
        assert_eq!(server.ran.count(), 1);
    }
}

#[tokio::test]
async fn a_far_end_that_catches_up_gets_bincode_again() {
    let server = old_server("http", &unused_address("http")).await;
    let address = server.address.clone();
    let router = client_router(&server);
    let new = v2::OrdersClient::new(&router);
    assert_eq!(new.list(5, None).await, Ok(5));
    assert_eq!(warnings(&router).len(), 1);
    server.handle.shutdown(Duration::from_secs(5)).await;

    let server = new_server("http", &address).await;
    for _ in 0..100 {
        assert_eq!(warnings(&router).len(), 1, "one answer is no proof");
        assert_eq!(new.list(5, None).await, Ok(5));
    }
    assert_eq!(warnings(&router), [""; 0]);
    assert_eq!(new.list(5, None).await, Ok(5));
    assert_eq!(server.ran.count(), 101);
}

#[tokio::test]
async fn a_new_connection_asks_anew_what_the_far_end_is() {
    let server = old_server("unix", &unused_address("unix")).await;
    let (router, address) = (client_router(&server), server.address.clone());
    let new = v2::OrdersClient::new(&router);
    assert_eq!(new.list(5, None).await, Ok(5));
    assert_eq!(warnings(&router).len(), 1);
    server.handle.shutdown(Duration::from_secs(5)).await;

    let _server = new_server("unix", &address).await;
    for _ in 0..2 {
        assert_eq!(new.list(5, None).await, Ok(5));
    }
    assert_eq!(warnings(&router), [""; 0]);
}

#[tokio::test]
async fn the_shape_of_a_method_can_be_read() {
    let router = router(&MemoryRoutes::new());
    register!(router, v2::Orders => Ran::default()).unwrap();
    let inbound = router.inbound(Exposure::all());
    let list = inbound.method("orders.list").unwrap().unwrap();
    assert_eq!(
        list.shape().text(),
        "list(limit: u32, after: option<string>) -> u32 ! enum{Connectivity(error)}"
    );
    assert_eq!(list.fingerprint(), list.shape().fingerprint());
    let annotate = inbound.method("orders.annotate").unwrap().unwrap();
    assert_eq!(annotate.shape().unsupported_by_bincode().unwrap().path(), "note");
}
