//! What generated code may name. Not part of the API: it changes without notice.

pub use std::sync::Arc;

pub use crate::call::{BoxFuture, Call, Reply};
pub use crate::desc::{MethodDesc, ServiceDesc};
pub use crate::error::Error;
pub use crate::service::{
    Args, Argument, ArgumentRefs, Arguments, Dispatch, Fields, Form, Handle, Host, Method, MethodOutput, Own, Plan,
    Ref, Registrable, ServiceCell, ServiceError, ServiceRegistry, Wire, unknown_method,
};
