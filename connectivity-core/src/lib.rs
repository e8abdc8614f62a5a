//! Typed calls between services that a row in a SQLite table moves between processes at run time.

mod name;
#[cfg(feature = "router")]
mod routes;

pub use name::{Name, NameError};
#[cfg(feature = "router")]
pub use routes::{
    Added, Breaker, ChangeFn, CodecChoice, Field, HeaderValue, MemoryRoutes, Retry, Route, RouteConfig, RouteError,
    RouteRow, RouteSource, RouteWarning, SecretRef, Snapshot, SourceError, Strategy, Tls, WatchGuard,
};
#[cfg(feature = "sqlite")]
pub use routes::{Change, ChangeKind, SqliteRoutes, UpgradeReport};
