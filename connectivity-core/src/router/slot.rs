//! One row of the source, with what became of it.

use std::fmt;
use std::sync::Arc;
use std::time::SystemTime;

use crate::error::ErrorKind;
use crate::name::Name;
use crate::router::table::Ready;
use crate::router::target::Target;
use crate::routes::{RouteError, RouteRow};
use crate::transport::Transport;

/// One row: the route it made, or the last good one and what is wrong now.
pub(crate) struct Slot {
    pub(crate) row: RouteRow,
    pub(crate) name: Option<Name>,
    /// The route in force; of an older row if there is trouble with this one.
    pub(crate) target: Option<Arc<Target>>,
    /// The same, under its layers.
    pub(crate) ready: Option<Ready>,
    pub(crate) trouble: Option<Trouble>,
    /// Which transport built the target, so that a replaced transport builds it anew.
    pub(crate) transport: Option<Arc<dyn Transport>>,
    /// Which set of layers stands around the target.
    pub(crate) layers: u64,
    /// Whether an implementation in this process steps in when the target fails.
    pub(crate) stand_in: bool,
}

impl fmt::Debug for Slot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Slot").field("row", &self.row).field("trouble", &self.trouble).finish_non_exhaustive()
    }
}

/// What is wrong with a row, and since when.
#[derive(Clone, Debug)]
pub(crate) struct Trouble {
    pub(crate) cause: Cause,
    pub(crate) since: SystemTime,
}

impl Trouble {
    pub(crate) const NOT_SERVED_HERE: &str =
        "its row says local, and nothing of this name is registered in this process";
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

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Invalid(error) => write!(f, "{error}"),
            Self::NoImplementation => f.write_str(Trouble::NOT_SERVED_HERE),
            Self::NoTransport { word, known } => {
                write!(f, "strategy: this router has no transport `{word}`; it has {}", known.join(", "))
            }
        }
    }
}
