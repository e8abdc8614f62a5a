//! JSON, by `serde_json`: nesting stops at 128, and nothing may follow the value.

use bytes::{BufMut, Bytes};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::{CodecError, chunk};

pub(super) fn encode<T: Serialize + ?Sized>(value: &T) -> Result<Bytes, CodecError> {
    chunk::cut(|out| serde_json::to_writer(out.writer(), value).map_err(CodecError::new))
}

pub(super) fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, CodecError> {
    serde_json::from_slice(bytes).map_err(|cause| CodecError::new(without_values(&cause)))
}

/// Keeps what helps and drops what the sender wrote: `serde_json` quotes the offending value in some texts.
fn without_values(cause: &serde_json::Error) -> String {
    let text = cause.to_string();
    let quotes_value = text.starts_with("invalid type: ") || text.starts_with("invalid value: ");
    match text.split_once(", expected ") {
        Some((_, expected)) if quotes_value => format!("invalid value, expected {expected}"),
        _ => text,
    }
}
