//! Describes an error for the log, as well as its type allows. Autoref specialization: method
//! resolution picks the most informative of three traits by the number of references it needs.

use std::fmt;

/// The error to describe.
#[expect(missing_debug_implementations, reason = "it stands in one expression")]
pub struct Explain<'e, E>(pub &'e E);

/// Describes a type that implements `Error`: the texts of the error and its sources.
pub trait ExplainError {
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

impl<E: std::error::Error> ExplainError for &&Explain<'_, E> {
    fn explain(&self) -> Option<String> {
        let sources = std::iter::successors(self.0.source(), |error| error.source());
        Some(sources.fold(self.0.to_string(), |text, source| format!("{text}: {source}")))
    }
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
