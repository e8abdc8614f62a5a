//! The error of replication.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use crate::transport::ServeError;

/// Why a [`Publisher`](super::Publisher) or a [`Subscriber`](super::Subscriber) cannot do something.
/// The text says what to do; it never quotes a value of a row.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SyncError {
    /// A part of the filter does not fit the database.
    #[error("filter of table `{table}`: {problem}")]
    Filter {
        /// The table, as the filter names it.
        table: String,
        /// What is wrong.
        problem: String,
    },
    /// A database cannot be read or written.
    #[error("{}: {problem}", path.display())]
    Database {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        problem: String,
    },
    /// A file or a directory cannot be used.
    #[error("{}: {cause}", path.display())]
    File {
        /// The file or directory.
        path: PathBuf,
        /// The cause.
        #[source]
        cause: io::Error,
    },
    /// Another publisher or subscriber uses the directory.
    #[error("{}: another publisher or subscriber uses this directory", directory.display())]
    InUse {
        /// The directory.
        directory: PathBuf,
    },
    /// No snapshot has been received yet.
    #[error("no snapshot has been received yet")]
    NoSnapshot,
    /// A target cannot be used: its endpoint, or its TLS keys.
    #[error("target `{endpoint}`: {problem}")]
    Target {
        /// The endpoint.
        endpoint: String,
        /// What is wrong.
        problem: String,
    },
    /// The listener cannot be started.
    #[error(transparent)]
    Listen(#[from] ServeError),
    /// The thread of the publisher or the subscriber cannot be started.
    #[error("a thread cannot be started: {0}")]
    Thread(#[source] io::Error),
}

impl SyncError {
    pub(super) fn filter(table: &str, problem: impl fmt::Display) -> Self {
        Self::Filter { table: table.to_owned(), problem: problem.to_string() }
    }

    pub(super) fn database(path: &Path, problem: impl fmt::Display) -> Self {
        Self::Database { path: path.to_owned(), problem: problem.to_string() }
    }

    pub(super) fn file(path: &Path, cause: io::Error) -> Self {
        Self::File { path: path.to_owned(), cause }
    }

    pub(super) fn target(endpoint: &str, problem: impl fmt::Display) -> Self {
        Self::Target { endpoint: endpoint.to_owned(), problem: problem.to_string() }
    }
}
