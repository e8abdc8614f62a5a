//! Traits under `#[async_trait]`: what uses them stays as it is, and their calls go by rows.

use std::fmt::Debug;
use std::sync::Arc;

use async_trait::async_trait;
use connectivity_core::{Error, MemoryRoutes, Router, Server, register, service};
use mockall::predicate::eq;
use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, PartialEq, thiserror::Error, Serialize, Deserialize)]
pub enum LedgerError {
    #[error("no account {0}")]
    NoAccount(String),
    #[error(transparent)]
    Connectivity(#[from] Error),
}

/// Keeps accounts.
#[service]
#[mockall::automock]
#[async_trait]
pub trait Ledger: Send + Sync + Debug + 'static {
    /// Returns what an account holds.
    #[readonly]
    async fn balance(&self, account: &str) -> Result<i64, LedgerError>;

    async fn transfer(&self, from: &str, to: &str, cents: i64) -> Result<i64, LedgerError>;

    #[noop = Vec::new()]
    async fn names(&self) -> Result<Vec<String>, LedgerError>;

    async fn lifetimes<'a>(
        &'a self,
        one: &'a str,
        other: Option<&'a str>,
    ) -> Result<usize, LedgerError>;

    /// A method with a body, which implementations need not write.
    async fn is_empty(&self) -> Result<bool, LedgerError> {
        Ok(self.names().await?.is_empty())
    }
}

/// An implementation as it was before.
#[derive(Debug)]
struct Books(&'static str);

#[async_trait]
impl Ledger for Books {
    async fn balance(&self, account: &str) -> Result<i64, LedgerError> {
        match account {
            "nobody" => Err(LedgerError::NoAccount(account.to_owned())),
            account => Ok(account.len() as i64),
        }
    }

    async fn transfer(&self, from: &str, to: &str, cents: i64) -> Result<i64, LedgerError> {
        tokio::task::yield_now().await;
        Ok(cents - (from.len() + to.len()) as i64)
    }

    async fn lifetimes<'a>(
        &'a self,
        one: &'a str,
        other: Option<&'a str>,
    ) -> Result<usize, LedgerError> {
        Ok(one.len() + other.map_or(0, str::len))
    }

    async fn names(&self) -> Result<Vec<String>, LedgerError> {
        Ok(vec![self.0.to_owned()])
    }
}

/// A consumer as it was before.
struct Checkout {
    ledger: Arc<dyn Ledger>,
}

impl Checkout {
    async fn who(&self) -> String {
        self.ledger.names().await.unwrap().concat()
    }
}

async fn everything_works(ledger: Arc<dyn Ledger>) {
    assert_eq!(ledger.balance("alice").await, Ok(5));
    assert_eq!(ledger.balance("nobody").await, Err(LedgerError::NoAccount("nobody".into())));
    assert_eq!(ledger.transfer("alice", "bob", 10).await, Ok(2));
    assert_eq!(ledger.is_empty().await, Ok(false));
    assert_eq!(ledger.lifetimes("ab", Some("c")).await, Ok(3));
}

fn router(routes: &MemoryRoutes) -> Router {
    Router::builder().source(routes.clone()).build().unwrap()
}

#[tokio::test]
async fn a_client_goes_where_the_trait_object_went_and_its_row_moves_it() {
    let server_router = router(&MemoryRoutes::new());
    register!(server_router, Ledger => Books("there")).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("ledger.sock").display().to_string();
    let server = Server::builder(&server_router).expose(["ledger"]).unix(&path).start();
    let _server = server.await.unwrap();

    let routes = MemoryRoutes::new();
    let client_router = router(&routes);
    register!(client_router, Ledger => Books("here")).unwrap();
    let client = LedgerClient::new(&client_router);
    let checkout = Checkout { ledger: Arc::new(client.clone()) };
    for (strategy, served_by) in [("local", "here"), ("unix", "there"), ("noop", "")] {
        routes.set("ledger", strategy, Some(&path), "{}");
        client_router.reload().await.unwrap();
        assert_eq!(checkout.who().await, served_by, "{strategy}");
        if strategy != "noop" {
            everything_works(Arc::clone(&checkout.ledger)).await;
        }
    }
    let limited = r#"{"concurrency":1}"#;
    routes.set("ledger", "local", None, limited);
    client_router.reload().await.unwrap();
    everything_works(Arc::new(client)).await;
}

#[tokio::test]
async fn mocks_and_shared_implementations_register_as_they_are() {
    let mut mock = MockLedger::new();
    mock.expect_balance().with(eq("alice")).times(2).returning(|_| Ok(7));
    let mock: Arc<dyn Ledger + Send + Sync> = Arc::new(mock);
    assert_eq!(mock.balance("alice").await, Ok(7));
    let router = router(&MemoryRoutes::new());
    router.register(LedgerService::from_arc(mock)).unwrap();
    assert_eq!(LedgerClient::new(&router).balance("alice").await, Ok(7));
    let direct = LedgerClient::direct(Books("direct"));
    everything_works(Arc::new(direct)).await;
}

/// The same arguments in a trait without `async_trait`.
#[service]
pub trait Search {
    async fn find(&self, text: Option<&str>, limit: Option<&u64>) -> Result<String, Error>;
}

/// The same, under `async_trait`.
#[service]
#[async_trait]
pub trait Lookup: Send + Sync {
    async fn look(&self, text: Option<&str>, tags: Option<&[u8]>) -> Result<String, Error>;
}

struct Index;

#[async_trait]
impl Lookup for Index {
    async fn look(&self, text: Option<&str>, tags: Option<&[u8]>) -> Result<String, Error> {
        Ok(format!("{text:?} {tags:?}"))
    }
}

impl Search for Index {
    async fn find(&self, text: Option<&str>, limit: Option<&u64>) -> Result<String, Error> {
        Ok(format!("{text:?} {limit:?}"))
    }
}

#[tokio::test]
async fn what_an_option_holds_can_be_borrowed() {
    let server_router = router(&MemoryRoutes::new());
    register!(server_router, Search => Index, Lookup => Index).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("search.sock").display().to_string();
    let server = Server::builder(&server_router).expose(["search", "lookup"]).unix(&path).start();
    let _server = server.await.unwrap();
    let routes = MemoryRoutes::new();
    routes.set("search", "unix", Some(&path), "{}");
    routes.set("lookup", "unix", Some(&path), "{}");
    for lookup in [LookupClient::direct(Index), LookupClient::new(&router(&routes))] {
        let lookup: Arc<dyn Lookup> = Arc::new(lookup);
        assert_eq!(lookup.look(Some("a"), Some(&[3])).await.unwrap(), r#"Some("a") Some([3])"#);
        assert_eq!(lookup.look(None, None).await.unwrap(), "None None");
    }
    for search in [SearchClient::direct(Index), SearchClient::new(&router(&routes))] {
        assert_eq!(search.find(Some("a"), Some(&3)).await.unwrap(), r#"Some("a") Some(3)"#);
        assert_eq!(search.find(None, None).await.unwrap(), "None None");
    }
}
