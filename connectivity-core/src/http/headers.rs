//! Headers of strategy `http`, shared by both ends: encodes and parses their values, without I/O.

use std::time::Duration;

use http::HeaderValue;
use percent_encoding::{AsciiSet, CONTROLS, percent_decode_str, utf8_percent_encode};

use crate::codec::Codec;
use crate::context::Context;

/// The kind of an error of this crate, as a word of [`ErrorKind`](crate::ErrorKind).
pub(crate) const ERROR: &str = "connectivity-error";

/// Whether a failed call may have run: `no`, `maybe` or `yes`.
pub(crate) const SENT: &str = "connectivity-sent";

/// The fingerprint of the method's contract, as 16 hexadecimal digits: the client's in a request,
/// the gateway's in its response.
pub(crate) const CONTRACT: &str = "connectivity-contract";

/// The time until the client's deadline, in milliseconds.
pub(crate) const TIMEOUT_MS: &str = "connectivity-timeout-ms";

/// The client's metadata: `key=value` pairs, percent-encoded, joined by `&`.
pub(crate) const META: &str = "connectivity-meta";

/// The W3C trace context.
pub(crate) const TRACE_PARENT: &str = "traceparent";

const JSON: &str = "application/json";
const BINCODE: &str = "application/x-bincode";
pub(crate) const OCTET_STREAM: &str = "application/octet-stream";

/// The bytes that are percent-encoded in a metadata value: all but visible ASCII, and of that `%`,
/// `&`, `=` and `"`.
const ESCAPED: &AsciiSet = &CONTROLS.add(b' ').add(b'%').add(b'&').add(b'=').add(b'"');

/// Returns the content type of a codec.
pub(crate) fn content_type(codec: Codec) -> &'static str {
    match codec {
        Codec::Json => JSON,
        Codec::Bincode => BINCODE,
    }
}

/// Returns the codec of a content type; parameters are ignored.
pub(crate) fn codec(content_type: Option<&HeaderValue>) -> Option<Codec> {
    let essence = content_type?.to_str().ok()?.split(';').next()?.trim();
    [Codec::Json, Codec::Bincode]
        .into_iter()
        .find(|codec| essence.eq_ignore_ascii_case(self::content_type(*codec)))
}

/// Encodes a fingerprint.
pub(crate) fn contract(fingerprint: u64) -> HeaderValue {
    // Hexadecimal digits are always a valid header value.
    HeaderValue::try_from(format!("{fingerprint:016x}"))
        .unwrap_or_else(|_| HeaderValue::from_static(""))
}

/// Parses a fingerprint.
pub(crate) fn read_contract(value: &HeaderValue) -> Option<u64> {
    let text = value
        .to_str()
        .ok()
        .filter(|text| text.len() == 16 && text.bytes().all(|b| b.is_ascii_hexdigit()))?;
    u64::from_str_radix(text, 16).ok()
}

/// Encodes the time until a deadline; never 0, which is invalid.
pub(crate) fn timeout(left: Duration) -> HeaderValue {
    HeaderValue::from(u64::try_from(left.as_millis()).unwrap_or(u64::MAX).max(1))
}

/// Parses the time until the client's deadline.
pub(crate) fn read_timeout(value: &HeaderValue) -> Option<Duration> {
    let ms = value.to_str().ok()?.parse().ok().filter(|ms| *ms > 0)?;
    Some(Duration::from_millis(ms))
}

/// Encodes metadata.
pub(crate) fn meta<'a>(metas: impl Iterator<Item = (&'a str, &'a str)>) -> Option<HeaderValue> {
    let pairs: Vec<_> = metas
        .map(|(key, value)| format!("{key}={}", utf8_percent_encode(value, ESCAPED)))
        .collect();
    if pairs.is_empty() { None } else { HeaderValue::try_from(pairs.join("&")).ok() }
}

/// Adds the metadata of a header to a context. Returns `None` if the header is not in the form that
/// [`meta`] writes, or is too large.
pub(crate) fn read_meta(value: &HeaderValue, context: Context) -> Option<Context> {
    let text = value.to_str().ok()?;
    text.split('&').try_fold(context, |context, pair| {
        let (key, value) = pair.split_once('=')?;
        let value = percent_decode_str(value).decode_utf8().ok()?;
        context.with_meta(key, value).ok()
    })
}

/// Checks the form of a `traceparent`; its content is up to the tracer.
pub(crate) fn read_trace_parent(value: &HeaderValue) -> Option<&str> {
    let text = value.to_str().ok().filter(|text| text.len() <= 128)?;
    text.bytes().all(|b| b.is_ascii_hexdigit() || b == b'-').then_some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metadata_survives_whatever_it_holds() {
        let context = Context::new()
            .with_meta("tenant", "Käse & Co=1%\"\n")
            .unwrap()
            .with_meta("a.b", "")
            .unwrap();
        let header = meta(context.metas()).unwrap();
        let back = read_meta(&header, Context::new()).unwrap();
        assert_eq!(back.metas().collect::<Vec<_>>(), context.metas().collect::<Vec<_>>());
        assert_eq!(meta(Context::new().metas()), None);
    }

    #[test]
    fn hostile_metadata_is_refused_whole() {
        let oversized = format!("a={}", "x".repeat(9000));
        for bad in ["", "a", "=1", "A=1", "a=%ff", &oversized] {
            assert!(
                read_meta(&HeaderValue::try_from(bad).unwrap(), Context::new()).is_none(),
                "{bad:.20}"
            );
        }
    }

    #[test]
    fn content_types_are_read_without_regard_to_case_and_parameters() {
        let read = |text: &'static str| codec(Some(&HeaderValue::from_static(text)));
        assert_eq!(read("application/json; charset=utf-8"), Some(Codec::Json));
        assert_eq!(read("Application/X-Bincode"), Some(Codec::Bincode));
        assert_eq!(read("text/plain"), None);
        assert_eq!(codec(None), None);
    }

    #[test]
    fn a_fingerprint_has_sixteen_digits() {
        for fingerprint in [0, 0xfe, u64::MAX] {
            assert_eq!(read_contract(&contract(fingerprint)), Some(fingerprint));
        }
        for bad in ["", "fe", "+00000000000000f", "00000000000000fg", "00000000000000000"] {
            assert_eq!(read_contract(&HeaderValue::from_static(bad)), None, "{bad}");
        }
    }

    #[test]
    fn a_timeout_is_a_positive_number() {
        assert_eq!(
            read_timeout(&timeout(Duration::from_millis(250))),
            Some(Duration::from_millis(250))
        );
        assert_eq!(read_timeout(&timeout(Duration::ZERO)), Some(Duration::from_millis(1)));
        for bad in ["0", "-1", "1.5", "x", "99999999999999999999"] {
            assert_eq!(read_timeout(&HeaderValue::from_static(bad)), None, "{bad}");
        }
    }
}
