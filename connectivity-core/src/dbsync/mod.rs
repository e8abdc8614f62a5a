//! Strategy `dbsync`: replicates a part of a SQLite database to other processes, which read it from
//! a file of their own.
//!
//! A [`Publisher`] copies what its [`Filter`] keeps, at start and after each change, and pushes the
//! copy to its targets. A [`Subscriber`] verifies what it is sent, and gives its application a
//! [`Reader`]: a connection that sees one whole snapshot.
//!
//! ```no_run
//! use connectivity_core::RouteTls;
//! use connectivity_core::dbsync::{Filter, Publisher};
//!
//! # async fn publish() -> Result<(), Box<dyn std::error::Error>> {
//! let filter = Filter::new().table("products").columns("customers", ["id", "city"]);
//! let mut tls = RouteTls::default();
//! tls.ca_file = Some("fleet.pem".into());
//! let publisher = Publisher::builder("shop.db", filter).target("10.0.0.7:4437", tls).start().await?;
//! # Ok(())
//! # }
//! ```
//!
//! Between two of ours, only the 4 KiB chunks that the receiver lacks are sent, compressed with
//! zstd. With the original Go package, whose protocol is spoken too in both directions, it is the
//! whole file. `docs/dbsync.md` describes both.

mod changes;
mod chunks;
mod condition;
mod copy;
mod directory;
mod error;
mod filter;
mod listening;
mod meta;
mod pipe;
mod protocol;
mod published;
mod publisher;
mod reader;
mod receive;
mod schema;
mod send;
mod sound;
mod statements;
mod store;
mod subscriber;
mod target;
mod transport;
mod worker;

pub use error::SyncError;
pub use filter::Filter;
pub use meta::SnapshotMeta;
pub use publisher::{Publisher, PublisherBuilder, PublisherStatus};
pub use reader::Reader;
pub use receive::Progress;
pub use subscriber::{Subscriber, SubscriberBuilder, SubscriberListener, SubscriberStatus};
pub use target::TargetStatus;
pub use transport::DbsyncTransport;
