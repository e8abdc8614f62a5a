//! Times as text: RFC 3339 in UTC, to the second.

use std::time::SystemTime;

use jiff::Timestamp;
use serde::Serializer;

/// Serializes a time as the text of [`text`].
pub(crate) fn serialize<S: Serializer>(
    time: &SystemTime,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&text(*time))
}

/// Formats a time such as `2026-08-02T10:11:12Z`. Times that the calendar of jiff does not reach
/// (before the year -9999, after 9999) become its ends.
pub(crate) fn text(time: SystemTime) -> String {
    let end = || if time < SystemTime::UNIX_EPOCH { Timestamp::MIN } else { Timestamp::MAX };
    let time = Timestamp::try_from(time).unwrap_or_else(|_out_of_range| end());
    time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use super::*;

    #[test]
    fn times_are_the_ones_of_date_u() {
        for (seconds, expected) in [
            (0, "1970-01-01T00:00:00Z"),
            (951_782_400, "2000-02-29T00:00:00Z"),
            (1_709_251_199, "2024-02-29T23:59:59Z"),
            (1_735_689_599, "2024-12-31T23:59:59Z"),
            (4_107_542_400, "2100-03-01T00:00:00Z"),
        ] {
            assert_eq!(text(UNIX_EPOCH + Duration::from_secs(seconds)), expected);
        }
    }

    #[test]
    fn times_out_of_the_calendar_are_its_ends() {
        let last = text(UNIX_EPOCH + Duration::from_secs(1 << 60));
        assert!(last.starts_with("9999-12-30T"), "{last}");
    }
}
