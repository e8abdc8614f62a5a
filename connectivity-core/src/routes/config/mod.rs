//! The column `config`: one flat JSON object whose keys are validated one by one.

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

/// Retry policy of a route. The contract of a method decides whether a retry is allowed at all.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Retry {
    /// Attempts after the first one: `retry_max`, default 0.
    pub max: u32,
    /// Backoff before the first retry: `retry_backoff_ms`, default 50 ms.
    pub backoff: Duration,
}

/// Circuit breaker settings of a route.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Breaker {
    /// Failures in a row that open the breaker: `breaker_failures`, default 5.
    pub failures: u32,
    /// How long the breaker stays open: `breaker_reset_ms`, default 30 s.
    pub reset: Duration,
    /// Successful probes that close the breaker: `breaker_probes`, default 2.
    pub probes: u32,
}

/// Parsed column `config`, with defaults filled in.
///
/// Every key is validated, whatever the strategy: a wrong type or value makes the row invalid. An
/// unknown key, or a key that only other strategies use, causes a warning. On `local` and `noop`
/// the keys of transports cause no warning, because they are kept for a later change of the
/// strategy.
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
    /// Parses the text of the column. An empty text means `{}`, and so does `null`, which the
    /// original Go implementation writes.
    ///
    /// # Errors
    /// Returns an error that names the key, the type of its value and the allowed values. The error
    /// never contains the value of a header or of `api_key`.
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

    /// Returns the node that serves this row locally while all other nodes follow its strategy:
    /// `home`.
    #[must_use]
    pub const fn home(&self) -> Option<&Name> {
        self.home.as_ref()
    }

    /// Returns the timeout of one call: `timeout_ms`. By default a remote route has 30 s and any
    /// other route has no timeout.
    #[must_use]
    pub const fn timeout(&self) -> Option<Duration> {
        self.timeout
    }

    /// Returns the retry policy: `retry_max`, `retry_backoff_ms`.
    #[must_use]
    pub const fn retry(&self) -> &Retry {
        &self.retry
    }

    /// Returns the breaker settings. The breaker is off unless one of `breaker_failures`,
    /// `breaker_reset_ms`, `breaker_probes` is set.
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

    /// Returns whether calls fall back to the local implementation if the transport fails:
    /// `"fallback":"local"`.
    #[must_use]
    pub const fn fallback_to_local(&self) -> bool {
        self.fallback_to_local
    }

    /// Returns the limit of concurrent calls: `concurrency`, default unlimited.
    ///
    /// Calls that a typed client sent straight to the local implementation before the row had a
    /// limit are not counted.
    #[must_use]
    pub const fn concurrency(&self) -> Option<usize> {
        self.concurrency
    }

    /// Returns the encoding set by `codec`; `None` leaves the choice to the transport.
    #[must_use]
    pub const fn codec(&self) -> Option<Codec> {
        self.codec
    }

    /// Returns the maximum request size in bytes: `max_request_bytes`, default 16 MiB.
    #[must_use]
    pub const fn max_request_bytes(&self) -> usize {
        self.max_request_bytes
    }

    /// Returns the maximum reply size in bytes: `max_reply_bytes`, default 16 MiB.
    #[must_use]
    pub const fn max_reply_bytes(&self) -> usize {
        self.max_reply_bytes
    }

    /// Returns how long calls in flight may drain after the route changed: `drain_ms`, default 30
    /// s.
    #[must_use]
    pub const fn drain(&self) -> Duration {
        self.drain
    }

    /// Returns the name to call on the server, if it differs there: `remote_name`.
    #[must_use]
    pub const fn remote_name(&self) -> Option<&Name> {
        self.remote_name.as_ref()
    }

    /// Returns the `Content-Type` of requests to a raw service: default `application/octet-stream`.
    #[must_use]
    pub fn content_type(&self) -> &str {
        self.content_type.as_deref().unwrap_or("application/octet-stream")
    }

    /// Returns the headers to add: `headers`. Names are unique, ignoring case.
    #[must_use]
    pub fn headers(&self) -> &[(String, HeaderValue)] {
        &self.headers
    }

    /// Returns how the server is verified and which client identity is presented.
    #[must_use]
    pub const fn tls(&self) -> &RouteTls {
        &self.tls
    }

    /// Returns the MCP tool to call: `tool_name`.
    #[must_use]
    pub fn tool_name(&self) -> Option<&str> {
        self.tool_name.as_deref()
    }

    /// Returns the embedding model: `model`.
    #[must_use]
    pub fn model(&self) -> Option<&str> {
        self.model.as_deref()
    }

    /// Returns the length of a vector: `dimension`. `None` (or 0 in the row) takes the length from
    /// the first reply.
    #[must_use]
    pub const fn dimension(&self) -> Option<usize> {
        self.dimension
    }

    /// Returns the number of texts per request: `batch_size`, default 32.
    #[must_use]
    pub const fn batch_size(&self) -> usize {
        self.batch_size
    }

    /// Returns the reference to the API key of the embedding server: `api_key`.
    #[must_use]
    pub const fn api_key(&self) -> Option<&SecretRef> {
        self.api_key.as_ref()
    }

    /// Returns the warnings: unknown keys, and keys that this strategy does not use.
    #[must_use]
    pub fn warnings(&self) -> &[RouteWarning] {
        &self.warnings
    }

    /// Returns the whole JSON text, for keys of a user's own transport. It may contain header
    /// values, so do not print it.
    #[must_use]
    pub fn json(&self) -> &str {
        &self.json
    }
}

/// Omits the JSON text, which may contain plain header values. A log only needs the warnings and
/// the most used keys.
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
