//! The bounds that a contract must hold. They are stated once, so that a missing one is told once.

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::desc::MethodDesc;
use crate::error::Error;
use crate::service::Arguments;

/// One method of a contract; the macro makes a type of its own for each.
pub trait Method: Sized + Send + Sync + 'static {
    /// What the method says of itself.
    const DESC: &'static MethodDesc;

    /// The owned arguments, as a tuple.
    type Args: Arguments;

    /// What the method returns when it succeeds.
    type Ok: Wire;

    /// The error type of the contract.
    type Err: ServiceError;

    /// The value of `#[noop = ..]`.
    #[must_use]
    fn noop() -> Option<Self::Ok> {
        None
    }
}

/// A type that can stand in a contract: owned, `Send`, and serde's both ways. Implemented for every such type.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot travel in a call of a connectivity service",
    label = "needs Serialize, Deserialize, Send and no borrowed parts",
    note = "add `#[derive(serde::Serialize, serde::Deserialize)]` to `{Self}`"
)]
pub trait Wire: Serialize + DeserializeOwned + Send + 'static {}

#[diagnostic::do_not_recommend]
impl<T: Serialize + DeserializeOwned + Send + 'static> Wire for T {}

/// An error type that a contract can have. Implemented for every type with the parts named here.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be the error type of a connectivity service",
    label = "needs From<connectivity_core::Error>, Serialize and Deserialize",
    note = "add a variant `#[error(transparent)] Connectivity(#[from] connectivity_core::Error)` and derive serde's traits on `{Self}`"
)]
pub trait ServiceError: Wire + From<Error> {}

#[diagnostic::do_not_recommend]
impl<T: Wire + From<Error>> ServiceError for T {}

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
}

impl<T, E> MethodOutput for Result<T, E> {
    type Ok = T;
    type Err = E;
}
