//! State of a circuit breaker, as users see it.

use std::fmt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Serialize, Serializer};

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
        #[serde(serialize_with = "serialize_utc")]
        since: SystemTime,
        /// When it admits a probe.
        #[serde(serialize_with = "serialize_utc")]
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

pub(crate) fn serialize_utc<S: Serializer>(
    time: &SystemTime,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&utc(*time))
}

/// Formats a time as RFC 3339 UTC. Times before 1970 or after 9999 are clamped.
pub(crate) fn utc(time: SystemTime) -> String {
    const LAST: u64 = 253_402_300_799;
    let seconds = time.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs().min(LAST);
    let (mut days, second) = (seconds / 86_400, seconds % 86_400);
    let leap = |year: u64| {
        year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400))
    };
    let mut year = 1970;
    while days >= 365 + u64::from(leap(year)) {
        days -= 365 + u64::from(leap(year));
        year += 1;
    }
    let mut month = 1;
    for length in [31, 28 + u64::from(leap(year)), 31, 30, 31, 30, 31, 31, 30, 31, 30] {
        if days < length {
            break;
        }
        days -= length;
        month += 1;
    }
    let (hour, minute) = (second / 3600, second / 60 % 60);
    format!("{year:04}-{month:02}-{:02}T{hour:02}:{minute:02}:{:02}Z", days + 1, second % 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_the_ones_of_date_u() {
        for (seconds, text) in [
            (0, "1970-01-01T00:00:00Z"),
            (951_782_400, "2000-02-29T00:00:00Z"),
            (1_709_251_199, "2024-02-29T23:59:59Z"),
            (1_735_689_599, "2024-12-31T23:59:59Z"),
            (4_107_542_400, "2100-03-01T00:00:00Z"),
        ] {
            assert_eq!(utc(UNIX_EPOCH + Duration::from_secs(seconds)), text);
        }
    }

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
