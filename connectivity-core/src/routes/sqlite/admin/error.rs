//! Why a change was not made.

use crate::routes::error::RouteError;
use crate::routes::source::SourceError;

/// Says why a change was not made. Nothing was written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AdminError {
    /// The row would be bad; the text says which column or key, and what goes there.
    #[error(transparent)]
    Invalid(#[from] RouteError),
    /// The file has no such word.
    #[error("strategy: this file knows no `{word}`; it knows {}", known.join(", "))]
    UnknownStrategy {
        /// The word, escaped and short.
        word: String,
        /// What may stand there. A router adds the words of its own transports when it opens the
        /// file.
        known: Vec<String>,
    },
    /// No row has this name.
    #[error("no route is called `{name}`{}", did_you_mean(.nearest.as_deref()))]
    NotFound {
        /// The name, escaped and short.
        name: String,
        /// The name most like it, if one is.
        nearest: Option<String>,
    },
    /// The rows of that generation are not known.
    #[error(
        "the rows of generation {generation} are not known: the history reaches from {oldest} to {newest}"
    )]
    NoSuchGeneration {
        /// What was asked for.
        generation: u64,
        /// The first generation that can be rolled back to.
        oldest: u64,
        /// The one in the file now.
        newest: u64,
    },
    /// This process cannot write the file.
    #[error("the routes file cannot be written by this process")]
    ReadOnly,
    /// The file cannot be opened, read or written, or refused the change.
    #[error(transparent)]
    Source(#[from] SourceError),
}

fn did_you_mean(nearest: Option<&str>) -> String {
    nearest.map(|nearest| format!("; did you mean `{nearest}`?")).unwrap_or_default()
}

/// Why a transaction is given up: a reason of ours, or one of SQLite's, which a file's path belongs
/// to.
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
