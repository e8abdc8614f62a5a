//! The reply to a call.

use bytes::Bytes;

use crate::call::{Body, log_private_cause};
use crate::codec::{Codec, CodecError};
use crate::error::{Error, ErrorKind, Sent};

/// The reply of an implementation: its value, or the error type of the contract.
///
/// An error of the contract ([`is_app_error`](Self::is_app_error)) is a reply: it does not count as
/// a failure for circuit breakers and is not retried.
#[derive(Debug)]
pub struct Reply {
    body: Body,
    app_error: bool,
    /// How the contracts of client and server differ, if a transport found a difference.
    drift: Option<String>,
}

impl Reply {
    /// Creates the reply of a raw service.
    #[must_use]
    pub fn raw(bytes: impl Into<Bytes>) -> Self {
        Self { body: Body::Raw(bytes.into()), app_error: false, drift: None }
    }

    /// Creates a reply that a transport has received: a value, or the error type of the contract.
    #[must_use]
    pub fn encoded(codec: Codec, bytes: impl Into<Bytes>, app_error: bool) -> Self {
        Self { body: Body::Encoded(codec, bytes.into()), app_error, drift: None }
    }

    /// Creates the reply of a typed method.
    pub(crate) fn typed(body: Body, app_error: bool) -> Self {
        Self { body, app_error, drift: None }
    }

    /// Attaches the difference of the contracts. A decode error of the reply mentions it.
    #[cfg(any(feature = "http", feature = "wire"))]
    pub(crate) fn with_drift(self, drift: String) -> Self {
        Self { drift: Some(drift), ..self }
    }

    /// Returns whether the reply is the error type of the contract.
    #[must_use]
    pub fn is_app_error(&self) -> bool {
        self.app_error
    }

    /// Returns the value or error.
    #[must_use]
    pub fn body(&self) -> &Body {
        &self.body
    }

    /// Encodes the reply to `name` for a transport. Returns the actual codec (`None` for raw bytes)
    /// and the bytes. Falls back to JSON if bincode cannot encode the value.
    ///
    /// # Errors
    /// [`Encode`](ErrorKind::Encode) if neither codec can encode the value, and
    /// [`Internal`](ErrorKind::Internal) if its type refuses to be serialized. The message of the
    /// type is logged here, not sent. `sent` is `Yes`, because the call ran.
    pub fn encode(&self, name: &str, codec: Codec) -> Result<(Option<Codec>, Bytes), Error> {
        self.body.encode(codec, name).map_err(|cause| self.encode_failed(name, &cause))
    }

    fn encode_failed(&self, name: &str, cause: &CodecError) -> Error {
        if cause.private_cause().is_some() {
            let subject =
                if self.app_error { "the error of an implementation" } else { "the reply" };
            let description = self.body.explain().unwrap_or_default();
            log_private_cause(name, subject, &description, cause);
            let message =
                format!("{subject} cannot be serialized; why stands in the log of its process");
            return Error::new(ErrorKind::Internal, name, message).with_sent(Sent::Yes);
        }
        Error::new(ErrorKind::Encode, name, format!("the reply: {cause}")).with_sent(Sent::Yes)
    }

    /// Returns the value or error, whether it is the error, and how the contracts differ.
    pub(crate) fn into_parts(self) -> (Body, bool, Option<String>) {
        (self.body, self.app_error, self.drift)
    }
}
