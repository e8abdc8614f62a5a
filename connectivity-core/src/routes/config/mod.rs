//! The column `config`: one flat JSON object, checked key by key.

mod json;
mod keys;
mod secret;
#[cfg(test)]
mod tests;
mod tls;
mod warning;

use std::fmt;
use std::time::Duration;

use super::error::RouteError;
use super::strategy::Strategy;
use crate::codec::Codec;
use crate::name::Name;

pub use secret::{HeaderValue, SecretRef};
pub use tls::RouteTls;
pub use warning::RouteWarning;

const DRAIN: Duration = Duration::from_secs(30);
const RETRY_BACKOFF: Duration = Duration::from_millis(50);
const MAX_BODY: usize = 16 << 20;
const BATCH_SIZE: usize = 32;

/// Says how often a call may be repeated; whether it may be repeated at all, the method says.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Retry {
    /// Attempts after the first: `retry_max`, 0 unless given.
    pub max: u32,
    /// The first wait: `retry_backoff_ms`, 50 ms unless given.
    pub backoff: Duration,
}

/// Says when a route stops trying for a while.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Breaker {
    /// Failures in a row that open it: `breaker_failures`, 5 unless given.
    pub failures: u32,
    /// How long it stays open: `breaker_reset_ms`, 30 s unless given.
    pub reset: Duration,
    /// Successes that close it again: `breaker_probes`, 2 unless given.
    pub probes: u32,
}

/// Holds what the column `config` says, with defaults filled in.
///
/// Every key is checked, whatever the strategy is: a wrong type or value makes the row bad. An
/// unknown key, or one that another strategy uses, makes a warning. On `local` and `noop` the keys
/// of transports are parked for the next move, so they warn of nothing.
#[derive(Clone, PartialEq)]
pub struct RouteConfig {
    home: Option<Name>,
    timeout: Option<Duration>,
    retry: Retry,
    breaker_failures: Option<u32>,
    breaker_reset: Option<Duration>,
    breaker_probes: Option<u32>,
    fallback_to_local: bool,
    concurrency: Option<usize>,
    codec: Option<Codec>,
    max_request_bytes: usize,
    max_reply_bytes: usize,
    drain: Duration,
    remote_name: Option<Name>,
    content_type: Option<String>,
    headers: Vec<(String, HeaderValue)>,
    tls: RouteTls,
    tool_name: Option<String>,
    model: Option<String>,
    dimension: Option<usize>,
    batch_size: usize,
    api_key: Option<SecretRef>,
    warnings: Vec<RouteWarning>,
    json: String,
}

impl RouteConfig {
    /// Checks the text of a row; an empty one means `{}`, and so does `null`, which the Go original
    /// writes.
    ///
    /// # Errors
    /// Names the key, the kind of what stands there, and what is allowed. The value of a header or
    /// of `api_key` is never part of the text.
    pub fn parse(text: &str, strategy: &Strategy) -> Result<Self, RouteError> {
        let mut config = Self::defaults();
        if text.is_empty() || text.trim_ascii() == "null" {
            return Ok(config);
        }
        for (key, value) in &json::object(text)? {
            keys::read(&mut config, key, value, strategy)?;
        }
        config.tls.check().map_err(|(key, text)| RouteError::config(key, text))?;
        config.warnings.extend(config.tls.warning());
        text.clone_into(&mut config.json);
        Ok(config)
    }

    fn defaults() -> Self {
        Self {
            home: None,
            timeout: None,
            retry: Retry { max: 0, backoff: RETRY_BACKOFF },
            breaker_failures: None,
            breaker_reset: None,
            breaker_probes: None,
            fallback_to_local: false,
            concurrency: None,
            codec: None,
            max_request_bytes: MAX_BODY,
            max_reply_bytes: MAX_BODY,
            drain: DRAIN,
            remote_name: None,
            content_type: None,
            headers: Vec::new(),
            tls: RouteTls::default(),
            tool_name: None,
            model: None,
            dimension: None,
            batch_size: BATCH_SIZE,
            api_key: None,
            warnings: Vec::new(),
            json: "{}".to_owned(),
        }
    }

    /// The node that serves this row locally while all others follow its strategy: `home`.
    #[must_use]
    pub const fn home(&self) -> Option<&Name> {
        self.home.as_ref()
    }

    /// The cap for one call: `timeout_ms`. Unless given, a remote route has 30 s and any other
    /// none.
    #[must_use]
    pub const fn timeout(&self) -> Option<Duration> {
        self.timeout
    }

    /// How often to try again: `retry_max`, `retry_backoff_ms`.
    #[must_use]
    pub const fn retry(&self) -> &Retry {
        &self.retry
    }

    /// When to stop trying: off unless one of `breaker_failures`, `breaker_reset_ms`,
    /// `breaker_probes` is given.
    #[must_use]
    pub fn breaker(&self) -> Option<Breaker> {
        if self.breaker_failures.is_none()
            && self.breaker_reset.is_none()
            && self.breaker_probes.is_none()
        {
            return None;
        }
        Some(Breaker {
            failures: self.breaker_failures.unwrap_or(5),
            reset: self.breaker_reset.unwrap_or(Duration::from_secs(30)),
            probes: self.breaker_probes.unwrap_or(2),
        })
    }

    /// Whether the local implementation steps in when the transport fails: `"fallback":"local"`.
    #[must_use]
    pub const fn fallback_to_local(&self) -> bool {
        self.fallback_to_local
    }

    /// The most calls in flight: `concurrency`, no limit unless given.
    ///
    /// Calls of a typed client that went straight to their implementation, before a row had a
    /// limit, are not counted.
    #[must_use]
    pub const fn concurrency(&self) -> Option<usize> {
        self.concurrency
    }

    /// The encoding that `codec` asks for; `None` leaves it to the transport.
    #[must_use]
    pub const fn codec(&self) -> Option<Codec> {
        self.codec
    }

    /// The longest request: `max_request_bytes`, 16 MiB unless given.
    #[must_use]
    pub const fn max_request_bytes(&self) -> usize {
        self.max_request_bytes
    }

    /// The longest reply: `max_reply_bytes`, 16 MiB unless given.
    #[must_use]
    pub const fn max_reply_bytes(&self) -> usize {
        self.max_reply_bytes
    }

    /// How long calls in flight may finish after the route moved: `drain_ms`, 30 s unless given.
    #[must_use]
    pub const fn drain(&self) -> Duration {
        self.drain
    }

    /// The name to call on the other side, if it has another one there: `remote_name`.
    #[must_use]
    pub const fn remote_name(&self) -> Option<&Name> {
        self.remote_name.as_ref()
    }

    /// The `Content-Type` of a raw service's request: `application/octet-stream` unless given.
    #[must_use]
    pub fn content_type(&self) -> &str {
        self.content_type.as_deref().unwrap_or("application/octet-stream")
    }

    /// Headers to add: `headers`; no name occurs twice, in whatever case.
    #[must_use]
    pub fn headers(&self) -> &[(String, HeaderValue)] {
        &self.headers
    }

    /// How the other side is verified, and who we are to it.
    #[must_use]
    pub const fn tls(&self) -> &RouteTls {
        &self.tls
    }

    /// The MCP tool to call: `tool_name`.
    #[must_use]
    pub fn tool_name(&self) -> Option<&str> {
        self.tool_name.as_deref()
    }

    /// The embedding model: `model`.
    #[must_use]
    pub fn model(&self) -> Option<&str> {
        self.model.as_deref()
    }

    /// The length of a vector: `dimension`; `None` (or 0 in the row) learns it from the first
    /// reply.
    #[must_use]
    pub const fn dimension(&self) -> Option<usize> {
        self.dimension
    }

    /// Texts in one request: `batch_size`, 32 unless given.
    #[must_use]
    pub const fn batch_size(&self) -> usize {
        self.batch_size
    }

    /// Where the key of the embedding server stands: `api_key`.
    #[must_use]
    pub const fn api_key(&self) -> Option<&SecretRef> {
        self.api_key.as_ref()
    }

    /// What is odd but harmless: unknown keys, keys that this strategy does not use.
    #[must_use]
    pub fn warnings(&self) -> &[RouteWarning] {
        &self.warnings
    }

    /// The whole JSON text, for the own keys of a user's transport; it may hold header values, so
    /// do not print it.
    #[must_use]
    pub fn json(&self) -> &str {
        &self.json
    }
}

/// Leaves out the JSON text, which may hold plain header values; the warnings and the most used
/// keys are what a log needs.
impl fmt::Debug for RouteConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RouteConfig")
            .field("timeout", &self.timeout)
            .field("retry", &self.retry)
            .field("breaker", &self.breaker())
            .field("headers", &self.headers)
            .field("tls", &self.tls)
            .field("warnings", &self.warnings)
            .finish_non_exhaustive()
    }
}
