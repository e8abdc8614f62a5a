//! The JSON codec, on `serde_json`. Nesting is limited to 128, and trailing data is an error.

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
            .map_err(|error| encode_error(&check, &error))
    })
}

fn encode_error(check: &Check, error: &serde_json::Error) -> CodecError {
    match (check.take_reason(), error.classify()) {
        (Some(reason), _) => CodecError::unencodable(reason),
        // An error of the `Serialize` implementation.
        (None, Category::Data) => CodecError::refused(error.to_string()),
        // A limit of JSON, such as a map key that is not a string.
        (None, _) => CodecError::unencodable(error),
    }
}

pub(super) fn decode<T: DeserializeOwned>(bytes: &[u8], limits: Limits) -> Result<T, CodecError> {
    // serde_json enforces the depth limit itself.
    let guard = Guard::new(limits);
    let mut json = Deserializer::from_slice(bytes);
    let value = guard.seed::<T>().deserialize(&mut json);
    value
        .and_then(|value| json.end().map(|()| value))
        .map_err(|error| CodecError::undecodable(guard.fault(error)))
}
