//! The items that generated code refers to. Not part of the API: changes without notice.

pub use std::sync::Arc;

pub use crate::call::{BoxFuture, Call, Reply};
pub use crate::call::{MethodDesc, ServiceDesc};
pub use crate::error::Error;
pub use crate::service::explain;
pub use crate::service::{
    Args, Arguments, CallFuture, CowRef, Dispatch, ErrorForm, Fields, Form, FromFields, Handle,
    Host, Lend, LentCow, Method, MethodOutput, Opaque, OpaqueForm, OptionRef, Own, Parameter, Plan,
    Ref, Referent, Registrable, Serializable, ServiceCell, ServiceError, ServiceRegistry, SliceRef,
    Value, Wire, borrow_all, serve, unknown_method,
};
