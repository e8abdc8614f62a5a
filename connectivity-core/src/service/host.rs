//! Where a client finds its service, and who says where each call goes.

use std::sync::Arc;

use crate::call::{CallService, MethodDesc, ServiceDesc};
use crate::codec::Codec;
use crate::service::ServiceCell;

/// Where a client finds its service: a router.
#[diagnostic::on_unimplemented(
    message = "a client is made from a router, not from `{Self}`",
    note = "pass `&router`; for a test without a router there is `Client::direct(implementation)`"
)]
pub trait ServiceRegistry {
    /// Finds or makes the cell of a service, and names who knows its routes.
    #[doc(hidden)]
    fn service_cell(&self, desc: &'static ServiceDesc) -> (Arc<ServiceCell>, Arc<dyn Host>);
}

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

/// Who knows the routes: asked once for every call off the fast path, so that the call sees one
/// table from start to end.
pub trait Host: Send + Sync {
    /// Says where a call of the method goes now.
    fn plan(&self, method: &'static MethodDesc) -> Plan;
}

/// Where one call goes, and how it wants its arguments.
#[derive(Debug)]
pub struct Plan {
    /// Who takes the call.
    pub service: CallService,
    /// How it wants the arguments.
    pub form: Form,
}

/// How the taker of a call wants its arguments.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "internal to the typed path")]
pub enum Form {
    /// As a value: a local implementation, or a layer that may turn the call anywhere.
    Typed,
    /// As bytes, encoded straight from what the caller lent: a transport without layers before it.
    Encoded(Codec),
}
