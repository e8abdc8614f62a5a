//! The traits between a client and its router: the registry of services and the host that plans
//! each call.

use std::sync::Arc;

use crate::call::{CallService, MethodDesc, ServiceDesc};
use crate::codec::Codec;
use crate::service::ServiceCell;

/// The registry in which a client finds its service: a router, or a reference to one. It is sealed.
#[diagnostic::on_unimplemented(
    message = "a client is made from a router, not from `{Self}`",
    note = "pass `&router`; for a test without a router there is `Client::direct(implementation)`"
)]
pub trait ServiceRegistry: sealed::Sealed {
    /// Returns the cell of a service, creating it if needed, and the host that knows its routes.
    #[doc(hidden)]
    fn service_cell(&self, desc: &'static ServiceDesc) -> (Arc<ServiceCell>, Arc<dyn Host>);
}

pub(crate) mod sealed {
    #[expect(unnameable_types, reason = "nobody else implements what it seals")]
    pub trait Sealed {}
}

impl<T: sealed::Sealed + ?Sized> sealed::Sealed for Arc<T> {}

impl<T: sealed::Sealed + ?Sized> sealed::Sealed for &T {}

impl<T: ServiceRegistry + ?Sized> ServiceRegistry for Arc<T> {
    fn service_cell(&self, desc: &'static ServiceDesc) -> (Arc<ServiceCell>, Arc<dyn Host>) {
        (**self).service_cell(desc)
    }
}

impl<T: ServiceRegistry + ?Sized> ServiceRegistry for &T {
    fn service_cell(&self, desc: &'static ServiceDesc) -> (Arc<ServiceCell>, Arc<dyn Host>) {
        (**self).service_cell(desc)
    }
}

/// Knows the routes. Each call off the fast path asks it once, so that the call sees one table from
/// start to end.
pub trait Host: Send + Sync {
    /// Returns the current plan for a call of the method.
    fn plan(&self, method: &'static MethodDesc) -> Plan;
}

/// The service that takes one call, and the form of its arguments.
#[derive(Debug)]
pub struct Plan {
    /// The service that takes the call.
    pub service: CallService,
    /// The form in which the service takes the arguments.
    pub form: Form,
}

/// The form in which a service takes the arguments of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "internal to the typed path")]
pub enum Form {
    /// As a value, for a local implementation or a layer, which may send the call anywhere.
    Typed,
    /// As bytes, encoded straight from the borrowed arguments, for a transport without layers
    /// before it.
    Encoded(Codec),
}
