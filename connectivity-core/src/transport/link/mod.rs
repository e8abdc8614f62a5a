//! A shared connection to one endpoint: dialled on first use, and replaced when it breaks.

mod reconnect;

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use arc_swap::ArcSwapOption;
use tokio::sync::watch;

use super::TransportState;
use super::backoff::{DialBackoff, DialFailure};
use super::health::Health;
use crate::call::BoxFuture;
use crate::error::ErrorKind;

/// The error of a dial.
#[derive(Clone, Debug)]
pub(crate) struct DialError {
    pub(crate) kind: ErrorKind,
    pub(crate) message: String,
    pub(crate) failure: DialFailure,
}

impl DialError {
    pub(crate) fn connect(cause: impl std::fmt::Display) -> Self {
        Self { kind: ErrorKind::Connect, message: cause.to_string(), failure: DialFailure::Refused }
    }

    /// Marks the error as that of a connection that was established, but closed before its first
    /// reply.
    pub(crate) fn broken(self) -> Self {
        Self { failure: DialFailure::Broken, ..self }
    }
}

/// Establishes connections to one endpoint.
pub(crate) trait Dial: Send + Sync + 'static {
    type Connection: Connected;

    /// Establishes a connection, which all calls of a link share.
    ///
    /// # Cancel safety
    /// [`Link`] runs the future in a task of its own, so it is dropped only with its runtime.
    fn dial(&self) -> BoxFuture<'_, Result<Self::Connection, DialError>>;
}

/// An established connection that calls share.
pub(crate) trait Connected: Send + Sync + 'static {
    /// Returns whether the connection accepts new calls.
    fn is_usable(&self) -> bool;

    /// Returns why the connection broke, if it did.
    fn closed(&self) -> Option<String>;

    /// Returns a future that completes when the connection accepts no new calls. It does not keep
    /// the connection open.
    fn ended(&self) -> BoxFuture<'static, ()>;
}

/// A shared connection to one endpoint, with its dials and its state.
pub(crate) struct Link<D: Dial> {
    dial: D,
    current: ArcSwapOption<D::Connection>,
    /// The dial in progress, shared by all calls that need a connection. It runs in its own task,
    /// so that a call which times out does not cancel it: under load, no dial would ever finish
    /// otherwise.
    dialling: Mutex<Option<Dialling<D>>>,
    health: Health,
    backoff: DialBackoff,
    /// Whether the current connection has carried a reply. A connection that closes without one
    /// counts as a failed dial.
    answered: AtomicBool,
    /// Number of connections so far. It lets a caller discard what it learned about the server when
    /// the connection is replaced.
    dialled: AtomicUsize,
    /// Whether a reconnect task is running.
    reconnecting: Arc<AtomicBool>,
}

/// The origin of a dial. The reconnect task has its own backoff.
#[derive(Clone, Copy, PartialEq, Eq)]
enum DialledFor {
    Call,
    Reconnect,
}

/// The outcome of a dial; `None` while it is in progress.
type Dialling<D> = watch::Receiver<Option<Result<Arc<<D as Dial>::Connection>, DialError>>>;

impl<D: Dial> Link<D> {
    pub(crate) fn new(dial: D) -> Self {
        Self {
            dial,
            current: ArcSwapOption::empty(),
            dialling: Mutex::default(),
            health: Health::new(),
            backoff: DialBackoff::default(),
            answered: AtomicBool::new(true),
            dialled: AtomicUsize::new(0),
            reconnecting: Arc::default(),
        }
    }

    pub(crate) fn dial(&self) -> &D {
        &self.dial
    }

    /// Returns the number of connections so far, which identifies the current one.
    pub(crate) fn connection_number(&self) -> usize {
        self.dialled.load(Ordering::Relaxed)
    }

    pub(crate) fn state(&self) -> TransportState {
        if let Some(connection) = &*self.current.load()
            && let Some(cause) = connection.closed()
            && self.health.is_healthy()
        {
            self.health.failed(cause);
        }
        self.health.state()
    }

    /// Returns the shared connection, dialling if there is none.
    ///
    /// # Cancel safety
    /// Dropping the future does not cancel a dial in progress; other calls can still use its
    /// connection.
    pub(crate) async fn connection(self: &Arc<Self>) -> Result<Arc<D::Connection>, DialError> {
        loop {
            if let Some(connection) = self.usable() {
                return Ok(connection);
            }
            reconnect::start(self, &self.reconnecting);
            let mut dialling = self.dialling(DialledFor::Call)?;
            // Without an outcome, the runtime of the dial was shut down. The next dial runs on this
            // one.
            if let Ok(outcome) = dialling.wait_for(Option::is_some).await
                && let Some(outcome) = &*outcome
            {
                return outcome.clone();
            }
        }
    }

    /// Returns a future that completes when the current connection ends; `None` if there is none.
    fn ended(&self) -> Option<BoxFuture<'static, ()>> {
        self.usable().map(|connection| connection.ended())
    }

    /// Starts a dial for the reconnect task, unless there is a usable connection already.
    fn redial(self: &Arc<Self>) -> Option<Dialling<D>> {
        self.usable().is_none().then(|| self.dialling(DialledFor::Reconnect).ok()).flatten()
    }

    /// Records a reply on the current connection.
    pub(crate) fn record_reply(&self) {
        if !self.answered.load(Ordering::Relaxed) {
            self.answered.store(true, Ordering::Relaxed);
            self.backoff.reached();
        }
    }

    /// Joins the dial in progress, or starts one if the backoff allows it.
    fn dialling(self: &Arc<Self>, purpose: DialledFor) -> Result<Dialling<D>, DialError> {
        let mut current = self.dialling.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(dialling) = current.as_ref().filter(|dialling| is_in_progress::<D>(dialling)) {
            return Ok(dialling.clone());
        }
        if !self.answered.swap(true, Ordering::Relaxed) {
            let closed = self.current.load().as_ref().and_then(|connection| connection.closed());
            let cause = closed.unwrap_or_else(|| "the other side takes no calls".to_owned());
            self.backoff.failed(DialFailure::Broken, cause);
        }
        let due = match purpose {
            DialledFor::Call => self.backoff.check().map_err(DialError::connect)?,
            DialledFor::Reconnect => None,
        };
        self.health.connecting();
        let (outcome, dialling) = watch::channel(None);
        *current = Some(dialling.clone());
        let link = Arc::clone(self);
        tokio::spawn(async move {
            if let Some(due) = due {
                tokio::time::sleep_until(due).await;
            }
            let dialled = link.record_outcome(link.dial.dial().await).map(Arc::new);
            match &dialled {
                Ok(connection) => {
                    link.answered.store(false, Ordering::Relaxed);
                    link.current.store(Some(Arc::clone(connection)));
                    link.dialled.fetch_add(1, Ordering::Relaxed);
                }
                Err(cause)
                    if purpose == DialledFor::Call || cause.failure == DialFailure::Broken =>
                {
                    link.backoff.failed(cause.failure, &cause.message);
                }
                Err(_) => {}
            }
            outcome.send_replace(Some(dialled));
        });
        Ok(dialling)
    }

    /// Returns the current connection, if it accepts new calls.
    pub(crate) fn usable(&self) -> Option<Arc<D::Connection>> {
        self.current.load_full().filter(|connection| connection.is_usable())
    }

    /// Records whether the peer was reached, and returns the result unchanged.
    pub(crate) fn record_outcome<T>(&self, outcome: Result<T, DialError>) -> Result<T, DialError> {
        match &outcome {
            Ok(_) => self.health.reached(),
            Err(cause) => self.health.failed(cause.message.clone()),
        }
        outcome
    }
}

/// Returns whether a dial is still in progress. It is not if its runtime was shut down.
fn is_in_progress<D: Dial>(dialling: &Dialling<D>) -> bool {
    dialling.has_changed().is_ok() && dialling.borrow().is_none()
}

impl<D: Dial> std::fmt::Debug for Link<D> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Link").field("state", &self.state()).finish_non_exhaustive()
    }
}

/// The links of a transport by key. Routes to the same endpoint share a link, which lives as long
/// as any of them.
pub(crate) struct Links<K, D: Dial>(Mutex<HashMap<K, Weak<Link<D>>>>);

impl<K: Eq + Hash, D: Dial> Links<K, D> {
    /// Returns the link of a key, creating it if there is none.
    pub(crate) fn get(&self, key: K, dial: impl FnOnce() -> D) -> Arc<Link<D>> {
        let mut links = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        links.retain(|_, link| link.strong_count() > 0);
        if let Some(link) = links.get(&key).and_then(Weak::upgrade) {
            return link;
        }
        let link = Arc::new(Link::new(dial()));
        links.insert(key, Arc::downgrade(&link));
        link
    }
}

impl<K, D: Dial> Default for Links<K, D> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<K: std::fmt::Debug, D: Dial> std::fmt::Debug for Links<K, D> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Links").field(&self.0).finish()
    }
}
