//! Describes an error for the log, as well as its type allows. Autoref specialization: method
//! resolution picks the most informative of four traits by the number of references it needs.

use std::error::Error as StdError;
use std::fmt;

/// The error to describe.
#[expect(missing_debug_implementations, reason = "it stands in one expression")]
pub struct Explain<'e, E>(pub &'e E);

/// Describes a type that implements `Error`: the texts of the error and its sources.
pub trait ExplainError {
    /// Returns the description.
    fn explain(&self) -> Option<String>;
}

/// Describes a type that holds any error, such as `anyhow::Error`: the texts of the error and its
/// sources.
pub trait ExplainOpaque {
    /// Returns the description.
    fn explain(&self) -> Option<String>;
}

/// Describes any other type that implements `Debug`: its `Debug` output.
pub trait ExplainDebug {
    /// Returns the description.
    fn explain(&self) -> Option<String>;
}

/// Describes all other types: not at all.
pub trait ExplainNothing {
    /// Returns `None`.
    fn explain(&self) -> Option<String>;
}

impl<E: StdError> ExplainError for &&&Explain<'_, E> {
    fn explain(&self) -> Option<String> {
        Some(with_sources(&self.0.to_string(), self.0.source()))
    }
}

impl<E: AsRef<dyn StdError + Send + Sync>> ExplainOpaque for &&Explain<'_, E> {
    fn explain(&self) -> Option<String> {
        let error = self.0.as_ref();
        Some(with_sources(&error.to_string(), error.source()))
    }
}

/// Returns the texts of an error and its sources.
pub(super) fn with_sources(text: &str, source: Option<&(dyn StdError + 'static)>) -> String {
    std::iter::successors(source, |&error| error.source())
        .fold(text.to_owned(), |text, source| format!("{text}: {source}"))
}

impl<E: fmt::Debug> ExplainDebug for &Explain<'_, E> {
    fn explain(&self) -> Option<String> {
        Some(format!("{:?}", self.0))
    }
}

impl<E> ExplainNothing for Explain<'_, E> {
    fn explain(&self) -> Option<String> {
        None
    }
}
