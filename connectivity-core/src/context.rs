//! The context of a call: its deadline, trace, authenticated peer and metadata.
//!
//! The context of the call being served is a task-local. Nested calls inherit it on every strategy.
//! Tasks inherit it if they are spawned with [`spawn`].
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

/// The maximum size of the metadata in bytes: all keys and values, plus the framing of each entry.
pub(crate) const MAX_META: usize = 8 * 1024;

/// The framing of a metadata entry in bytes, so that entries with empty values count too.
const META_ENTRY: usize = 8;

/// The maximum length of a trace parent in bytes. That of W3C Trace Context has 55.
const MAX_TRACE_PARENT: usize = 128;

tokio::task_local! {
    static CURRENT: Context;
}

/// Returns the context of the call being served, or an empty one outside of a call.
#[must_use]
pub fn current() -> Context {
    CURRENT.try_with(Context::clone).unwrap_or_default()
}

/// Runs a future with `context` as the current context, replacing the outer one.
///
/// The deadline of the context applies to the calls made inside. Use [`timeout`] to bound the
/// future itself too.
///
/// # Cancel safety
/// Dropping the returned future drops the inner one.
pub fn scope<F: Future>(context: Context, future: F) -> impl Future<Output = F::Output> {
    CURRENT.scope(context, future)
}

/// Spawns a task that inherits the current context. A plain `tokio::spawn` would lose it.
///
/// The task also inherits the deadline, so calls made in the task end at the deadline of the call
/// that spawned it.
///
/// # Cancel safety
/// Dropping the handle detaches the task, which keeps running.
pub fn spawn<F>(future: F) -> JoinHandle<F::Output>
where
    F: Future<Output: Send> + Send + 'static,
{
    tokio::spawn(CURRENT.scope(current(), future))
}

/// Runs a future with a timeout. The calls inside inherit the deadline, on every strategy.
///
/// # Errors
/// [`Timeout`](ErrorKind::Timeout), named after the call being served, if `limit` passes first.
///
/// # Cancel safety
/// Dropping the returned future drops the inner one.
pub async fn timeout<F: Future>(limit: Duration, future: F) -> Result<F::Output, Error> {
    let context = current().with_timeout(limit);
    let deadline = context.deadline().unwrap_or_else(|| after(limit));
    let scoped = scope(context, future);
    tokio::time::timeout_at(deadline, scoped).await.map_err(|_elapsed| timed_out(&serving()))
}

/// Returns the instant after `limit`, or one 30 years away if the clock cannot represent it.
pub(crate) fn after(limit: Duration) -> Instant {
    const AGES: Duration = Duration::from_secs(30 * 365 * 86_400);
    let now = Instant::now();
    now.checked_add(limit).unwrap_or_else(|| now + AGES)
}

pub(crate) fn timed_out(name: &str) -> Error {
    Error::new(ErrorKind::Timeout, name, "").with_sent(Sent::Maybe)
}

/// Returns the name of the call being served, for errors and logs.
pub(crate) fn serving() -> String {
    current().serving.as_ref().map_or("local", Name::as_str).to_owned()
}

/// Converts any error of an implementation to an [`Error`] of kind
/// [`Internal`](ErrorKind::Internal).
///
/// The cause and its sources are logged in this process. The caller sees only the kind.
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
    /// Logs the cause and returns an error of the kind alone.
    ///
    /// # Errors
    /// Returns an error as `Internal`, named after the call being served.
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

/// The metadata of a call, which its caller claims.
#[derive(Clone, Default, Debug)]
struct Meta {
    entries: BTreeMap<String, String>,
    bytes: usize,
}

/// The deadline, trace, peer and metadata of a call. Cheap to clone.
#[derive(Clone, Default, Debug)]
pub struct Context {
    deadline: Option<Instant>,
    trace_parent: Option<Arc<str>>,
    peer: Option<Arc<Peer>>,
    meta: Option<Arc<Meta>>,
    serving: Option<Name>,
}

impl Context {
    /// Creates an empty context: no deadline, no trace, no peer, no metadata.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets the deadline of calls, unless an earlier one is set.
    #[must_use]
    pub fn with_deadline(mut self, deadline: Instant) -> Self {
        self.deadline = Some(self.deadline.map_or(deadline, |old| old.min(deadline)));
        self
    }

    /// Sets the deadline of calls to `limit` from now, unless an earlier one is set.
    #[must_use]
    pub fn with_timeout(self, limit: Duration) -> Self {
        match Instant::now().checked_add(limit) {
            Some(deadline) => self.with_deadline(deadline),
            None => self,
        }
    }

    /// Like [`with_timeout`](Self::with_timeout), in place: layers have the context only by
    /// reference.
    #[cfg(feature = "router")]
    pub(crate) fn limit(&mut self, limit: Duration) {
        if let Some(deadline) = Instant::now().checked_add(limit) {
            self.deadline = Some(self.deadline.map_or(deadline, |old| old.min(deadline)));
        }
    }

    /// Adds a metadata entry that every call carries, such as a tenant id. Replaces the value of an
    /// existing key.
    ///
    /// Metadata is a claim of the caller and not authenticated. See [`peer`](Self::peer) for the
    /// authenticated identity.
    ///
    /// # Errors
    /// [`TooLarge`](ErrorKind::TooLarge) if keys and values, plus 8 bytes for each entry, exceed
    /// 8 KiB. [`Encode`](ErrorKind::Encode) if the key is empty or contains anything but `a-z 0-9 -
    /// _ .`.
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

    /// Sets the W3C `traceparent` that calls carry. Ignores an invalid one (over 128 bytes, or not
    /// hexadecimal digits and dashes), because a broken trace must not break a call.
    #[must_use]
    pub fn with_trace_parent(mut self, trace_parent: &str) -> Self {
        let plain = trace_parent.bytes().all(|byte| byte.is_ascii_hexdigit() || byte == b'-');
        if plain && trace_parent.len() <= MAX_TRACE_PARENT {
            self.trace_parent = Some(trace_parent.into());
        }
        self
    }

    /// Sets the authenticated peer. For listeners, and for custom HTTP handlers that have checked a
    /// token.
    #[must_use]
    pub fn with_peer(mut self, peer: Peer) -> Self {
        self.peer = Some(Arc::new(peer));
        self
    }

    /// Like [`with_peer`](Self::with_peer), for a listener with many calls of one peer.
    #[cfg(feature = "wire")]
    pub(crate) fn with_shared_peer(mut self, peer: Option<Arc<Peer>>) -> Self {
        self.peer = peer;
        self
    }

    pub(crate) fn serving_call(mut self, name: Name) -> Self {
        self.serving = Some(name);
        self
    }

    /// Returns the deadline of calls.
    #[must_use]
    pub fn deadline(&self) -> Option<Instant> {
        self.deadline
    }

    /// Returns the time until the deadline: zero if it has passed, `None` without a deadline.
    #[must_use]
    pub fn remaining(&self) -> Option<Duration> {
        self.deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()))
    }

    /// Returns the W3C `traceparent`.
    #[must_use]
    pub fn trace_parent(&self) -> Option<&str> {
        self.trace_parent.as_deref()
    }

    /// Returns the peer that the listener of the call has authenticated. `None` for a local call.
    #[must_use]
    pub fn peer(&self) -> Option<&Peer> {
        self.peer.as_deref()
    }

    /// Returns the value of a metadata key, which the caller claims.
    #[must_use]
    pub fn meta(&self, key: &str) -> Option<&str> {
        self.meta.as_ref()?.entries.get(key).map(String::as_str)
    }

    /// Iterates over all metadata entries, sorted by key.
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

/// The authenticated identity of a caller.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Peer {
    method: &'static str,
    name: String,
}

impl Peer {
    /// Creates a peer that was authenticated by a method: `bearer`, `tls`, `unix`, or a custom one.
    #[must_use]
    pub fn new(method: &'static str, name: impl Into<String>) -> Self {
        Self { method, name: name.into() }
    }

    /// Returns the method of the authentication.
    #[must_use]
    pub fn method(&self) -> &'static str {
        self.method
    }

    /// Returns the name of the peer.
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
