//! State of a circuit breaker, as users see it.

use std::fmt;
use std::time::{Duration, SystemTime};

use serde::Serialize;

use crate::utc;

/// State of a [`CircuitBreaker`](crate::CircuitBreaker). Serialized, times are strings such as
/// `2026-08-02T10:11:12Z`; displayed, they are relative to now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "state", rename_all = "snake_case")]
#[non_exhaustive]
pub enum BreakerState {
    /// Calls are admitted.
    Closed {
        /// Number of failures in a row.
        failures: u32,
    },
    /// Calls are rejected.
    Open {
        /// When the breaker opened.
        #[serde(serialize_with = "utc::serialize")]
        since: SystemTime,
        /// When it admits a probe.
        #[serde(serialize_with = "utc::serialize")]
        until: SystemTime,
    },
    /// One call at a time is admitted, as a probe.
    HalfOpen {
        /// Number of probes that have succeeded so far.
        successes: u32,
    },
}

impl fmt::Display for BreakerState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Closed { failures: 0 } => f.write_str("closed"),
            Self::Closed { failures } => write!(f, "closed, {failures} failures in a row"),
            Self::HalfOpen { successes } => {
                write!(f, "half open, {successes} probes have succeeded")
            }
            Self::Open { since, until } => {
                let now = SystemTime::now();
                let open = now.duration_since(*since).unwrap_or_default();
                let left = until.duration_since(now).unwrap_or_default();
                write!(
                    f,
                    "open for {} s, a probe may pass in {} s",
                    open.as_secs(),
                    ceil_seconds(left)
                )
            }
        }
    }
}

fn ceil_seconds(left: Duration) -> u64 {
    left.as_secs() + u64::from(left.subsec_nanos() > 0)
}

#[cfg(test)]
mod tests {
    use std::time::UNIX_EPOCH;

    use super::*;

    #[test]
    fn an_open_breaker_tells_its_times_in_words() {
        let since = UNIX_EPOCH + Duration::from_secs(60);
        let open = BreakerState::Open { since, until: since + Duration::from_secs(30) };
        let json = serde_json::to_string(&open).unwrap();
        assert_eq!(
            json,
            r#"{"state":"open","since":"1970-01-01T00:01:00Z","until":"1970-01-01T00:01:30Z"}"#
        );
        assert!(open.to_string().ends_with(" s, a probe may pass in 0 s"), "{open}");
        let half = serde_json::to_string(&BreakerState::HalfOpen { successes: 1 }).unwrap();
        assert_eq!(half, r#"{"state":"half_open","successes":1}"#);
    }
}
