//! Outcome of a call, as a metric label or log field.

use crate::call::Reply;
use crate::error::{Error, ErrorKind};

/// Outcome of a call. All calls that failed with one kind share an outcome.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// A value.
    Ok,
    /// The error type of the contract, which is a reply too.
    AppError,
    /// No reply. A call that its caller dropped is `cancelled`.
    Failed(ErrorKind),
}

impl Outcome {
    /// Number of outcomes.
    pub(super) const COUNT: usize = 2 + ErrorKind::ALL.len();

    pub(super) fn of(reply: &Result<Reply, Error>) -> Self {
        match reply {
            Ok(reply) if reply.is_app_error() => Self::AppError,
            Ok(_) => Self::Ok,
            Err(error) => Self::Failed(error.kind()),
        }
    }

    /// Returns the index of the outcome, from 0.
    pub(super) fn index(self) -> usize {
        match self {
            Self::Ok => 0,
            Self::AppError => 1,
            Self::Failed(kind) => 2 + kind as usize,
        }
    }

    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::AppError => "app_error",
            Self::Failed(kind) => kind.as_str(),
        }
    }

    pub(super) fn is_failure(self) -> bool {
        matches!(self, Self::Failed(_))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_outcome_has_its_own_place_and_word() {
        let all = [Outcome::Ok, Outcome::AppError].into_iter();
        let all: Vec<_> = all.chain(ErrorKind::ALL.iter().copied().map(Outcome::Failed)).collect();
        assert_eq!(
            all.iter().map(|outcome| outcome.index()).collect::<Vec<_>>(),
            (0..Outcome::COUNT).collect::<Vec<_>>()
        );
        let words: std::collections::BTreeSet<_> =
            all.iter().map(|outcome| outcome.as_str()).collect();
        assert_eq!(words.len(), Outcome::COUNT);
    }
}
