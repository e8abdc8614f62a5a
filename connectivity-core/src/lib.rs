//! Typed calls between the services of a program, moved between processes by a row in a SQLite
//! table, at run time.
//!
//! # The problem
//!
//! A modular monolith is a good start, but some day a part of it must run in another process.
//! Usually that means rewriting its calls, redeploying for each change of plan, and losing calls in
//! between. With this crate a call is written once, and a row decides where it goes:
//!
//! ```text
//!   orders ──► BillingClient ──► Router ──► table ──┬─ local   Stripe, in this process: a plain function call
//!                                  ▲                ├─ unix    the same trait, in another process on this machine
//!   UPDATE routes SET strategy ────┘                ├─ quic    on any machine, authenticated and encrypted
//!                                                   ├─ http    for curl, proxies and other languages too
//!                                                   ├─ noop    nowhere: switched off
//!                                                   └─ yours   a custom transport
//! ```
//!
//! # An example
//!
//! ```
//! use connectivity_core::{Error, MemoryRoutes, Router, register, service};
//!
//! #[service]
//! pub trait Greeter {
//!     /// Greets a person.
//!     #[noop = String::new()]
//!     async fn greet(&self, name: &str) -> Result<String, Error>;
//! }
//!
//! struct Polite;
//!
//! impl Greeter for Polite {
//!     async fn greet(&self, name: &str) -> Result<String, Error> {
//!         Ok(format!("Good day, {name}"))
//!     }
//! }
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let routes = MemoryRoutes::new(); // in a program: `Router::open_or_create("routes.db").await?`
//! let router = Router::builder().source(routes.clone()).build()?;
//! register!(router, Greeter => Polite)?;
//! let greeter = GreeterClient::new(&router);
//! assert_eq!(greeter.greet("Ada").await?, "Good day, Ada");
//!
//! routes.set("greeter", "noop", None, "{}"); // in a shell: UPDATE routes SET strategy='noop' WHERE service_name='greeter';
//! router.reload().await?; // a router notices a change within about a millisecond; this waits for it
//! assert_eq!(greeter.greet("Ada").await?, "");
//! # Ok(())
//! # }
//! ```
//!
//! # Where things are
//!
//! | to | see |
//! | --- | --- |
//! | write a contract | [`service`](macro@service), [`register!`] |
//! | send calls | [`Router`], [`RouterBuilder`], [`Error`] |
//! | set deadlines and metadata, read the peer | [`context`] |
//! | serve other processes | [`Server`], [`Gateway`], [`Exposure`] |
//! | serve agents (feature `mcp`) | `Mcp`, `McpListener` |
//! | configure identities and trust | [`Tls`], [`RouteTls`] |
//! | choose the source of rows | [`SqliteRoutes`], [`MemoryRoutes`], [`RouteSource`] |
//! | change rows in code | [`Router::admin`], [`Admin`] |
//! | inspect the routes in force | [`Router::inspect`], [`Inspection`] |
//! | observe every call | [`layer`], [`Router::layer`], [`Call`], [`Reply`], [`CallService`] |
//! | handle failures: retry, timeout, circuit breaker | [`layer`], [`CircuitBreaker`] |
//! | reach another kind of server | [`HttpTransport`], [`Transport`], [`Listener`] |
//! | call tools of MCP servers (feature `mcp`) | `McpTransport` |
//! | turn texts into vectors (feature `embed`) | `embed::EmbedderClient` |
//! | replicate tables to other processes (feature `dbsync`) | `dbsync::Publisher`, `dbsync::Subscriber` |
//!
//! # Features
//!
//! Default: `router`, `sqlite`, `http`, `https`, `gateway`, `unix`, `quic`. Optional: `mcp`, `embed`, `dbsync`. With
//! `default-features = false` the crate has only what a crate of contracts needs: the macro,
//! [`Error`], [`context`] and the codecs, without SQLite and transports.

mod call;
mod codec;
pub mod context;
#[cfg(feature = "dbsync")]
pub mod dbsync;
#[cfg(feature = "router")]
mod defaults;
#[cfg(feature = "embed")]
pub mod embed;
mod error;
#[cfg(feature = "router")]
mod fast_hash;
#[cfg(any(feature = "http", feature = "gateway"))]
mod http;
#[cfg(feature = "router")]
pub mod layer;
#[cfg(feature = "mcp")]
mod mcp;
#[cfg(feature = "router")]
mod missing;
#[cfg(feature = "wire")]
mod mux;
mod name;
#[cfg(feature = "quic")]
mod quic;
#[cfg(feature = "router")]
mod router;
#[cfg(feature = "router")]
mod routes;
#[cfg(feature = "router")]
mod server;
mod service;
mod shape;
#[cfg(feature = "tls")]
#[cfg_attr(
    not(all(feature = "https", feature = "quic")),
    allow(dead_code, unused_imports, reason = "each transport uses a part of it")
)]
mod tls;
#[cfg(feature = "router")]
mod transport;
#[cfg(feature = "unix")]
mod unix;
#[cfg(feature = "router")]
mod utc;

#[doc(hidden)]
pub mod __private;
#[cfg(all(fuzzing, feature = "wire"))]
#[doc(hidden)]
pub mod fuzzing;

pub use call::{
    Body, BoxFuture, Call, CallService, MethodDesc, Payload, Reply, RouteTag, ServiceDesc,
};
pub use codec::{Codec, CodecError};
#[doc = include_str!("docs/service.md")]
pub use connectivity_macros::service;
pub use context::OrInternal;
pub use error::{Error, ErrorKind, Sent};
#[cfg(feature = "http")]
pub use http::HttpTransport;
#[cfg(feature = "gateway")]
pub use http::{Gateway, HttpListener};
#[cfg(feature = "router")]
pub use layer::breaker::{BreakerState, CircuitBreaker, CircuitBreakerBuilder};
#[cfg(feature = "mcp")]
pub use mcp::{Mcp, McpListener, McpTransport, RawForm};
pub use name::{Name, NameError};
#[cfg(feature = "quic")]
pub use quic::{QuicListener, QuicTransport};
#[cfg(feature = "router")]
pub use router::{
    Inspection, LastError, MissingRow, OpenError, RawService, RegisterError, RouteInfo, RouteState,
    Router, RouterBuilder, ServiceInfo,
};
#[cfg(feature = "router")]
pub use routes::{
    Added, ChangeFn, Field, HeaderValue, MemoryRoutes, Route, RouteConfig, RouteError, RouteRow,
    RouteSource, RouteTls, RouteWarning, SecretRef, Snapshot, SourceError, Strategy, WatchGuard,
};
#[cfg(feature = "sqlite")]
pub use routes::{
    Admin, AdminError, Change, ChangeKind, RollbackReport, RouteSpec, SqliteRoutes, StoredRoute,
    UpgradeReport,
};
#[cfg(feature = "router")]
pub use server::{Server, ServerBuilder};
pub use service::ServiceRegistry;
pub use shape::{MethodShape, Shape, Unsupported};
#[cfg(feature = "tls")]
pub use tls::{Tls, TlsError};
#[cfg(feature = "router")]
pub use transport::{
    BuildContext, Drain, Exposure, Inbound, Listener, Listening, Remote, ServeError, Transport,
    TransportState,
};
#[cfg(feature = "unix")]
pub use unix::{UnixListener, UnixTransport};

#[cfg(all(doctest, feature = "sqlite"))]
#[doc = include_str!("../../README.md")]
struct ReadmeExamples;

#[cfg(all(doctest, feature = "sqlite"))]
#[doc = include_str!("../../docs/moving.md")]
struct MovingExamples;

#[cfg(all(doctest, feature = "sqlite", feature = "http", feature = "gateway"))]
#[doc = include_str!("../../docs/from-go.md")]
struct FromGoExamples;

#[cfg(all(doctest, feature = "sqlite", feature = "gateway"))]
#[doc = include_str!("../../docs/adopting.md")]
struct AdoptingExamples;

#[cfg(all(doctest, feature = "dbsync"))]
#[doc = include_str!("../../docs/dbsync.md")]
struct DbsyncExamples;

/// Registers implementations with a router: `register!(router, Billing => Stripe)?`.
///
/// Only the trait must be imported; the name of its client does as well. One call can register several services, separated by commas.
/// After the first failure, the remaining implementations are neither evaluated nor registered. An
/// implementation can be any expression: `register!(router, Billing => connect().await?)?`.
#[macro_export]
macro_rules! register {
    ($router:expr, $($service:path => $implementation:expr),+ $(,)?) => {
        {
            let router = &$router;
            let registered = ::core::result::Result::Ok::<(), $crate::RegisterError>(());
            $(let registered = match registered {
                ::core::result::Result::Ok(()) => router.register($service($implementation)),
                failed => failed,
            };)+
            registered
        }
    };
}
