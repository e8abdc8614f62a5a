//! The items that generated code refers to. Not part of the API: changes without notice.

pub use std::sync::Arc;

pub use crate::call::{BoxFuture, Call, Reply};
pub use crate::call::{MethodDesc, ServiceDesc};
pub use crate::error::Error;
pub use crate::service::explain;
pub use crate::service::{
    Args, Arguments, CallFuture, Dispatch, Fields, Form, FromFields, Handle, Host, Lend, Method,
    MethodOutput, OptionRef, Own, Parameter, Plan, Ref, Referent, Registrable, ServiceCell,
    ServiceError, ServiceRegistry, Value, Wire, serve, unknown_method,
};
