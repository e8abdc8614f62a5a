//! The fault of a row: why the row is not in force.

use std::fmt;
use std::time::SystemTime;

use crate::error::ErrorKind;
use crate::routes::RouteError;
use crate::utc;

/// The fault of a row: its cause, and since when it exists.
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
            utc::text(self.since),
            self.cause
        )
    }
}

/// The cause why a row is not in force.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Cause {
    Invalid(RouteError),
    NoTransport { word: String, available: Vec<String> },
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

/// Strategies that have a transport by default if the feature of the same name is enabled.
const OF_FEATURES: [&str; 4] = ["http", "mcp", "quic", "unix"];

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Invalid(error) => write!(f, "{error}"),
            Self::NoImplementation => f.write_str(RouteFault::NOT_SERVED_HERE),
            Self::NoTransport { word, available } => {
                write!(
                    f,
                    "strategy: this router has no transport `{word}`; it has {}",
                    available.join(", ")
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
            Cause::NoTransport { word: word.to_owned(), available: vec!["local".to_owned()] }
                .to_string()
        };
        assert!(text("mcp").ends_with(
            "it has local; `mcp` comes with the feature of connectivity-core of that name"
        ));
        assert!(text("carrier-pigeon").ends_with("it has local"));
    }
}
