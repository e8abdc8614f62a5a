//! The entry of a table: one row of the source with the route built from it and its fault.

use std::fmt;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use crate::name::Name;
use crate::router::active_route::{ActiveRoute, ResolvedRoute};
use crate::router::fault::{Cause, RouteFault};
use crate::routes::{Route, RouteRow};
use crate::transport::{Calls, Remote, Transport};

/// One row with its route, or with the last good route and the fault of the row.
pub(crate) struct RouteEntry {
    pub(crate) row: RouteRow,
    pub(crate) name: Option<Name>,
    /// The route in force. If this row has a fault, the route of an earlier version of the row.
    pub(crate) active: Option<Arc<ActiveRoute>>,
    /// The active route wrapped in its fallback and layers.
    pub(crate) resolved: Option<ResolvedRoute>,
    pub(crate) fault: Option<RouteFault>,
    /// The transport that built the active route. The route is rebuilt if it was replaced.
    pub(crate) transport: Option<Arc<dyn Transport>>,
    /// The version of the layers around the active route.
    pub(crate) layers_version: u64,
    /// What was known about the calls when the transport last accepted them.
    pub(crate) calls: Calls,
    /// Whether the active route falls back to an implementation in this process.
    pub(crate) has_fallback: bool,
    /// Whether the entry can become [stale](Self::is_stale) at all.
    pub(crate) can_go_stale: bool,
}

impl RouteEntry {
    /// Returns whether building the row again may have another result: a file that the row refers
    /// to has changed, or the row is valid and its transport could not build it.
    pub(crate) fn is_stale(&self) -> bool {
        let remote = || self.active.as_ref().and_then(|active| active.remote());
        self.can_go_stale
            && (self.fault.is_some() || remote().is_some_and(|remote| !is_unchanged(remote)))
    }

    /// Returns whether an entry of these parts can become stale.
    pub(crate) fn can_go_stale(
        row: &RouteRow,
        active: Option<&ActiveRoute>,
        fault: Option<&RouteFault>,
    ) -> bool {
        match fault {
            Some(fault) => matches!(fault.cause, Cause::Invalid(_)) && Route::parse(row).is_ok(),
            None => active.and_then(ActiveRoute::remote).is_some_and(Remote::can_change),
        }
    }

    /// Returns whether building the same row again gave the same result.
    pub(crate) fn is_same(&self, previous: &Self) -> bool {
        let active = |entry: &Self| entry.active.as_ref().map(Arc::as_ptr);
        let cause = |entry: &Self| entry.fault.as_ref().map(|fault| fault.cause.clone());
        let wrapping = |entry: &Self| (entry.layers_version, entry.has_fallback, entry.calls);
        active(self) == active(previous)
            && cause(self) == cause(previous)
            && wrapping(self) == wrapping(previous)
    }
}

/// Returns whether the files behind a remote are unchanged. The transport may be user code: if it
/// panics, the remote counts as changed and the row is built again.
pub(crate) fn is_unchanged(remote: &Remote) -> bool {
    std::panic::catch_unwind(AssertUnwindSafe(|| remote.is_unchanged())).unwrap_or(false)
}

impl fmt::Debug for RouteEntry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RouteEntry")
            .field("row", &self.row)
            .field("fault", &self.fault)
            .finish_non_exhaustive()
    }
}
