//! The publisher: makes a snapshot whenever its database changes, and sees that every target gets
//! it.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use serde::Serialize;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};

use super::changes::{Probe, State};
use super::directory::Directory;
use super::error::SyncError;
use super::filter::Filter;
use super::meta::SnapshotMeta;
use super::published::{Producer, Published};
use super::target::{Target, TargetStatus};
use super::worker::Worker;
use crate::quic::endpoints::Endpoints;
use crate::routes::{RouteError, RouteTls};

/// How often the database is looked at. A look costs microseconds.
const INTERVAL: Duration = Duration::from_millis(20);

/// The default of how long the database must be quiet before it is copied, and for how long at the
/// most a copy waits for that.
const QUIET: Duration = Duration::from_millis(20);
const LONGEST_DELAY: Duration = Duration::from_secs(1);

/// The default of how often a target is offered what it has.
const OFFER_AGAIN: Duration = Duration::from_secs(30);

/// The wait before a copy that failed is tried again, unless the database changes before.
const WAIT_AFTER_FAILURE: Duration = Duration::from_secs(5);

/// Publishes a part of a SQLite database: pushes a snapshot at start and after each change to its
/// targets, and to those that were down as soon as they are back.
///
/// Targets are [`Subscriber`](super::Subscriber)s, or subscribers of the original Go package. They
/// are named here, or by rows: with [`transport`](Self::transport) on a router, each row with
/// strategy `dbsync` whose name begins with `dbsync:` is one for as long as it is in force.
///
/// Clones share one publisher, which ends with the last of them and the last router that has its
/// transport.
#[derive(Clone, Debug)]
pub struct Publisher(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    newest: watch::Sender<Option<Arc<Published>>>,
    endpoints: Arc<Endpoints>,
    offer_again: Duration,
    targets: Mutex<Vec<Weak<Target>>>,
    /// Those of the builder.
    fixed: Mutex<Vec<TargetHandle>>,
    fault: Mutex<Option<String>>,
    worker: Worker,
}

/// A target that gets snapshots until this is dropped.
#[derive(Debug)]
pub(super) struct TargetHandle {
    pub(super) target: Arc<Target>,
    task: JoinHandle<()>,
}

impl Drop for TargetHandle {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// What a publisher has produced and delivered.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct PublisherStatus {
    /// The newest snapshot; `None` until the first was produced.
    pub last_snapshot: Option<SnapshotMeta>,
    /// Why the database cannot be copied, if the last attempt failed.
    pub error: Option<String>,
    /// The targets.
    pub targets: Vec<TargetStatus>,
}

impl Publisher {
    /// Returns a builder of a publisher for what a filter keeps of a database.
    pub fn builder(source: impl Into<PathBuf>, filter: Filter) -> PublisherBuilder {
        PublisherBuilder {
            source: source.into(),
            filter,
            directory: None,
            targets: Vec::new(),
            quiet: QUIET,
            longest_delay: LONGEST_DELAY,
            offer_again: OFFER_AGAIN,
        }
    }

    /// Returns what was produced and delivered.
    #[must_use]
    pub fn status(&self) -> PublisherStatus {
        let targets = self.0.targets();
        let statuses = targets.iter().filter_map(Weak::upgrade).map(|target| target.status());
        PublisherStatus {
            last_snapshot: self.last_snapshot(),
            error: self.fault(),
            targets: statuses.collect(),
        }
    }

    pub(super) fn last_snapshot(&self) -> Option<SnapshotMeta> {
        self.0.newest.borrow().as_ref().map(|snapshot| snapshot.meta.clone())
    }

    pub(super) fn fault(&self) -> Option<String> {
        self.0.fault.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Adds a target.
    pub(super) fn add(&self, endpoint: &str, tls: &RouteTls) -> Result<TargetHandle, RouteError> {
        let target = Arc::new(Target::new(
            endpoint,
            tls,
            Arc::clone(&self.0.endpoints),
            self.0.offer_again,
        )?);
        let mut targets = self.0.targets();
        targets.retain(|target| target.strong_count() > 0);
        targets.push(Arc::downgrade(&target));
        let running = Arc::clone(&target).run(self.0.newest.subscribe());
        let task = self.0.worker.handle().spawn(running);
        Ok(TargetHandle { target, task })
    }
}

impl Inner {
    fn targets(&self) -> MutexGuard<'_, Vec<Weak<Target>>> {
        self.targets.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set_fault(&self, fault: Option<String>) {
        *self.fault.lock().unwrap_or_else(PoisonError::into_inner) = fault;
    }
}

/// Builder of a [`Publisher`].
#[derive(Debug)]
#[must_use = "a builder does nothing until `start`"]
pub struct PublisherBuilder {
    source: PathBuf,
    filter: Filter,
    directory: Option<PathBuf>,
    targets: Vec<(String, RouteTls)>,
    quiet: Duration,
    longest_delay: Duration,
    offer_again: Duration,
}

impl PublisherBuilder {
    /// Adds a target: the address of a subscriber, such as `10.0.0.7:4437`, and how to verify it.
    pub fn target(mut self, endpoint: impl Into<String>, tls: RouteTls) -> Self {
        self.targets.push((endpoint.into(), tls));
        self
    }

    /// Sets the directory of the copies, which is created if it is missing. Default: the path of
    /// the database with `.dbsync` after it. It takes as much room as two copies, and one more for
    /// each that a slow target is still being sent.
    pub fn directory(mut self, directory: impl Into<PathBuf>) -> Self {
        self.directory = Some(directory.into());
        self
    }

    /// Sets how long the database must be quiet before it is copied (default 20 ms), and after what
    /// time it is copied although it is not (default 1 s).
    pub fn settle(mut self, quiet: Duration, at_most: Duration) -> Self {
        (self.quiet, self.longest_delay) = (quiet, at_most);
        self
    }

    /// Sets how often a target is offered the snapshot that it has, in case it has lost its files.
    /// Default: 30 s. Targets of the original are not: they would be sent the whole file.
    pub fn offer_again(mut self, interval: Duration) -> Self {
        self.offer_again = interval;
        self
    }

    /// Checks the filter and the targets, and starts.
    ///
    /// # Errors
    /// Returns an error if the database cannot be read, if the filter does not fit it, if another
    /// publisher uses the directory, or if a target's endpoint or TLS keys are not usable.
    ///
    /// # Cancel safety
    /// Dropping the future starts nothing.
    pub async fn start(self) -> Result<Publisher, SyncError> {
        let worker = Worker::start("dbsync-publisher").map_err(SyncError::Thread)?;
        let (source, filter) = (self.source, self.filter);
        let path = self.directory.unwrap_or_else(|| beside(&source));
        let preparing = worker.handle().spawn_blocking(move || {
            let directory = Directory::lock(&path)?;
            Producer::new(&source, filter, directory)
        });
        let producer = preparing.await.map_err(|cause| SyncError::Thread(cause.into()))??;
        let publisher = Publisher(Arc::new(Inner {
            newest: watch::Sender::new(None),
            endpoints: Arc::default(),
            offer_again: self.offer_again,
            targets: Mutex::default(),
            fixed: Mutex::default(),
            fault: Mutex::default(),
            worker,
        }));
        for (endpoint, tls) in &self.targets {
            let added = publisher.add(endpoint, tls);
            let handle = added.map_err(|cause| SyncError::target(endpoint, cause))?;
            publisher.0.fixed.lock().unwrap_or_else(PoisonError::into_inner).push(handle);
        }
        let probe = Arc::new(Mutex::new(Probe::new(producer.source())));
        let (quiet, longest_delay) = (self.quiet, self.longest_delay);
        let publishing = Publishing { producer: Some(producer), probe, quiet, longest_delay };
        publisher.0.worker.handle().spawn(publishing.run(Arc::downgrade(&publisher.0)));
        Ok(publisher)
    }
}

fn beside(source: &Path) -> PathBuf {
    let mut path = source.as_os_str().to_owned();
    path.push(".dbsync");
    path.into()
}

/// Watches and copies the database, on threads, because both block.
struct Publishing {
    /// `None` while it makes a copy.
    producer: Option<Producer>,
    probe: Arc<Mutex<Probe>>,
    quiet: Duration,
    longest_delay: Duration,
}

impl Publishing {
    /// Copies the database at start and after each change, until the publisher is dropped.
    async fn run(mut self, publisher: Weak<Inner>) {
        let mut failing = false;
        while let Some(before) = self.look().await {
            let produced = self.produce().await;
            let Some(publisher) = publisher.upgrade() else { return };
            let Some(produced) = produced else { return publisher.give_up() };
            failing = publisher.publish(produced, failing);
            drop(publisher);
            let changed = self.settled_after(&before);
            match failing {
                true => drop(timeout(WAIT_AFTER_FAILURE, changed).await),
                false => changed.await,
            }
        }
    }

    async fn look(&self) -> Option<State> {
        let probe = Arc::clone(&self.probe);
        let look = move || probe.lock().unwrap_or_else(PoisonError::into_inner).state();
        tokio::task::spawn_blocking(look).await.ok()
    }

    /// Makes a snapshot; `None` if that panicked.
    async fn produce(&mut self) -> Option<Result<Published, SyncError>> {
        let mut producer = self.producer.take()?;
        let produced = tokio::task::spawn_blocking(move || (producer.produce(), producer)).await;
        let (produced, producer) = produced.ok()?;
        self.producer = Some(producer);
        Some(produced)
    }

    /// Waits for a change after `before`, and until the database is quiet or the longest delay is
    /// over. So steady writes cannot keep a copy from being made.
    async fn settled_after(&self, before: &State) {
        let mut last = before.clone();
        while last == *before {
            sleep(INTERVAL).await;
            let Some(state) = self.look().await else { return };
            last = state;
        }
        let (changed_at, mut quiet_since) = (Instant::now(), Instant::now());
        while quiet_since.elapsed() < self.quiet && changed_at.elapsed() < self.longest_delay {
            sleep(INTERVAL).await;
            let Some(state) = self.look().await else { return };
            if state != last {
                (last, quiet_since) = (state, Instant::now());
            }
        }
    }
}

impl Inner {
    /// Tells that no more snapshots are made.
    fn give_up(&self) {
        tracing::error!("making a snapshot panicked; targets keep what they have");
        self.set_fault(Some("making a snapshot panicked; start a new publisher".to_owned()));
    }

    /// Publishes what was produced, and returns whether that failed.
    fn publish(&self, produced: Result<Published, SyncError>, failing: bool) -> bool {
        match produced {
            Ok(published) => {
                self.set_fault(None);
                self.newest.send_if_modified(|newest| {
                    let same =
                        newest.as_ref().is_some_and(|now| now.meta.hash == published.meta.hash);
                    if !same {
                        *newest = Some(Arc::new(published));
                    }
                    !same
                });
                false
            }
            Err(cause) => {
                if !failing {
                    tracing::error!(%cause, "the database is not copied; targets keep what they have");
                }
                self.set_fault(Some(cause.to_string()));
                true
            }
        }
    }
}
