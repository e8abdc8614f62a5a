//! What travels with a call beside its arguments: deadline, trace, who was authenticated, what was
//! claimed.
//!
//! The context of the call that is being served is a task-local. Nested calls inherit it on every
//! strategy; a task of your own inherits it when it is started with [`spawn`].
//!
//! ```
//! use connectivity_core::context::{self, Context};
//!
//! # tokio::runtime::Builder::new_current_thread().build()?.block_on(async {
//! let context = Context::new().with_meta("tenant", "acme")?;
//! let tenant = context::scope(context, async { context::current().meta("tenant").map(str::to_owned) }).await;
//! assert_eq!(tenant.as_deref(), Some("acme"));
//! # Ok::<(), connectivity_core::Error>(())
//! # })?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

use std::collections::BTreeMap;
use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::error::{Error, ErrorKind, Sent};
use crate::name::Name;

/// All keys and values of the metadata together, in bytes, each entry with the framing that a wire
/// gives it.
pub(crate) const MAX_META: usize = 8 * 1024;

/// What an entry of the metadata costs beside its key and value: empty values are not free on a
/// wire.
const META_ENTRY: usize = 8;

/// The longest trace parent; W3C's has 55 bytes.
const MAX_TRACE_PARENT: usize = 128;

tokio::task_local! {
    static CURRENT: Context;
}

/// Clones the context of the call that is being served; empty outside of one.
#[must_use]
pub fn current() -> Context {
    CURRENT.try_with(Context::clone).unwrap_or_default()
}

/// Runs a future with this context as the current one, in place of what was current outside.
///
/// A deadline in it bounds the calls made inside; to bound the future itself too, use [`timeout`].
///
/// # Cancel safety
/// Dropping the returned future drops the inner one.
pub fn scope<F: Future>(context: Context, future: F) -> impl Future<Output = F::Output> {
    CURRENT.scope(context, future)
}

/// Starts a task that goes on with the current context; a plain `tokio::spawn` would lose it.
///
/// The deadline goes along, so calls made in the task end with the call that started it.
pub fn spawn<F>(future: F) -> JoinHandle<F::Output>
where
    F: Future<Output: Send> + Send + 'static,
{
    tokio::spawn(CURRENT.scope(current(), future))
}

/// Runs a future for at most `limit`, and lets the calls inside inherit that deadline, on every
/// path.
///
/// # Errors
/// [`Timeout`](ErrorKind::Timeout) about the call that is being served, when the limit passes
/// first.
///
/// # Cancel safety
/// Dropping the returned future drops the inner one.
pub async fn timeout<F: Future>(limit: Duration, future: F) -> Result<F::Output, Error> {
    let context = current().with_timeout(limit);
    let deadline = context.deadline().unwrap_or_else(|| after(limit));
    let scoped = scope(context, future);
    tokio::time::timeout_at(deadline, scoped).await.map_err(|_elapsed| timed_out(&serving()))
}

/// The time after a limit, which is as long as can be where the clock does not reach so far.
pub(crate) fn after(limit: Duration) -> Instant {
    const AGES: Duration = Duration::from_secs(30 * 365 * 86_400);
    let now = Instant::now();
    now.checked_add(limit).unwrap_or_else(|| now + AGES)
}

pub(crate) fn timed_out(name: &str) -> Error {
    Error::new(ErrorKind::Timeout, name, "").with_sent(Sent::Maybe)
}

/// Names the call that is being served, for errors and logs.
pub(crate) fn serving() -> String {
    current().serving.as_ref().map_or("local", Name::as_str).to_owned()
}

/// Turns any error of an implementation into an [`Error`] of kind
/// [`Internal`](ErrorKind::Internal).
///
/// The cause and its sources are logged here, where they belong; the caller sees the kind alone.
///
/// ```
/// use connectivity_core::{Error, OrInternal};
///
/// fn load(path: &str) -> Result<String, Error> {
///     std::fs::read_to_string(path).or_internal()
/// }
/// assert_eq!(load("/no/such/file").unwrap_err().message(), "");
/// ```
pub trait OrInternal<T> {
    /// Logs the cause and keeps the kind.
    ///
    /// # Errors
    /// The error, if there was one, as `Internal` about the call that is being served.
    fn or_internal(self) -> Result<T, Error>;
}

impl<T, E: fmt::Display + fmt::Debug> OrInternal<T> for Result<T, E> {
    fn or_internal(self) -> Result<T, Error> {
        self.map_err(|cause| {
            let name = serving();
            tracing::error!(name = %name, cause = ?cause, "an implementation failed: {cause}");
            Error::new(ErrorKind::Internal, name, "")
        })
    }
}

/// What a caller claims.
#[derive(Clone, Default, Debug)]
struct Meta {
    entries: BTreeMap<String, String>,
    bytes: usize,
}

/// Deadline, trace, peer and metadata of a call. Cheap to clone.
#[derive(Clone, Default, Debug)]
pub struct Context {
    deadline: Option<Instant>,
    trace_parent: Option<Arc<str>>,
    peer: Option<Arc<Peer>>,
    meta: Option<Arc<Meta>>,
    serving: Option<Name>,
}

impl Context {
    /// Makes an empty context: no deadline, nobody authenticated, nothing claimed.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Lets calls end at `deadline`, or earlier if they had to already.
    #[must_use]
    pub fn with_deadline(mut self, deadline: Instant) -> Self {
        self.deadline = Some(self.deadline.map_or(deadline, |old| old.min(deadline)));
        self
    }

    /// Lets calls end `limit` from now, or earlier if they had to already.
    #[must_use]
    pub fn with_timeout(self, limit: Duration) -> Self {
        match Instant::now().checked_add(limit) {
            Some(deadline) => self.with_deadline(deadline),
            None => self,
        }
    }

    /// The same in place, for layers: what they are given is a part of something larger.
    #[cfg(feature = "router")]
    pub(crate) fn limit(&mut self, limit: Duration) {
        if let Some(deadline) = Instant::now().checked_add(limit) {
            self.deadline = Some(self.deadline.map_or(deadline, |old| old.min(deadline)));
        }
    }

    /// Adds a claim that goes along with every call, such as a tenant id. A key that is there
    /// already gets the new value.
    ///
    /// A claim is what the caller says, not what anybody checked: see [`peer`](Self::peer) for
    /// that.
    ///
    /// # Errors
    /// [`TooLarge`](ErrorKind::TooLarge) when keys and values, with 8 bytes for each entry, exceed
    /// 8 KiB; [`Encode`](ErrorKind::Encode) for an empty key or one that holds anything but `a-z
    /// 0-9 - _ .`.
    pub fn with_meta(
        mut self,
        key: impl Into<String>,
        value: impl Into<String>,
    ) -> Result<Self, Error> {
        let (key, value) = (key.into(), value.into());
        if key.is_empty()
            || !key
                .bytes()
                .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"-_.".contains(&b))
        {
            return Err(meta_error(
                ErrorKind::Encode,
                "a metadata key holds a-z, 0-9, `-`, `_` and `.` only",
            ));
        }
        let meta = Arc::make_mut(self.meta.get_or_insert_default());
        let size = key.len() + META_ENTRY;
        meta.bytes += size + value.len();
        if let Some(old) = meta.entries.insert(key, value) {
            meta.bytes -= size + old.len();
        }
        if meta.bytes > MAX_META {
            return Err(meta_error(ErrorKind::TooLarge, "metadata has at most 8 KiB"));
        }
        Ok(self)
    }

    /// Sets the W3C `traceparent` that goes along. One that is none (over 128 bytes, or not
    /// hexadecimal digits and dashes) is left out: a trace that breaks must not break a call.
    #[must_use]
    pub fn with_trace_parent(mut self, trace_parent: &str) -> Self {
        let plain = trace_parent.bytes().all(|byte| byte.is_ascii_hexdigit() || byte == b'-');
        if plain && trace_parent.len() <= MAX_TRACE_PARENT {
            self.trace_parent = Some(trace_parent.into());
        }
        self
    }

    /// States who was authenticated: for listeners, and for an HTTP handler of your own that has
    /// checked a token.
    #[must_use]
    pub fn with_peer(mut self, peer: Peer) -> Self {
        self.peer = Some(Arc::new(peer));
        self
    }

    /// The same, for a listener that has many calls of one peer.
    #[cfg(feature = "wire")]
    pub(crate) fn with_shared_peer(mut self, peer: Option<Arc<Peer>>) -> Self {
        self.peer = peer;
        self
    }

    pub(crate) fn serving_call(mut self, name: Name) -> Self {
        self.serving = Some(name);
        self
    }

    /// Says when calls must have ended.
    #[must_use]
    pub fn deadline(&self) -> Option<Instant> {
        self.deadline
    }

    /// Says how much time is left; zero when the deadline has passed, `None` without a deadline.
    #[must_use]
    pub fn remaining(&self) -> Option<Duration> {
        self.deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()))
    }

    /// Shows the W3C `traceparent`.
    #[must_use]
    pub fn trace_parent(&self) -> Option<&str> {
        self.trace_parent.as_deref()
    }

    /// Says who was authenticated by the listener that took the call; nobody for a local call.
    #[must_use]
    pub fn peer(&self) -> Option<&Peer> {
        self.peer.as_deref()
    }

    /// Shows one claim of the caller.
    #[must_use]
    pub fn meta(&self, key: &str) -> Option<&str> {
        self.meta.as_ref()?.entries.get(key).map(String::as_str)
    }

    /// Goes through all claims of the caller, by key.
    pub fn metas(&self) -> impl Iterator<Item = (&str, &str)> {
        self.meta
            .iter()
            .flat_map(|meta| meta.entries.iter())
            .map(|(key, value)| (key.as_str(), value.as_str()))
    }
}

fn meta_error(kind: ErrorKind, message: &str) -> Error {
    Error::new(kind, serving(), message).with_sent(Sent::No)
}

/// Names who was authenticated, and how.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Peer {
    method: &'static str,
    name: String,
}

impl Peer {
    /// Makes a peer that a check of the given method (`bearer`, `tls`, `unix`, or a word of your
    /// own) has established.
    #[must_use]
    pub fn new(method: &'static str, name: impl Into<String>) -> Self {
        Self { method, name: name.into() }
    }

    /// Says how the peer was authenticated.
    #[must_use]
    pub fn method(&self) -> &'static str {
        self.method
    }

    /// Names the peer.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }
}

impl fmt::Debug for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{:?}", self.method, self.name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_deadline_only_ever_moves_closer() {
        let near = Instant::now() + Duration::from_secs(1);
        let far = near + Duration::from_secs(10);
        assert_eq!(Context::new().with_deadline(near).with_deadline(far).deadline(), Some(near));
        assert_eq!(Context::new().with_timeout(Duration::MAX).deadline(), None);
    }

    #[test]
    fn metadata_is_bounded_and_its_keys_are_plain() {
        let full = Context::new().with_meta("k", "x".repeat(MAX_META - 1 - META_ENTRY)).unwrap();
        assert_eq!(full.clone().with_meta("k", "y").unwrap().meta("k"), Some("y"));
        assert_eq!(full.with_meta("more", "").unwrap_err().kind(), ErrorKind::TooLarge);
        for bad in ["", "Tenant", "a b", "a\n"] {
            assert_eq!(Context::new().with_meta(bad, "v").unwrap_err().kind(), ErrorKind::Encode);
        }
    }

    #[tokio::test]
    async fn a_spawned_task_goes_on_with_the_context() {
        let context = Context::new().with_meta("tenant", "acme").unwrap();
        let seen = scope(context, async {
            spawn(async { current().meta("tenant").map(str::to_owned) }).await
        });
        assert_eq!(seen.await.unwrap().as_deref(), Some("acme"));
        assert!(current().meta("tenant").is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn a_timeout_bounds_the_future_and_what_it_calls() {
        let inner = timeout(Duration::from_secs(5), async { current().remaining() }).await.unwrap();
        assert_eq!(inner, Some(Duration::from_secs(5)));
        let error =
            timeout(Duration::from_secs(5), std::future::pending::<()>()).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Timeout);
    }
}
