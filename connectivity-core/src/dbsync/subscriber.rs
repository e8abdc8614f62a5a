//! The subscriber: has the newest snapshot that it was sent, for its application to read.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use serde::Serialize;

use super::directory::Directory;
use super::error::SyncError;
use super::listening::{self, Access, Inbox, OnSwap};
use super::meta::SnapshotMeta;
use super::reader::Reader;
use super::receive::{Limits, Progress, Receiver};
use super::store::Store;
use super::worker::Worker;
use crate::tls::Tls;
use crate::transport::{Drain, DrainSwitch};
use crate::utc;

/// The default limit of a snapshot: that of the original.
const MAX_SIZE: u64 = 512 << 20;

/// Receives snapshots of a database, and gives the newest to its application.
///
/// A snapshot is verified before it is in force: its size, hash, age and version, and that it is a
/// sound database. Whatever is refused, the one before stays. It is durable, so a restarted process
/// reads it at once.
///
/// ```no_run
/// use connectivity_core::Tls;
/// use connectivity_core::dbsync::Subscriber;
///
/// # async fn serve() -> Result<(), Box<dyn std::error::Error>> {
/// let subscriber = Subscriber::builder("replica").open().await?;
/// let tls = Tls::from_pem("edge.pem", "edge.key")?.client_ca("fleet.pem")?;
/// let listener = subscriber.listen("0.0.0.0:4437", tls).await?;
///
/// let reader = subscriber.reader()?; // a connection of rusqlite
/// let price: i64 = reader.query_row("SELECT price FROM products WHERE id = 7", [], |row| row.get(0))?;
/// # Ok(())
/// # }
/// ```
///
/// Clones share one subscriber.
#[derive(Clone, Debug)]
pub struct Subscriber(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    inbox: Arc<Inbox>,
    worker: Worker,
}

/// What a subscriber has, as the original's JSON, and more.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct SubscriberStatus {
    /// The version in force.
    pub last_version: Option<i64>,
    /// Its hash.
    pub last_hash: Option<String>,
    /// Whether there is a snapshot.
    pub has_db: bool,
    /// When it came into force, such as `2026-08-02T10:11:12Z`.
    pub last_swap_at: Option<String>,
    /// How many seconds ago that was.
    pub age_seconds: Option<u64>,
    /// `ok`; `empty` before the first snapshot; `stale` if the snapshot is older than the limit of
    /// [`max_age`](SubscriberBuilder::max_age).
    pub status: &'static str,
    /// The transfer of the moment.
    pub receiving: Option<Progress>,
    /// Why the last push was refused, if none was taken since.
    pub last_refusal: Option<String>,
}

impl Subscriber {
    /// Returns a builder of a subscriber that keeps its snapshots in this directory, which is
    /// created if it is missing.
    pub fn builder(directory: impl Into<PathBuf>) -> SubscriberBuilder {
        SubscriberBuilder {
            directory: directory.into(),
            limits: Limits { size: MAX_SIZE, age: None, any_schema: false },
            access: Access::default(),
            on_swap: None,
        }
    }

    /// Opens a read-only connection to the snapshot in force, of which it sees all and nothing
    /// else. Opening a file and reading its schema costs more than a small query, so keep a reader
    /// for as long as [`is_current`](Reader::is_current).
    ///
    /// # Errors
    /// Returns [`SyncError::NoSnapshot`] before the first snapshot.
    pub fn reader(&self) -> Result<Reader, SyncError> {
        Reader::open(self.0.inbox.receiver.store.current().ok_or(SyncError::NoSnapshot)?)
    }

    /// Returns what is in force, and what is coming in.
    #[must_use]
    pub fn status(&self) -> SubscriberStatus {
        let current = self.0.inbox.receiver.store.current();
        let meta = current.as_ref().map(|stored| &stored.meta);
        let swapped_at = current.as_ref().map(|stored| stored.swapped_at);
        let limit = self.0.inbox.receiver.limits.age;
        let is_stale = |meta: &SnapshotMeta| limit.is_some_and(|limit| meta.age() > limit);
        SubscriberStatus {
            last_version: meta.map(|meta| meta.version),
            last_hash: meta.map(|meta| meta.hash.clone()),
            has_db: current.is_some(),
            last_swap_at: swapped_at.map(utc::text),
            age_seconds: swapped_at
                .map(|at| SystemTime::now().duration_since(at).unwrap_or_default().as_secs()),
            status: match meta {
                None => "empty",
                Some(meta) if is_stale(meta) => "stale",
                Some(_) => "ok",
            },
            receiving: self.0.inbox.receiver.progress(),
            last_refusal: self.0.inbox.last_refusal(),
        }
    }

    /// Listens for publishers on an address such as `0.0.0.0:4437`, with this identity; with port 0
    /// the system chooses one. It ends when the result is dropped.
    ///
    /// An address that other machines can reach needs a rule about who may push:
    /// [`Tls::client_ca`], [`Tls::client_pins`], or
    /// [`open_to_everyone`](SubscriberBuilder::open_to_everyone).
    ///
    /// # Errors
    /// Returns an error if the address cannot be bound, or if that rule is missing.
    ///
    /// # Cancel safety
    /// Dropping the future releases the address.
    pub async fn listen(
        &self,
        address: impl Into<String>,
        tls: Tls,
    ) -> Result<SubscriberListener, SyncError> {
        let (switch, drain) = Drain::new();
        let (inbox, address) = (Arc::clone(&self.0.inbox), address.into());
        let starting = listening::start(inbox, address, tls, drain);
        let (address, done) = match self.0.worker.handle().spawn(starting).await {
            Ok(started) => started?,
            Err(cause) => return Err(SyncError::Thread(cause.into())),
        };
        Ok(SubscriberListener { address, switch, done, _subscriber: self.clone() })
    }
}

/// A running listener of a [`Subscriber`]. Dropping it ends the transfers in progress.
#[derive(Debug)]
pub struct SubscriberListener {
    address: String,
    switch: DrainSwitch,
    done: tokio::task::JoinHandle<()>,
    _subscriber: Subscriber,
}

impl SubscriberListener {
    /// Returns the address, such as `127.0.0.1:4437`.
    #[must_use]
    pub fn address(&self) -> &str {
        &self.address
    }

    /// Accepts no more pushes, gives those in progress `limit` to complete, and releases the
    /// address.
    ///
    /// # Cancel safety
    /// Dropping the future ends the transfers in progress.
    pub async fn shutdown(self, limit: Duration) {
        self.switch.begin(limit);
        // It ends by itself; what it returns says nothing.
        let _ = self.done.await;
    }
}

/// Builder of a [`Subscriber`].
#[must_use = "a builder does nothing until `open`"]
pub struct SubscriberBuilder {
    directory: PathBuf,
    limits: Limits,
    access: Access,
    on_swap: Option<OnSwap>,
}

impl SubscriberBuilder {
    /// Sets the limit of a snapshot in bytes. Default: 512 MiB.
    pub fn max_size(mut self, bytes: u64) -> Self {
        self.limits.size = bytes;
        self
    }

    /// Refuses snapshots that were produced longer ago than this. Default: no limit.
    pub fn max_age(mut self, limit: Duration) -> Self {
        self.limits.age = Some(limit);
        self
    }

    /// Accepts pushes of this client only, of those that the listener's identity accepts; call it
    /// again for more. The name is that of [`Peer::name`](crate::context::Peer::name), such as
    /// `uri:spiffe://shop/main`.
    pub fn pusher(mut self, name: impl Into<String>) -> Self {
        self.access.pushers.push(name.into());
        self
    }

    /// Accepts pushes of every client that can reach the address.
    pub fn open_to_everyone(mut self) -> Self {
        self.access.open_to_everyone = true;
        self
    }

    /// Accepts snapshots with views, triggers and virtual tables too. They are refused otherwise: a
    /// view in place of a table can be a query without end. Snapshots of a
    /// [`Publisher`](super::Publisher) have none, those of the original may.
    pub fn any_schema(mut self) -> Self {
        self.limits.any_schema = true;
        self
    }

    /// Calls a function with each snapshot that comes into force, on a thread of its own. It may
    /// block, and call the subscriber. While it runs, further snapshots come into force; it hears of
    /// the last of them.
    pub fn on_swap(mut self, call: impl Fn(&SnapshotMeta) + Send + Sync + 'static) -> Self {
        self.on_swap = Some(Arc::new(call));
        self
    }

    /// Opens the directory, with the snapshot of before if there is one, whose hash is verified.
    ///
    /// # Errors
    /// Returns an error if the directory cannot be used, or if another subscriber uses it.
    ///
    /// # Cancel safety
    /// Dropping the future opens nothing.
    pub async fn open(self) -> Result<Subscriber, SyncError> {
        let worker = Worker::start("dbsync-subscriber").map_err(SyncError::Thread)?;
        let path = self.directory;
        let opening = worker.handle().spawn_blocking(move || Store::open(Directory::lock(&path)?));
        let store = opening.await.map_err(|cause| SyncError::Thread(cause.into()))??;
        let receiver = Receiver::new(store, self.limits);
        let inbox = Arc::new(Inbox::new(receiver, self.access));
        if let Some(on_swap) = self.on_swap {
            worker.handle().spawn(inbox.telling(on_swap));
        }
        Ok(Subscriber(Arc::new(Inner { inbox, worker })))
    }
}

impl fmt::Debug for SubscriberBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SubscriberBuilder")
            .field("directory", &self.directory)
            .field("limits", &self.limits)
            .field("access", &self.access)
            .finish_non_exhaustive()
    }
}
