//! What generated code asks an error for the log, whatever its type can tell: the most telling of
//! three traits answers, by the number of references that it takes to get there.

use std::fmt;

/// An error that is asked.
#[expect(missing_debug_implementations, reason = "it stands in one expression")]
pub struct Explain<'e, E>(pub &'e E);

/// An error says what it and its sources say.
pub trait ExplainError {
    /// Tells it.
    fn explain(&self) -> Option<String>;
}

/// Anything else shows itself.
pub trait ExplainDebug {
    /// Tells it.
    fn explain(&self) -> Option<String>;
}

/// Or does not.
pub trait ExplainNothing {
    /// Tells nothing.
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
