//! The way to one endpoint: a connection that is dialled when it is first needed, and replaced when
//! it breaks.

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
use reconnect::keep;

/// Why there is no connection.
#[derive(Clone, Debug)]
pub(crate) struct DialError {
    pub(crate) kind: ErrorKind,
    pub(crate) message: String,
    pub(crate) how: DialFailure,
}

impl DialError {
    pub(crate) fn connect(cause: impl std::fmt::Display) -> Self {
        Self { kind: ErrorKind::Connect, message: cause.to_string(), how: DialFailure::Refused }
    }

    /// A connection was made, and ended before its first answer.
    pub(crate) fn broken(self) -> Self {
        Self { how: DialFailure::Broken, ..self }
    }
}

/// Makes connections to one endpoint.
pub(crate) trait Dial: Send + Sync + 'static {
    type Connection: Connected;

    /// Connects, for all calls of a link.
    fn dial(&self) -> BoxFuture<'_, Result<Self::Connection, DialError>>;
}

/// A connection that calls share.
pub(crate) trait Connected: Send + Sync + 'static {
    /// Says whether a new call may go on this connection.
    fn is_usable(&self) -> bool;

    /// Says why the connection broke, if it did.
    fn closed(&self) -> Option<String>;

    /// Ends when no new call may go on this connection; the future does not keep it open.
    fn ended(&self) -> BoxFuture<'static, ()>;
}

/// The way to one endpoint.
pub(crate) struct Link<D: Dial> {
    dial: D,
    current: ArcSwapOption<D::Connection>,
    /// The dial that is under way, for all who need a connection. It is a task of its own: a caller
    /// whose time is over must not take the dial with it, or under load none would ever be
    /// finished.
    dialling: Mutex<Option<Dialling<D>>>,
    health: Health,
    backoff: DialBackoff,
    /// Whether a call was answered on the connection in use. One that ends without that counts as a
    /// failed dial.
    answered: AtomicBool,
    /// Counts connections, so that what was learned of the program at the far end is not believed
    /// of the next one.
    dialled: AtomicUsize,
    /// Whether a task keeps the link open.
    kept: Arc<AtomicBool>,
}

/// Who asks for a dial: the keeper of a link has waits of its own.
#[derive(Clone, Copy, PartialEq, Eq)]
enum DialledFor {
    Call,
    Keeper,
}

/// The outcome of a dial, once there is one.
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
            kept: Arc::default(),
        }
    }

    pub(crate) fn dial(&self) -> &D {
        &self.dial
    }

    /// Says which connection is in use, by counting.
    pub(crate) fn dialled(&self) -> usize {
        self.dialled.load(Ordering::Relaxed)
    }

    pub(crate) fn state(&self) -> TransportState {
        if let Some(connection) = &*self.current.load()
            && let Some(why) = connection.closed()
            && self.health.is_well()
        {
            self.health.failed(why);
        }
        self.health.state()
    }

    /// The connection of all calls.
    pub(crate) async fn connection(self: &Arc<Self>) -> Result<Arc<D::Connection>, DialError> {
        loop {
            if let Some(connection) = self.usable() {
                return Ok(connection);
            }
            keep(self, &self.kept);
            let mut dialling = self.dialling(DialledFor::Call)?;
            // Without an outcome the task's runtime was shut down; the next dial is on ours.
            if let Ok(outcome) = dialling.wait_for(Option::is_some).await
                && let Some(outcome) = &*outcome
            {
                return outcome.clone();
            }
        }
    }

    /// Ends when the connection in use does; `None` if there is none.
    fn ended(&self) -> Option<BoxFuture<'static, ()>> {
        self.usable().map(|connection| connection.ended())
    }

    /// Dials, unless a call has done so.
    fn redial(self: &Arc<Self>) -> Option<Dialling<D>> {
        self.usable().is_none().then(|| self.dialling(DialledFor::Keeper).ok()).flatten()
    }

    /// Records that a call was answered.
    pub(crate) fn answered(&self) {
        if !self.answered.load(Ordering::Relaxed) {
            self.answered.store(true, Ordering::Relaxed);
            self.backoff.reached();
        }
    }

    /// Joins the dial that is under way, or begins one if it is due.
    fn dialling(self: &Arc<Self>, whose: DialledFor) -> Result<Dialling<D>, DialError> {
        let mut current = self.dialling.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(dialling) = current.as_ref().filter(|dialling| is_under_way::<D>(dialling)) {
            return Ok(dialling.clone());
        }
        if !self.answered.swap(true, Ordering::Relaxed) {
            let closed = self.current.load().as_ref().and_then(|connection| connection.closed());
            let cause = closed.unwrap_or_else(|| "the other side takes no calls".to_owned());
            self.backoff.failed(DialFailure::Broken, cause);
        }
        let due = match whose {
            DialledFor::Call => self.backoff.check().map_err(DialError::connect)?,
            DialledFor::Keeper => None,
        };
        self.health.connecting();
        let (outcome, dialling) = watch::channel(None);
        *current = Some(dialling.clone());
        let link = Arc::clone(self);
        tokio::spawn(async move {
            if let Some(due) = due {
                tokio::time::sleep_until(due).await;
            }
            let dialled = link.noted(link.dial.dial().await).map(Arc::new);
            match &dialled {
                Ok(connection) => {
                    link.answered.store(false, Ordering::Relaxed);
                    link.current.store(Some(Arc::clone(connection)));
                    link.dialled.fetch_add(1, Ordering::Relaxed);
                }
                Err(cause) if whose == DialledFor::Call || cause.how == DialFailure::Broken => {
                    link.backoff.failed(cause.how, &cause.message);
                }
                Err(_) => {}
            }
            outcome.send_replace(Some(dialled));
        });
        Ok(dialling)
    }

    /// The connection in use, if a new call may go on it.
    pub(crate) fn usable(&self) -> Option<Arc<D::Connection>> {
        self.current.load_full().filter(|connection| connection.is_usable())
    }

    /// Takes note of whether the other side was reached.
    pub(crate) fn noted<T>(&self, reached: Result<T, DialError>) -> Result<T, DialError> {
        match &reached {
            Ok(_) => self.health.reached(),
            Err(cause) => self.health.failed(cause.message.clone()),
        }
        reached
    }
}

/// Says whether a dial will still have an outcome.
fn is_under_way<D: Dial>(dialling: &Dialling<D>) -> bool {
    dialling.has_changed().is_ok() && dialling.borrow().is_none()
}

impl<D: Dial> std::fmt::Debug for Link<D> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Link").field("state", &self.state()).finish_non_exhaustive()
    }
}

/// The links of a transport, which routes to the same end share. One lives as long as its routes.
pub(crate) struct Links<K, D: Dial>(Mutex<HashMap<K, Weak<Link<D>>>>);

impl<K: Eq + Hash, D: Dial> Links<K, D> {
    /// Finds the link of a key, or makes it.
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
