//! How the error type of a contract travels.
//!
//! There are two kinds of error types. One has serde's traits and travels as it is. The other is
//! opaque (`anyhow::Error`, `eyre::Report`, `Box<dyn Error + Send + Sync>`): its text belongs to the
//! process that made it, so another process gets an error of kind
//! [`Internal`](crate::ErrorKind::Internal).
//!
//! [`ServiceError`] has one blanket impl for each kind. Its parameter tells the two apart: the
//! compiler infers it from the only impl whose bounds hold. It can infer it in an expression, not in
//! a type, so that a method has a function that returns its [`ErrorForm`], and no associated type.

use std::error::Error as StdError;
use std::fmt;

use serde::de::{Deserialize, DeserializeOwned, Deserializer};
use serde::ser::{Error as _, Serialize, Serializer};

use crate::call::Body;
use crate::codec::Codec;
use crate::error::Error;
use crate::service::explain::with_sources;
use crate::shape::Shape;

/// A type that can be the error type of a contract. `K` is the kind: [`Serializable`] or
/// [`Opaque`].
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be the error type of a connectivity service",
    label = "needs From<connectivity_core::Error>, Serialize and Deserialize",
    note = "add a variant `#[error(transparent)] Connectivity(#[from] connectivity_core::Error)` and derive serde's traits on `{Self}`",
    note = "`anyhow::Error` and `Box<dyn std::error::Error + Send + Sync>` are accepted too: another process gets their failure, not their text"
)]
pub trait ServiceError<K>: Sized {
    /// The error as a reply carries it.
    type Form: Serialize + DeserializeOwned + Send + 'static;

    /// Wraps an error of an implementation.
    fn into_form(self) -> Self::Form;
    /// Unwraps the error of a reply.
    fn from_form(form: Self::Form) -> Self;
    /// Returns the error, unless it came from another process.
    fn of_form(form: &Self::Form) -> Option<&Self>;
    /// Converts the error of a call that got no reply.
    fn from_error(error: Error) -> Self;
}

/// The kind of an error type that has serde's traits.
#[derive(Debug)]
#[non_exhaustive]
pub enum Serializable {}

/// The kind of an error type that only its own process can read.
#[derive(Debug)]
#[non_exhaustive]
pub enum Opaque {}

#[diagnostic::do_not_recommend]
impl<T> ServiceError<Serializable> for T
where
    T: From<Error> + Serialize + DeserializeOwned + Send + 'static,
{
    type Form = T;

    fn into_form(self) -> T {
        self
    }

    fn from_form(form: T) -> T {
        form
    }

    fn of_form(form: &T) -> Option<&T> {
        Some(form)
    }

    fn from_error(error: Error) -> T {
        error.into()
    }
}

#[diagnostic::do_not_recommend]
impl<T> ServiceError<Opaque> for T
where
    T: From<Error> + AsRef<dyn StdError + Send + Sync> + Send + 'static,
{
    type Form = OpaqueForm<T>;

    fn into_form(self) -> OpaqueForm<T> {
        OpaqueForm::Here(self)
    }

    fn from_form(form: OpaqueForm<T>) -> T {
        match form {
            OpaqueForm::Here(error) => error,
            OpaqueForm::Arrived(error) => error.into(),
        }
    }

    fn of_form(form: &OpaqueForm<T>) -> Option<&T> {
        match form {
            OpaqueForm::Here(error) => Some(error),
            OpaqueForm::Arrived(_) => None,
        }
    }

    fn from_error(error: Error) -> T {
        error.into()
    }
}

/// An opaque error of this process, or what arrived from another one.
#[expect(missing_debug_implementations, reason = "it is either in a reply or taken apart")]
#[non_exhaustive]
pub enum OpaqueForm<T> {
    /// The error as the implementation returned it.
    Here(T),
    /// The error of a call.
    Arrived(Error),
}

impl<T: AsRef<dyn StdError + Send + Sync>> Serialize for OpaqueForm<T> {
    /// Sends the error of a nested call that is among the causes. Fails for all other errors: the
    /// reply is then `Internal`, and the causes are logged.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Here(error) => match nested_error(error.as_ref()) {
                Some(nested) => {
                    log_unsent(error.as_ref());
                    Error::serialize(nested, serializer)
                }
                None => Err(S::Error::custom("an error of this process")),
            },
            Self::Arrived(error) => error.serialize(serializer),
        }
    }
}

/// Logs an error of which only a source is sent.
fn log_unsent(error: &(dyn StdError + Send + Sync + 'static)) {
    if !error.is::<Error>() {
        let cause = with_sources(&error.to_string(), error.source());
        tracing::warn!(cause, "of an error, only that of a nested call is sent");
    }
}

/// Returns the first error of a call among an error and its sources.
fn nested_error<'e>(error: &'e (dyn StdError + Send + Sync + 'static)) -> Option<&'e Error> {
    let error: &(dyn StdError + 'static) = error;
    std::iter::successors(Some(error), |&error| error.source())
        .find_map(|error| error.downcast_ref::<Error>())
}

impl<'de, T> Deserialize<'de> for OpaqueForm<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Error::deserialize(deserializer).map(Self::Arrived)
    }
}

/// The functions that depend on how the error type `E` travels.
pub struct ErrorForm<E> {
    pub(super) shape: fn(Codec) -> (Shape, bool),
    /// Returns whether a JSON text is such an error.
    #[cfg(feature = "mcp")]
    pub(super) is_error: fn(&[u8]) -> bool,
    pub(super) into_body: fn(E) -> Body,
    /// Takes the error out of the reply to a method.
    pub(super) from_reply: fn(&'static str, Body, Option<String>) -> Result<E, Error>,
    pub(super) from_error: fn(Error) -> E,
}

impl<E> fmt::Debug for ErrorForm<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ErrorForm")
    }
}
