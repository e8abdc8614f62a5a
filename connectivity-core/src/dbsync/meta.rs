//! The head of a push: `SYN1`, the length of the description, and the description as JSON.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::tls::hex;

/// The first bytes of a push.
pub(super) const MAGIC: [u8; 4] = *b"SYN1";

/// Maximum length of the description in bytes.
pub(super) const MAX_META: usize = 1 << 20;

/// The description of a snapshot.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct SnapshotMeta {
    /// The version: when it was produced, in milliseconds since 1970. A later snapshot has a larger
    /// one, whatever the clock does.
    pub version: i64,
    /// The SHA-256 of the database file, in lower-case hex digits.
    pub hash: String,
    /// The length of the database file in bytes.
    pub size: u64,
    /// When it was produced, in seconds since 1970.
    pub timestamp: i64,
}

impl SnapshotMeta {
    /// Describes a file that was just produced, after a version `before`.
    pub(super) fn now(hash: &[u8], size: u64, before: i64) -> Self {
        let now = since_1970(SystemTime::now());
        let version = i64::try_from(now.as_millis()).unwrap_or(i64::MAX);
        let version = version.max(before.saturating_add(1));
        let timestamp = i64::try_from(now.as_secs()).unwrap_or(i64::MAX);
        Self { version, hash: hex(hash), size, timestamp }
    }

    /// Returns the head of a push.
    pub(super) fn head(&self, compressed: bool) -> serde_json::Result<Vec<u8>> {
        #[derive(Serialize)]
        struct Wire<'a> {
            #[serde(flatten)]
            meta: &'a SnapshotMeta,
            compressed: bool,
        }
        let json = serde_json::to_vec(&Wire { meta: self, compressed })?;
        let length = u32::try_from(json.len()).unwrap_or(u32::MAX);
        Ok([&MAGIC[..], &length.to_be_bytes(), &json].concat())
    }

    /// Parses the description, and returns whether the file is compressed. Keys may have any case,
    /// as the original reads them.
    pub(super) fn parse(json: &[u8]) -> Result<(Self, bool), &'static str> {
        let keys: Map<String, Value> =
            serde_json::from_slice(json).map_err(|_| "the description is no JSON object")?;
        let get = |name: &str| {
            keys.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value)
        };
        let number = |name| get(name).and_then(Value::as_i64);
        let hash = get("hash").and_then(Value::as_str).map(str::to_ascii_lowercase);
        let meta = Self {
            version: number("version").ok_or("`version` is no number")?,
            hash: hash
                .filter(|hash| is_digest(hash))
                .ok_or("`hash` is no SHA-256 in hex digits")?,
            size: get("size").and_then(Value::as_u64).ok_or("`size` is no number of bytes")?,
            timestamp: number("timestamp").unwrap_or_default(),
        };
        match get("compressed") {
            None | Some(Value::Null) => Ok((meta, false)),
            Some(Value::Bool(compressed)) => Ok((meta, *compressed)),
            Some(_) => Err("`compressed` is neither true nor false"),
        }
    }

    /// Returns how long ago the snapshot was produced; zero if its clock is ahead of ours.
    pub(super) fn age(&self) -> Duration {
        let produced = Duration::from_secs(u64::try_from(self.timestamp).unwrap_or_default());
        since_1970(SystemTime::now()).saturating_sub(produced)
    }
}

/// Returns the time since 1970; zero before it.
pub(super) fn since_1970(time: SystemTime) -> Duration {
    time.duration_since(UNIX_EPOCH).unwrap_or_default()
}

fn is_digest(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

#[cfg(test)]
mod tests {
    use super::*;

    const DIGEST: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    fn meta() -> SnapshotMeta {
        SnapshotMeta {
            version: 1_772_960_000_123,
            hash: DIGEST.to_owned(),
            size: 8192,
            timestamp: 1_772_960_000,
        }
    }

    /// The bytes that the original writes and reads, by its description.
    #[test]
    fn the_head_of_a_push_has_the_bytes_of_the_original() {
        let json = format!(
            r#"{{"version":1772960000123,"hash":"{DIGEST}","size":8192,"timestamp":1772960000,"compressed":true}}"#
        );
        let mut golden = b"SYN1\x00\x00\x00\x98".to_vec();
        golden.extend(json.as_bytes());
        assert_eq!(json.len(), 0x98);
        assert_eq!(meta().head(true).unwrap(), golden);
        assert_eq!(SnapshotMeta::parse(json.as_bytes()), Ok((meta(), true)));
    }

    #[test]
    fn keys_have_any_case_and_compression_may_be_absent() {
        let json = format!(
            r#"{{"Version":1772960000123,"HASH":"{}","Size":8192,"timeStamp":1772960000,"more":[]}}"#,
            DIGEST.to_uppercase()
        );
        assert_eq!(SnapshotMeta::parse(json.as_bytes()), Ok((meta(), false)));
    }

    #[test]
    fn what_is_no_description_is_refused() {
        let with = |hash: &str, rest: &str| format!(r#"{{"version":1,"hash":"{hash}"{rest}}}"#);
        for (json, problem) in [
            ("[]".to_owned(), "JSON object"),
            ("{".to_owned(), "JSON object"),
            (with("ab", r#","size":1"#), "SHA-256"),
            (with(&"é".repeat(32), r#","size":1"#), "SHA-256"),
            (with(DIGEST, ""), "size"),
            (with(DIGEST, r#","size":-1"#), "size"),
            (with(DIGEST, r#","size":1e300"#), "size"),
            (with(DIGEST, r#","size":1,"compressed":"yes""#), "compressed"),
        ] {
            let error = SnapshotMeta::parse(json.as_bytes()).expect_err(&json);
            assert!(error.contains(problem), "{json}: {error}");
        }
    }

    #[test]
    fn versions_grow_whatever_the_clock_does() {
        let ahead = i64::MAX - 5;
        assert_eq!(SnapshotMeta::now(&[0; 32], 1, ahead).version, ahead + 1);
        assert!(SnapshotMeta::now(&[0; 32], 1, 0).version > 1_700_000_000_000);
    }
}
