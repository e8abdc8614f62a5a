//! The way to one endpoint: a connection that is dialled when it is first needed, and replaced when it breaks.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwapOption;
use bytes::Bytes;
use tokio::sync::watch;

use super::connection::{Connection, Outcome};
use super::keeper::keep;
use super::request::Outgoing;
use crate::call::{BoxFuture, Call};
use crate::codec::Codec;
use crate::error::{Error, ErrorKind, Sent};
use crate::transport::TransportState;
use crate::transport::health::Health;
use crate::transport::wire::{Failure, MAX_SMALL_BODY};

/// How often a call looks for another connection after one broke before the call was sent. Each time a connection had been
/// made, so this ends with whatever breaks connections, not with this number, unless they break at once.
const CONNECTIONS: usize = 4;

/// Why there is no connection.
#[derive(Clone, Debug)]
pub(crate) struct DialError {
    pub(crate) kind: ErrorKind,
    pub(crate) message: String,
}

impl DialError {
    pub(crate) fn connect(cause: impl std::fmt::Display) -> Self {
        Self { kind: ErrorKind::Connect, message: cause.to_string() }
    }
}

/// Makes connections to one endpoint.
pub(crate) trait Dial: Send + Sync + 'static {
    /// Connects, for many small calls.
    fn dial(&self) -> BoxFuture<'_, Result<Connection, DialError>>;

    /// Gets a stream for one call with a large body.
    fn single(&self) -> BoxFuture<'_, Result<Connection, DialError>>;
}

/// The way to one endpoint.
pub(crate) struct Link<D> {
    dial: D,
    current: ArcSwapOption<Connection>,
    /// The dial that is under way, for all who need a connection. It is a task of its own: a caller whose time is over must not
    /// take the dial with it, or under load none would ever be finished.
    dialling: Mutex<Option<Dialling>>,
    health: Health,
    /// Counts connections, so that what was learned of the program at the far end is not believed of the next one.
    dialled: AtomicUsize,
    /// Whether a task keeps the link open.
    kept: Arc<AtomicBool>,
}

/// The outcome of a dial, once there is one.
pub(super) type Dialling = watch::Receiver<Option<Result<Arc<Connection>, DialError>>>;

/// An answer that came over a link.
#[derive(Debug)]
pub(crate) enum Answer {
    Reply { codec: Option<Codec>, app_error: bool, body: Bytes },
    Failure(Failure),
}

impl<D: Dial> Link<D> {
    pub(crate) fn new(dial: D) -> Self {
        Self {
            dial,
            current: ArcSwapOption::empty(),
            dialling: Mutex::default(),
            health: Health::new(),
            dialled: AtomicUsize::new(0),
            kept: Arc::default(),
        }
    }

    /// Says which connection is in use, by counting.
    pub(crate) fn dialled(&self) -> usize {
        self.dialled.load(Ordering::Relaxed)
    }

    pub(crate) fn state(&self) -> TransportState {
        match &*self.current.load() {
            Some(connection) => match connection.closed() {
                Some(why) if self.health.is_well() => {
                    self.health.failed(why);
                    self.health.state()
                }
                _ => self.health.state(),
            },
            None => self.health.state(),
        }
    }

    /// Sends a call, as `outgoing` makes it for each attempt. One that was not sent when its connection broke goes on the next;
    /// one that may have run is repeated only if it is idempotent.
    pub(crate) async fn call(
        self: &Arc<Self>,
        call: &Call,
        outgoing: impl Fn() -> Result<Outgoing, Error>,
    ) -> Result<Answer, Error> {
        let fail = |kind, message: &str, sent| call.failed(kind, message).with_sent(sent);
        let mut lost = None;
        for _ in 0..CONNECTIONS {
            let outgoing = outgoing()?;
            let max_reply = outgoing.max_reply;
            let connection = self.connection(outgoing.body.len()).await;
            // A repeated call that finds nobody has still been sent once.
            let sent = if lost.is_some() { Sent::Maybe } else { Sent::No };
            let connection = connection.map_err(|cause| fail(cause.kind, &cause.message, sent))?;
            match connection.call(outgoing).await {
                Outcome::Reply { codec, app_error, body } => return Ok(Answer::Reply { codec, app_error, body }),
                Outcome::Failure(failure) => return Ok(Answer::Failure(failure)),
                Outcome::TooLarge => {
                    let message = format!("the reply is over {max_reply} bytes");
                    return Err(fail(ErrorKind::TooLarge, &message, Sent::Yes));
                }
                Outcome::Overloaded => {
                    return Err(fail(ErrorKind::Overloaded, "too many calls wait on this connection", sent));
                }
                Outcome::NotSent => {}
                Outcome::Lost(why) if call.is_idempotent() => lost = Some(why),
                Outcome::Lost(why) => return Err(fail(ErrorKind::Closed, &why, Sent::Maybe)),
            }
        }
        let sent = if lost.is_some() { Sent::Maybe } else { Sent::No };
        let why = lost.as_deref().unwrap_or("connections break as soon as they are made");
        Err(fail(ErrorKind::Closed, why, sent))
    }

    async fn connection(self: &Arc<Self>, body: usize) -> Result<Arc<Connection>, DialError> {
        // Also where a large body goes elsewhere: on the connection of small calls a server says that it leaves.
        let shared = self.shared().await?;
        if body <= MAX_SMALL_BODY {
            return Ok(shared);
        }
        self.noted(self.dial.single().await).map(Arc::new)
    }

    /// The connection of small calls.
    async fn shared(self: &Arc<Self>) -> Result<Arc<Connection>, DialError> {
        loop {
            if let Some(connection) = self.usable() {
                return Ok(connection);
            }
            keep(self, &self.kept);
            let mut dialling = self.dialling();
            // Without an outcome the task's runtime was shut down; the next dial is on ours.
            if let Ok(outcome) = dialling.wait_for(Option::is_some).await
                && let Some(outcome) = &*outcome
            {
                return outcome.clone();
            }
        }
    }

    /// Ends when the connection in use does; `None` if there is none.
    pub(super) fn ended(&self) -> Option<impl Future<Output = ()> + Send + use<D>> {
        self.usable().map(|connection| connection.ended())
    }

    /// Dials, unless a call has done so.
    pub(super) fn redial(self: &Arc<Self>) -> Option<Dialling> {
        self.usable().is_none().then(|| self.dialling())
    }

    /// Joins the dial that is under way, or begins one.
    fn dialling(self: &Arc<Self>) -> Dialling {
        let mut current = self.dialling.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(dialling) = current.as_ref().filter(|dialling| is_under_way(dialling)) {
            return dialling.clone();
        }
        self.health.connecting();
        let (outcome, dialling) = watch::channel(None);
        *current = Some(dialling.clone());
        let link = Arc::clone(self);
        tokio::spawn(async move {
            let dialled = link.noted(link.dial.dial().await).map(Arc::new);
            if let Ok(connection) = &dialled {
                link.current.store(Some(Arc::clone(connection)));
                link.dialled.fetch_add(1, Ordering::Relaxed);
            }
            outcome.send_replace(Some(dialled));
        });
        dialling
    }

    fn usable(&self) -> Option<Arc<Connection>> {
        self.current.load_full().filter(|connection| connection.is_usable())
    }

    fn noted(&self, dialled: Result<Connection, DialError>) -> Result<Connection, DialError> {
        match &dialled {
            Ok(_) => self.health.reached(),
            Err(cause) => self.health.failed(cause.message.clone()),
        }
        dialled
    }
}

/// Says whether a dial will still have an outcome.
fn is_under_way(dialling: &Dialling) -> bool {
    dialling.has_changed().is_ok() && dialling.borrow().is_none()
}

impl<D> std::fmt::Debug for Link<D> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Link").field("current", &self.current.load()).finish_non_exhaustive()
    }
}
