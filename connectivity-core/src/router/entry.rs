//! One row of the source, with what became of it.

use std::fmt;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::SystemTime;

use crate::error::ErrorKind;
use crate::layer::breaker::utc;
use crate::name::Name;
use crate::router::active_route::ActiveRoute;
use crate::router::table::ResolvedRoute;
use crate::routes::{Route, RouteError, RouteRow};
use crate::transport::{Calls, Remote, Transport};

/// One row: the route it made, or the last good one and what is wrong now.
pub(crate) struct RouteEntry {
    pub(crate) row: RouteRow,
    pub(crate) name: Option<Name>,
    /// The route in force; of an older row if there is trouble with this one.
    pub(crate) target: Option<Arc<ActiveRoute>>,
    /// The same, under its layers.
    pub(crate) ready: Option<ResolvedRoute>,
    pub(crate) trouble: Option<RouteFault>,
    /// Which transport built the target, so that a replaced transport builds it anew.
    pub(crate) transport: Option<Arc<dyn Transport>>,
    /// Which set of layers stands around the target.
    pub(crate) layers: u64,
    /// What was known of the calls when the target was found to suit them.
    pub(crate) calls: Calls,
    /// Whether an implementation in this process steps in when the target fails.
    pub(crate) stand_in: bool,
    /// Whether the slot can turn [stale](Self::is_stale) at all.
    pub(crate) can_turn: bool,
}

impl RouteEntry {
    /// Says whether building the row again may come out differently: a file that it names has
    /// changed, or it is a good row that its transport could not build.
    pub(crate) fn is_stale(&self) -> bool {
        let remote = || self.target.as_ref().and_then(|target| target.remote());
        self.can_turn
            && (self.trouble.is_some() || remote().is_some_and(|remote| !is_unchanged(remote)))
    }

    /// Says whether what a row became can turn stale.
    pub(crate) fn can_turn(
        row: &RouteRow,
        target: Option<&ActiveRoute>,
        trouble: Option<&RouteFault>,
    ) -> bool {
        match trouble {
            Some(trouble) => {
                matches!(trouble.cause, Cause::Invalid(_)) && Route::parse(row).is_ok()
            }
            None => target.and_then(ActiveRoute::remote).is_some_and(Remote::can_change),
        }
    }

    /// Says whether building the same row again came to the same.
    pub(crate) fn is_same(&self, before: &Self) -> bool {
        let target = |slot: &Self| slot.target.as_ref().map(Arc::as_ptr);
        let cause = |slot: &Self| slot.trouble.as_ref().map(|trouble| trouble.cause.clone());
        let around = |slot: &Self| (slot.layers, slot.stand_in, slot.calls);
        target(self) == target(before)
            && cause(self) == cause(before)
            && around(self) == around(before)
    }
}

/// Asks a transport whether what it was built from is the same. It can be the user's: where its
/// code panics, the row is built again.
pub(crate) fn is_unchanged(remote: &Remote) -> bool {
    std::panic::catch_unwind(AssertUnwindSafe(|| remote.is_unchanged())).unwrap_or(false)
}

impl fmt::Debug for RouteEntry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RouteEntry")
            .field("row", &self.row)
            .field("trouble", &self.trouble)
            .finish_non_exhaustive()
    }
}

/// What is wrong with a row, and since when.
#[derive(Clone, Debug)]
pub(crate) struct RouteFault {
    pub(crate) cause: Cause,
    pub(crate) since: SystemTime,
}

impl RouteFault {
    pub(crate) const NOT_SERVED_HERE: &str =
        "its row says local, and nothing of this name is registered in this process";
}

impl fmt::Display for RouteFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "its row is bad since {}, so the route before it is in force: {}",
            utc(self.since),
            self.cause
        )
    }
}

/// Why a row is not in force.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Cause {
    Invalid(RouteError),
    NoTransport { word: String, known: Vec<String> },
    NoImplementation,
}

impl Cause {
    pub(crate) fn kind(&self) -> ErrorKind {
        match self {
            Self::NoTransport { .. } => ErrorKind::NoTransport,
            Self::Invalid(_) | Self::NoImplementation => ErrorKind::RouteInvalid,
        }
    }
}

/// Strategies whose transports are there by default once their features, of the same names, are on.
const OF_FEATURES: [&str; 4] = ["http", "mcp", "quic", "unix"];

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Invalid(error) => write!(f, "{error}"),
            Self::NoImplementation => f.write_str(RouteFault::NOT_SERVED_HERE),
            Self::NoTransport { word, known } => {
                write!(
                    f,
                    "strategy: this router has no transport `{word}`; it has {}",
                    known.join(", ")
                )?;
                match OF_FEATURES.contains(&word.as_str()) {
                    true => write!(
                        f,
                        "; `{word}` comes with the feature of connectivity-core of that name"
                    ),
                    false => Ok(()),
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_transport_that_is_left_out_of_the_build_is_said_to_be() {
        let text = |word: &str| {
            Cause::NoTransport { word: word.to_owned(), known: vec!["local".to_owned()] }
                .to_string()
        };
        assert!(text("mcp").ends_with(
            "it has local; `mcp` comes with the feature of connectivity-core of that name"
        ));
        assert!(text("carrier-pigeon").ends_with("it has local"));
    }
}
