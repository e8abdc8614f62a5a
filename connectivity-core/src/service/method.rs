//! The bounds that a contract must hold. They are stated once, so that a missing one is told once.

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::call::MethodDesc;
use crate::error::Error;
use crate::service::Arguments;

/// One method of a contract; the macro makes a type of its own for each.
pub trait Method: Sized + Send + Sync + 'static {
    /// What the method says of itself.
    const DESC: &'static MethodDesc;

    /// The arguments, as a tuple of [`Parameter`](crate::service::Parameter)s.
    type Args: Arguments;

    /// What is written after the arrow.
    type Output: MethodOutput<Ok = Self::Ok, Err = Self::Err>;

    /// What the method returns when it succeeds.
    type Ok: Wire;

    /// The error type of the contract.
    type Err: ServiceError;

    /// What the error and its sources say, for the log of this process.
    #[must_use]
    fn explain(_error: &Self::Err) -> Option<String> {
        None
    }

    /// The value of `#[noop = ..]`.
    #[must_use]
    fn noop() -> Option<Self::Ok> {
        None
    }
}

/// A type that can stand in a contract: owned, `Send`, and serde's both ways. Implemented for every
/// such type.
///
/// What it needs stands on [`Form`](Self::Form), not on the trait: the compiler then reports a type
/// without it as one that lacks this trait, once, and not as one that lacks the first thing, and
/// the second, and the third.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot travel in a call of a connectivity service",
    label = "needs Serialize, Deserialize, Send and no borrowed parts",
    note = "add `#[derive(serde::Serialize, serde::Deserialize)]` to it, or to the type inside it that lacks them"
)]
pub trait Wire: Sized {
    /// The type itself.
    type Form: Serialize + DeserializeOwned + Send + 'static;
    /// Gives itself.
    fn into_form(self) -> Self::Form;
    /// Gives itself back.
    fn from_form(form: Self::Form) -> Self;
}

#[diagnostic::do_not_recommend]
impl<T: Serialize + DeserializeOwned + Send + 'static> Wire for T {
    type Form = T;

    fn into_form(self) -> T {
        self
    }

    fn from_form(form: T) -> T {
        form
    }
}

/// An error type that a contract can have. Implemented for every type with the parts named here;
/// see [`Wire`].
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be the error type of a connectivity service",
    label = "needs From<connectivity_core::Error>, Serialize and Deserialize",
    note = "add a variant `#[error(transparent)] Connectivity(#[from] connectivity_core::Error)` and derive serde's traits on `{Self}`"
)]
pub trait ServiceError: Sized {
    /// The type itself.
    type Form: From<Error> + Serialize + DeserializeOwned + Send + 'static;
    /// Gives itself.
    fn into_form(self) -> Self::Form;
    /// Shows itself.
    fn of_form(form: &Self::Form) -> &Self;
    /// Gives itself back.
    fn from_form(form: Self::Form) -> Self;
}

#[diagnostic::do_not_recommend]
impl<T: From<Error> + Serialize + DeserializeOwned + Send + 'static> ServiceError for T {
    type Form = T;

    fn into_form(self) -> T {
        self
    }

    fn of_form(form: &T) -> &T {
        form
    }

    fn from_form(form: T) -> T {
        form
    }
}

/// What a method returns: a `Result`, whatever alias it is written as.
#[diagnostic::on_unimplemented(
    message = "a method of a connectivity service returns a `Result`, not `{Self}`",
    label = "write `Result<{Self}, YourError>`",
    note = "every call can fail once its service has moved to another process"
)]
pub trait MethodOutput {
    /// The value.
    type Ok;
    /// The error.
    type Err;

    /// Makes one of a `Result`.
    fn from_result(result: Result<Self::Ok, Self::Err>) -> Self;
    /// Makes a `Result` of it.
    fn into_result(self) -> Result<Self::Ok, Self::Err>;
}

impl<T, E> MethodOutput for Result<T, E> {
    type Ok = T;
    type Err = E;

    fn from_result(result: Self) -> Self {
        result
    }

    fn into_result(self) -> Self {
        self
    }
}
