//! The tag of the route that a call takes.

use std::borrow::Cow;

use crate::name::Name;

/// Identifies the route that a call takes. The router sets it on every call that a layer will see.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RouteTag {
    name: Name,
    strategy: Cow<'static, str>,
}

impl RouteTag {
    #[cfg(feature = "router")]
    pub(crate) fn new(name: Name, strategy: Cow<'static, str>) -> Self {
        Self { name, strategy }
    }

    /// Returns the name of the row: a service, or one of its methods. If no row decides, because
    /// there is none or the call is inbound, returns the name of the service that takes the call.
    #[must_use]
    pub fn name(&self) -> &Name {
        &self.name
    }

    /// Returns the strategy that serves the call: `local`, `noop`, or the name of a transport. It
    /// is `local` for an inbound call, and for a call whose row has this process as its `home`.
    #[must_use]
    pub fn strategy(&self) -> &str {
        &self.strategy
    }
}
