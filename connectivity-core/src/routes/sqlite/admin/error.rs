//! Errors of changes to rows.

use crate::routes::error::RouteError;
use crate::routes::source::SourceError;

/// Reason that a change was not made. Nothing was written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AdminError {
    /// The row would be invalid. The message names the column or key and the allowed values.
    #[error(transparent)]
    Invalid(#[from] RouteError),
    /// The file does not list this strategy.
    #[error("strategy: this file knows no `{word}`; it knows {}", known.join(", "))]
    UnknownStrategy {
        /// The strategy, escaped and shortened.
        word: String,
        /// Strategies that the file lists. A router adds its own transports when it opens the file.
        known: Vec<String>,
    },
    /// No row has this name.
    #[error("no route is called `{name}`{}", did_you_mean(.nearest.as_deref()))]
    NotFound {
        /// The name, escaped and shortened.
        name: String,
        /// The most similar name, if one is similar enough.
        nearest: Option<String>,
    },
    /// The rows of this generation are unknown.
    #[error(
        "the rows of generation {generation} are not known: the history reaches from {oldest} to {newest}"
    )]
    NoSuchGeneration {
        /// The requested generation.
        generation: u64,
        /// The oldest generation that a rollback can restore.
        oldest: u64,
        /// The current generation of the file.
        newest: u64,
    },
    /// This process cannot write the file.
    #[error("the routes file cannot be written by this process")]
    ReadOnly,
    /// The file cannot be opened, read or written, or it rejected the change.
    #[error(transparent)]
    Source(#[from] SourceError),
}

fn did_you_mean(nearest: Option<&str>) -> String {
    nearest.map(|nearest| format!("; did you mean `{nearest}`?")).unwrap_or_default()
}

/// Reason that a transaction is rolled back: an error of our own, or one of SQLite, to which the
/// caller adds the path of the file.
pub(super) enum TransactionError {
    Admin(AdminError),
    Sqlite(rusqlite::Error),
}

impl From<rusqlite::Error> for TransactionError {
    fn from(error: rusqlite::Error) -> Self {
        Self::Sqlite(error)
    }
}

impl<E: Into<AdminError>> From<E> for TransactionError {
    fn from(error: E) -> Self {
        Self::Admin(error.into())
    }
}
