//! By which route a call goes.

use std::borrow::Cow;

use crate::name::Name;

/// Says by which route a call goes: the router puts it on every call that a layer will see.
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

    /// Names the row: a service, or one of its methods. Where no row has a say, because there is
    /// none or because the call came from outside, it is the name of the service that takes the
    /// call.
    #[must_use]
    pub fn name(&self) -> &Name {
        &self.name
    }

    /// Says how the call is served: `local`, `noop`, or the name of a transport. It is `local` for
    /// a call from outside, and for one whose row names this process as its `home`.
    #[must_use]
    pub fn strategy(&self) -> &str {
        &self.strategy
    }
}
