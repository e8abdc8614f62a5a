//! The answer to a call.

use bytes::Bytes;

use crate::call::{Body, not_encoded};
use crate::codec::{Codec, CodecError};
use crate::error::{Error, ErrorKind, Sent};

/// The answer of an implementation: its value, or the error type of the contract.
///
/// An error of the contract ([`is_app_error`](Self::is_app_error)) is an answer: it opens no
/// breaker and is not retried.
#[derive(Debug)]
pub struct Reply {
    body: Body,
    app_error: bool,
    /// How the contracts of the two ends differ, where a transport found that they do.
    drift: Option<String>,
}

impl Reply {
    /// Makes the answer of a raw service.
    #[must_use]
    pub fn raw(bytes: impl Into<Bytes>) -> Self {
        Self { body: Body::Raw(bytes.into()), app_error: false, drift: None }
    }

    /// Makes an answer that a transport has received: a value, or the contract's error.
    #[must_use]
    pub fn encoded(codec: Codec, bytes: impl Into<Bytes>, app_error: bool) -> Self {
        Self { body: Body::Encoded(codec, bytes.into()), app_error, drift: None }
    }

    /// Makes the answer of a typed method.
    pub(crate) fn typed(body: Body, app_error: bool) -> Self {
        Self { body, app_error, drift: None }
    }

    /// Notes how the contracts differ: an answer that cannot be decoded then tells it.
    #[cfg(any(feature = "http", feature = "wire"))]
    pub(crate) fn with_drift(self, drift: String) -> Self {
        Self { drift: Some(drift), ..self }
    }

    /// Says whether the implementation answered with the error type of its contract.
    #[must_use]
    pub fn is_app_error(&self) -> bool {
        self.app_error
    }

    /// Shows the value or error.
    #[must_use]
    pub fn body(&self) -> &Body {
        &self.body
    }

    /// Encodes the answer to `name` for a wire: the codec (`None` for raw bytes) and the bytes.
    /// What bincode cannot carry is JSON.
    ///
    /// # Errors
    /// [`Encode`](ErrorKind::Encode) where neither codec can carry it, and
    /// [`Internal`](ErrorKind::Internal) where its type refuses to be serialized; what it says of
    /// that is logged here, not sent. `sent` is `Yes`: the call ran.
    pub fn encode(&self, name: &str, codec: Codec) -> Result<(Option<Codec>, Bytes), Error> {
        self.body.encode(codec, name).map_err(|cause| self.encode_failed(name, &cause))
    }

    fn encode_failed(&self, name: &str, cause: &CodecError) -> Error {
        if cause.private_cause().is_some() {
            let what = if self.app_error { "the error of an implementation" } else { "the reply" };
            let shown = self.body.explain().unwrap_or_default();
            not_encoded(name, what, &shown, cause);
            let message =
                format!("{what} cannot be serialized; why stands in the log of its process");
            return Error::new(ErrorKind::Internal, name, message).with_sent(Sent::Yes);
        }
        Error::new(ErrorKind::Encode, name, format!("the reply: {cause}")).with_sent(Sent::Yes)
    }

    /// Takes the answer apart: the value or error, whether it is the error, and how the contracts
    /// differ.
    pub(crate) fn into_parts(self) -> (Body, bool, Option<String>) {
        (self.body, self.app_error, self.drift)
    }
}
