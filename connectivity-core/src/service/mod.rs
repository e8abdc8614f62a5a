//! The runtime support of `#[service]`: the bounds of a contract, its arguments, and the path of a
//! typed call.

mod args;
mod cell;
mod describe;
mod dispatch;
mod error_form;
pub mod explain;
mod handle;
mod host;
mod method;
mod parameter;
mod work;

pub use args::{Args, Arguments, Fields, FromFields};
pub use cell::ServiceCell;

pub(crate) use cell::ImplSlot;
pub use dispatch::{Dispatch, Registrable, serve, unknown_method};
pub use error_form::{ErrorForm, Opaque, OpaqueForm, Serializable, ServiceError};
pub use handle::{CallFuture, Handle};
#[cfg(feature = "router")]
pub(crate) use host::sealed::Sealed;
pub use host::{Form, Host, Plan, ServiceRegistry};
pub use method::{Method, MethodOutput, Wire};
pub use parameter::{
    CowRef, Lend, LentCow, OptionRef, Own, Parameter, Ref, Referent, SliceRef, Value, borrow_all,
};

pub(crate) use dispatch::invoke;
#[cfg(feature = "router")]
pub(crate) use dispatch::run;
#[cfg(feature = "router")]
pub(crate) use work::{CatchPanic, Within, catch};

#[cfg(test)]
mod tests;
