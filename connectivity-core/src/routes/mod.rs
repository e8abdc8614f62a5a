//! Routes: the sources of rows, and the parsed form of a row.
//!
//! A [`RouteSource`] reads raw rows ([`RouteRow`]) without validating them; [`Route::parse`] turns
//! one row into a [`Route`] or a [`RouteError`]. The rest of the crate only sees validated values.

mod config;
mod error;
mod memory;
mod route;
mod row;
mod source;
#[cfg(feature = "sqlite")]
mod sqlite;
mod strategy;
mod wake;

#[cfg(feature = "tls")]
pub(crate) use config::digest;
pub use config::{HeaderValue, RouteConfig, RouteTls, RouteWarning, SecretRef};
pub use error::RouteError;
pub(crate) use error::printable;
pub use memory::MemoryRoutes;
pub use route::Route;
pub use row::{Field, RouteRow};
pub use source::{Added, ChangeFn, RouteSource, Snapshot, SourceError, WatchGuard};
#[cfg(feature = "sqlite")]
pub use sqlite::{
    Admin, AdminError, Change, ChangeKind, RollbackReport, RouteSpec, SqliteRoutes, StoredRoute,
    UpgradeReport,
};
#[cfg(feature = "dbsync")]
pub(crate) use sqlite::{MayFail, immutable_uri};
pub use strategy::Strategy;
