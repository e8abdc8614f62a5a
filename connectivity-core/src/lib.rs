//! Typed calls between services that a row in a SQLite table moves between processes at run time.

mod call;
mod codec;
pub mod context;
mod desc;
mod error;
#[cfg(feature = "gateway")]
mod gateway;
mod name;
#[cfg(feature = "router")]
mod router;
#[cfg(feature = "router")]
mod routes;
#[cfg(feature = "router")]
mod server;
mod service;
mod shape;
#[cfg(feature = "router")]
mod transport;

#[doc(hidden)]
pub mod __private;

pub use call::{Body, BoxFuture, Call, CallService, Payload, Reply};
pub use codec::{Codec, CodecError};
pub use connectivity_macros::service;

pub use desc::{MethodDesc, ServiceDesc};
pub use error::{Error, ErrorKind, OrInternal, Sent};
#[cfg(feature = "gateway")]
pub use gateway::Gateway;
pub use name::{Name, NameError};
#[cfg(feature = "router")]
pub use router::{
    Exposure, Inbound, Inspection, MissingRow, OpenError, RawService, RegisterError, RouteInfo, RouteState, Router,
    RouterBuilder, ServiceInfo,
};
#[cfg(feature = "router")]
pub use routes::{
    Added, Breaker, ChangeFn, Field, HeaderValue, MemoryRoutes, Retry, Route, RouteConfig, RouteError, RouteRow,
    RouteSource, RouteWarning, SecretRef, Snapshot, SourceError, Strategy, Tls, WatchGuard,
};
#[cfg(feature = "sqlite")]
pub use routes::{Change, ChangeKind, SqliteRoutes, UpgradeReport};
#[cfg(feature = "gateway")]
pub use server::HttpListener;
#[cfg(feature = "router")]
pub use server::{Server, ServerBuilder};
pub use service::ServiceRegistry;
pub use shape::{MethodShape, Shape, Unsupported};
#[cfg(feature = "http")]
pub use transport::HttpTransport;
#[cfg(feature = "router")]
pub use transport::{BuildContext, Drain, Listener, Listening, Remote, ServeError, Transport, TransportState};

/// Registers implementations with a router: `register!(router, Billing => Stripe)?`.
///
/// Only the trait has to be imported. Several services may stand in one call, separated by commas; the first failure ends it.
#[macro_export]
macro_rules! register {
    ($router:expr, $($service:path => $implementation:expr),+ $(,)?) => {
        (|| {
            let router = &$router;
            $(router.register(<_ as $service>::__into_service($implementation))?;)+
            ::core::result::Result::Ok::<(), $crate::RegisterError>(())
        })()
    };
}
