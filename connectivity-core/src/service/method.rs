//! The bounds of a contract. Each is stated once, so that the compiler reports a missing one once.

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::call::MethodDesc;
use crate::service::{Arguments, ErrorForm};

/// One method of a contract. The macro generates a type for each method.
pub trait Method: Sized + Send + Sync + 'static {
    /// The description of the method.
    const DESC: &'static MethodDesc;

    /// The arguments, as a tuple of [`Parameter`](crate::service::Parameter)s.
    type Args: Arguments;

    /// The declared return type.
    type Output: MethodOutput<Ok = Self::Ok, Err = Self::Err>;

    /// The type of a success.
    type Ok: Wire;

    /// The error type of the contract.
    type Err: 'static;

    /// Returns how the error travels.
    #[must_use]
    fn error_form() -> ErrorForm<Self::Err>;

    /// Returns the texts of the error and its sources, for the log of this process.
    #[must_use]
    fn explain(_error: &Self::Err) -> Option<String> {
        None
    }

    /// Returns the value of `#[noop = ..]`.
    #[must_use]
    fn noop() -> Option<Self::Ok> {
        None
    }
}

/// A type that a contract can use: owned, `Send`, `Serialize` and `DeserializeOwned`. Implemented
/// for every such type.
///
/// The bounds are on [`Form`](Self::Form), not on the trait. The compiler then reports an
/// unsuitable type with a single error, that it lacks this trait, and not with one error per
/// missing bound.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot travel in a call of a connectivity service",
    label = "needs Serialize, Deserialize, Send and no borrowed parts",
    note = "add `#[derive(serde::Serialize, serde::Deserialize)]` to it, or to the type inside it that lacks them"
)]
pub trait Wire: Sized {
    /// The type itself, with the bounds.
    type Form: Serialize + DeserializeOwned + Send + 'static;
    /// Returns `self`.
    fn into_form(self) -> Self::Form;
    /// Returns `form`.
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

/// The return type of a method: a `Result`, under any alias.
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

    /// Converts from a `Result`.
    fn from_result(result: Result<Self::Ok, Self::Err>) -> Self;
    /// Converts into a `Result`.
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
