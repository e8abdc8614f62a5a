//! JSON, by `serde_json`: nesting stops at 128, and nothing may follow the value.

use bytes::{BufMut, Bytes};
use serde::Serialize;
use serde::de::{DeserializeOwned, DeserializeSeed};
use serde_json::Deserializer;
use serde_json::error::Category;

use super::checked::Check;
use super::guard::Guard;
use super::{CodecError, Limits, chunk};

pub(super) fn encode<T: Serialize + ?Sized>(value: &T) -> Result<Bytes, CodecError> {
    let check = Check::default();
    chunk::cut(|out| {
        serde_json::to_writer(out.writer(), &check.value(value))
            .map_err(|error| failed(&check, &error))
    })
}

fn failed(check: &Check, error: &serde_json::Error) -> CodecError {
    match (check.found(), error.classify()) {
        (Some(what), _) => CodecError::uncarried(what),
        // What a `Serialize` says of itself.
        (None, Category::Data) => CodecError::refused(error.to_string()),
        // Of JSON: a key that is no text, say.
        (None, _) => CodecError::uncarried(error),
    }
}

pub(super) fn decode<T: DeserializeOwned>(bytes: &[u8], limits: Limits) -> Result<T, CodecError> {
    // serde_json counts the depth by itself.
    let guard = Guard::new(limits);
    let mut json = Deserializer::from_slice(bytes);
    let value = guard.seed::<T>().deserialize(&mut json);
    value
        .and_then(|value| json.end().map(|()| value))
        .map_err(|error| CodecError::undecoded(guard.fault(error)))
}
