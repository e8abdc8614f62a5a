//! Error types that only their own process can read: `anyhow::Error`, `eyre::Report`,
//! `Box<dyn Error + Send + Sync>`.
#![allow(unnameable_types, reason = "contracts that nobody else uses")]

use std::error::Error as StdError;
use std::fmt::Debug;

use anyhow::{Context as _, bail};
use connectivity_core::{Error, ErrorKind, MemoryRoutes, Sent, register, service};

use tests::shop::router;
use tests::wires::Wires;

/// Methods as they are in an application that uses `anyhow::Result`.
#[service]
pub trait Stock {
    async fn count(&self, item: &str) -> anyhow::Result<u64>;
}

type BoxError = Box<dyn StdError + Send + Sync>;

/// The same with boxed errors.
#[service]
pub trait Shelf {
    async fn count(&self, item: &str) -> Result<u64, BoxError>;
}

/// The same with `eyre`.
#[service]
pub trait Store {
    async fn count(&self, item: &str) -> eyre::Result<u64>;
}

struct Here;

fn refused() -> Error {
    Error::new(ErrorKind::Denied, "prices.get", "not you").with_sent(Sent::No)
}

impl Stock for Here {
    async fn count(&self, item: &str) -> anyhow::Result<u64> {
        match item {
            "broken" => bail!("no connection for user 4111"),
            "nested" => Err(refused()).context("asking for the price of 4111"),
            item => item.parse().context("4111 is no item"),
        }
    }
}

impl Shelf for Here {
    async fn count(&self, item: &str) -> Result<u64, BoxError> {
        match item {
            "broken" => Err("no connection for user 4111".into()),
            "nested" => Err(refused().into()),
            item => Ok(item.parse()?),
        }
    }
}

impl Store for Here {
    async fn count(&self, item: &str) -> eyre::Result<u64> {
        match item {
            "broken" => Err(eyre::eyre!("no connection for user 4111")),
            "nested" => Err(eyre::Report::new(refused()).wrap_err("asking for the price of 4111")),
            item => Ok(item.parse()?),
        }
    }
}

fn is_internal(error: &(dyn StdError + 'static), wire: &str) {
    let error: &Error = error.downcast_ref().unwrap_or_else(|| panic!("{wire}: {error:?}"));
    assert_eq!((error.kind(), error.sent()), (ErrorKind::Internal, Sent::Yes), "{wire}: {error}");
    assert!(!format!("{error} {error:?}").contains("4111"), "{wire}: {error}");
}

/// The error of a nested call arrives as that of any other contract: its kind and text are known,
/// and it says nothing about the call that brought it.
fn is_nested(error: &(dyn StdError + 'static), wire: &str) {
    let error: &Error = error.downcast_ref().unwrap_or_else(|| panic!("{wire}: {error:?}"));
    assert_eq!(error.kind(), ErrorKind::Denied, "{wire}: {error}");
    assert_eq!((error.name(), error.message()), ("prices.get", "not you"), "{wire}");
    assert_eq!((error.sent(), error.is_relayed()), (Sent::Maybe, true), "{wire}");
}

fn error<T: Debug, E>(result: Result<T, E>) -> E {
    result.err().unwrap()
}

#[tokio::test]
async fn a_local_call_returns_the_error_itself() {
    let routes = MemoryRoutes::new();
    let router = router(&routes);
    register!(router, Stock => Here, Shelf => Here).unwrap();
    for config in ["{}", r#"{"concurrency":3}"#] {
        for service in ["stock", "shelf"] {
            routes.set(service, "local", None, config);
        }
        router.reload().await.unwrap();
        let stock = StockClient::new(&router);
        assert_eq!(stock.count("7").await.unwrap(), 7);
        let parse = error(stock.count("x").await);
        assert!(parse.downcast_ref::<std::num::ParseIntError>().is_some(), "{config}: {parse:?}");
        assert_eq!(parse.to_string(), "4111 is no item", "{config}");
        let shelf = ShelfClient::new(&router);
        assert_eq!(error(shelf.count("broken").await).to_string(), "no connection for user 4111");
    }
}

#[tokio::test]
async fn another_process_gets_the_failure_and_not_the_text() {
    let server_router = router(&MemoryRoutes::new());
    register!(server_router, Stock => Here, Shelf => Here, Store => Here).unwrap();
    let wires = Wires::serve(&server_router, "stock").await;
    let mut clients = wires.clients(StockClient::new);
    clients.push(("a rehearsal".into(), StockClient::rehearse(Here)));
    for (wire, stock) in clients {
        assert_eq!(stock.count("7").await.unwrap(), 7, "{wire}");
        is_internal(error(stock.count("broken").await).as_ref(), &wire);
        is_internal(error(stock.count("x").await).as_ref(), &wire);
        is_nested(error(stock.count("nested").await).as_ref(), &wire);
    }
    let wires = Wires::serve(&server_router, "shelf").await;
    for (wire, shelf) in wires.clients(ShelfClient::new) {
        is_internal(&*error(shelf.count("broken").await), &wire);
        is_nested(&*error(shelf.count("nested").await), &wire);
    }
    let wires = Wires::serve(&server_router, "store").await;
    for (wire, store) in wires.clients(StoreClient::new) {
        is_internal(error(store.count("broken").await).as_ref(), &wire);
        is_nested(error(store.count("nested").await).as_ref(), &wire);
    }
}
