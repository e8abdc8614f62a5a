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
use crate::layer::{BreakerConfig, RetryConfig};
use crate::name::Name;

pub use secret::{HeaderValue, SecretRef};
pub use tls::RouteTls;
#[cfg(feature = "tls")]
pub(crate) use tls::digest;
pub use warning::RouteWarning;

const DRAIN: Duration = Duration::from_secs(30);
const MAX_BODY: usize = 16 << 20;
const BATCH_SIZE: usize = 32;
const OCTET_STREAM: &str = "application/octet-stream";

/// Parsed column `config`, with defaults filled in.
///
/// Every key is validated, whatever the strategy: a wrong type or value makes the row invalid. An
/// unknown key, or a key that only other strategies use, causes a warning. On `local` and `noop`
/// the keys of transports cause no warning, because they are kept for a later change of the
/// strategy.
///
/// ```
/// use std::time::Duration;
///
/// use connectivity_core::{RouteConfig, Strategy};
///
/// let config = RouteConfig::parse(r#"{"timeout_ms":500}"#, &Strategy::parse("quic")?)?;
/// assert_eq!(config.timeout, Some(Duration::from_millis(500)));
/// assert_eq!(config.max_reply_bytes, 16 << 20, "a default");
/// # Ok::<(), connectivity_core::RouteError>(())
/// ```
#[derive(Clone, PartialEq)]
#[non_exhaustive]
pub struct RouteConfig {
    /// Node that serves this row locally while all others follow its strategy: `home`.
    pub home: Option<Name>,
    /// Timeout of one call: `timeout_ms`. `None` if the row has none; a remote route then has 30 s,
    /// and any other no timeout.
    pub timeout: Option<Duration>,
    /// Retries of failed calls: `retry_max`, `retry_backoff_ms`.
    pub retry: RetryConfig,
    /// Circuit breaker: enabled if `breaker_failures`, `breaker_reset_ms` or `breaker_probes` is
    /// set.
    pub breaker: Option<BreakerConfig>,
    /// Whether the local implementation serves the call if the transport fails:
    /// `"fallback":"local"`.
    pub fallback_to_local: bool,
    /// Maximum number of calls in flight: `concurrency`. `None` is no limit.
    ///
    /// Calls of a typed client that took the fast path to their implementation before the row had
    /// a limit are not counted.
    pub concurrency: Option<usize>,
    /// Encoding: `codec`. `None` leaves it to the transport.
    pub codec: Option<Codec>,
    /// Maximum request size: `max_request_bytes`, default 16 MiB.
    pub max_request_bytes: usize,
    /// Maximum reply size: `max_reply_bytes`, default 16 MiB.
    pub max_reply_bytes: usize,
    /// How long calls in flight may continue after the route was replaced: `drain_ms`, default
    /// 30 s.
    pub drain: Duration,
    /// Name to call on the server if it differs there: `remote_name`.
    pub remote_name: Option<Name>,
    /// `Content-Type` of a raw service's requests: `content_type`, default
    /// `application/octet-stream`.
    pub content_type: String,
    /// Headers to add to each request: `headers`. No name occurs twice, in whatever case.
    pub headers: Vec<(String, HeaderValue)>,
    /// How the server is verified, and which certificate is presented to it.
    pub tls: RouteTls,
    /// MCP tool to call: `tool_name`.
    pub tool_name: Option<String>,
    /// Embedding model: `model`.
    pub model: Option<String>,
    /// Length of an embedding vector: `dimension`. `None` (or 0 in the row) takes it from the first
    /// reply.
    pub dimension: Option<usize>,
    /// Texts in one embedding request: `batch_size`, default 32.
    pub batch_size: usize,
    /// Reference to the key of the embedding server: `api_key`.
    pub api_key: Option<SecretRef>,
    /// What is odd but harmless: unknown keys, keys that the strategy does not use.
    pub warnings: Vec<RouteWarning>,
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
            retry: RetryConfig::default(),
            breaker: None,
            fallback_to_local: false,
            concurrency: None,
            codec: None,
            max_request_bytes: MAX_BODY,
            max_reply_bytes: MAX_BODY,
            drain: DRAIN,
            remote_name: None,
            content_type: OCTET_STREAM.to_owned(),
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
            .field("breaker", &self.breaker)
            .field("headers", &self.headers)
            .field("tls", &self.tls)
            .field("warnings", &self.warnings)
            .finish_non_exhaustive()
    }
}
