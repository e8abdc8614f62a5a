//! The answer to a call.

#[cfg(feature = "router")]
use std::any::Any;
use std::fmt;

use bytes::Bytes;
use serde::de::DeserializeOwned;

use crate::call::body::Untaken;
use crate::call::{Body, not_encoded};
use crate::codec::{Codec, CodecError};
use crate::error::{Error, ErrorKind, Sent};
use crate::service::{Method, MethodOutput, ServiceError, Wire};

/// The answer of an implementation: its value, or the error type of the contract.
///
/// An error of the contract ([`is_app_error`](Self::is_app_error)) is an answer: it opens no breaker and is not retried.
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

    /// For generated code: makes the answer of the method `M`.
    #[doc(hidden)]
    pub fn of<M: Method>(output: M::Output) -> Self {
        match output.into_result() {
            Ok(value) => Self { body: Body::typed(value.into_form()), app_error: false, drift: None },
            Err(error) => {
                let explain = |error: &_| M::explain(M::Err::of_form(error));
                Self { body: Body::explained(error.into_form(), explain), app_error: true, drift: None }
            }
        }
    }

    /// What a `noop` route answers: what the method says, or nothing for a method that returns nothing.
    #[cfg(feature = "router")]
    pub(crate) fn noop<M: Method>() -> Option<Self> {
        M::noop().map(Wire::into_form).or_else(unit).map(|value| Self {
            body: Body::typed(value),
            app_error: false,
            drift: None,
        })
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

    /// Encodes the answer to `name` for a wire: the codec (`None` for raw bytes) and the bytes. What bincode cannot carry is JSON.
    ///
    /// # Errors
    /// [`Encode`](ErrorKind::Encode) where neither codec can carry it, and [`Internal`](ErrorKind::Internal) where its type refuses to be
    /// serialized; what it says of that is logged here, not sent. `sent` is `Yes`: the call ran.
    pub fn encode(&self, name: &str, codec: Codec) -> Result<(Option<Codec>, Bytes), Error> {
        self.body.encode(codec, name).map_err(|cause| self.encode_failed(name, &cause))
    }

    fn encode_failed(&self, name: &str, cause: &CodecError) -> Error {
        if cause.private_cause().is_some() {
            let what = if self.app_error { "the error of an implementation" } else { "the reply" };
            let shown = self.body.explain().unwrap_or_default();
            not_encoded(name, what, &shown, cause);
            let message = format!("{what} cannot be serialized; why stands in the log of its process");
            return Error::new(ErrorKind::Internal, name, message).with_sent(Sent::Yes);
        }
        Error::new(ErrorKind::Encode, name, format!("the reply: {cause}")).with_sent(Sent::Yes)
    }

    /// Reads the answer, or the lack of one, as what the method `M` returns.
    pub(crate) fn into_output<M: Method>(reply: Result<Self, Error>) -> M::Output {
        let value = match reply {
            Ok(Self { body, app_error: false, drift }) => {
                take::<M, _>(body, drift).map(|value| Ok(M::Ok::from_form(value)))
            }
            Ok(Self { body, app_error: true, drift }) => {
                take::<M, _>(body, drift).map(|error| Err(M::Err::from_form(error)))
            }
            Err(error) => Err(error),
        };
        M::Output::from_result(value.unwrap_or_else(|error| Err(M::Err::from_form(error.into()))))
    }
}

fn take<M: Method, T: DeserializeOwned + 'static>(body: Body, drift: Option<String>) -> Result<T, Error> {
    let fail = |kind, cause: &dyn fmt::Display| {
        Error::new(kind, M::DESC.full_name(), format!("the reply: {cause}")).with_sent(Sent::Yes)
    };
    match body {
        Body::Typed(payload) => payload.take().map_err(|why| match why {
            Untaken::OtherType => fail(ErrorKind::Contract, &"a value of another type"),
            Untaken::Spent => fail(ErrorKind::Encode, &"its value was taken already"),
        }),
        Body::Encoded(codec, bytes) => codec.decode(&bytes).map_err(|cause| match drift {
            Some(drift) => fail(ErrorKind::Contract, &format_args!("{cause}; {drift}")),
            None => fail(ErrorKind::Decode, &cause),
        }),
        Body::Raw(_) => Err(fail(ErrorKind::Decode, &"raw bytes, where JSON or bincode was expected")),
    }
}

/// `Some(())` if `T` is `()`.
#[cfg(feature = "router")]
fn unit<T: 'static>() -> Option<T> {
    let mut unit = Some(());
    (&mut unit as &mut dyn Any).downcast_mut::<Option<T>>()?.take()
}
