//! How a call ended, in one word of a small set.

use crate::call::Reply;
use crate::error::{Error, ErrorKind};

/// How a call ended. Two of a kind count as the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// With a value.
    Ok,
    /// With the error type of the contract: an answer too.
    AppError,
    /// With no answer. A call that nobody waits for any more is `cancelled`.
    Failed(ErrorKind),
}

impl Outcome {
    /// How many there are.
    pub(super) const COUNT: usize = 2 + ErrorKind::ALL.len();

    pub(super) fn of(reply: &Result<Reply, Error>) -> Self {
        match reply {
            Ok(reply) if reply.is_app_error() => Self::AppError,
            Ok(_) => Self::Ok,
            Err(error) => Self::Failed(error.kind()),
        }
    }

    /// Numbers the outcomes from 0.
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
