//! The strategy by which calls are expected to be served at this moment, according to the thread
//! that changes the rows.

use std::sync::atomic::{AtomicU64, Ordering};

use serde::{Deserialize, Serialize};

use crate::meter::Method;

/// A strategy of a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Strategy {
    Local,
    Http,
    Quic,
    Unix,
    Mcp,
    Noop,
}

impl Strategy {
    pub(crate) const ALL: [Self; 6] =
        [Self::Local, Self::Http, Self::Quic, Self::Unix, Self::Mcp, Self::Noop];

    /// The strategies that lead to the second process.
    pub(crate) const REMOTE: [Self; 4] = [Self::Http, Self::Quic, Self::Unix, Self::Mcp];

    pub(crate) fn is_remote(self) -> bool {
        Self::REMOTE.contains(&self)
    }

    /// Parses the value of the column `strategy`.
    pub(crate) fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|strategy| strategy.as_str() == word)
    }

    /// Returns the value of the column `strategy`.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Local => "local",
            Self::Http => "http",
            Self::Quic => "quic",
            Self::Unix => "unix",
            Self::Mcp => "mcp",
            Self::Noop => "noop",
        }
    }
}

/// The expected strategy of each method.
///
/// An entry is cleared before the SQL of a flip begins, and set again when the router has the new
/// row in force. A call that reads the same entry before its start and after its end has seen no
/// flip, so its reply must come by that strategy.
#[derive(Debug, Default)]
pub(crate) struct ExpectedStrategies([AtomicU64; Method::ALL.len()]);

/// One entry: the lowest bits are the strategy, the others count its changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Expected(u64);

/// The bits of a strategy. All of them are set while the entry is cleared.
const STRATEGY_BITS: u32 = 3;
const CLEARED: u64 = (1 << STRATEGY_BITS) - 1;

impl Expected {
    /// Returns the expected strategy, or `None` while a flip is in progress.
    pub(crate) fn strategy(self) -> Option<Strategy> {
        Strategy::ALL.get((self.0 & CLEARED) as usize).copied()
    }
}

impl ExpectedStrategies {
    /// Creates cleared entries.
    pub(crate) fn new() -> Self {
        let expected = Self::default();
        Method::ALL.into_iter().for_each(|method| expected.clear(method));
        expected
    }

    /// Reads the entry of a method.
    pub(crate) fn read(&self, method: Method) -> Expected {
        Expected(self.0[method as usize].load(Ordering::SeqCst))
    }

    /// Clears the entry of a method until it is set again.
    pub(crate) fn clear(&self, method: Method) {
        self.change(method, CLEARED);
    }

    /// Sets the expected strategy of a method.
    pub(crate) fn set(&self, method: Method, strategy: Strategy) {
        self.change(method, strategy as u64);
    }

    fn change(&self, method: Method, bits: u64) {
        let entry = &self.0[method as usize];
        let changes = (entry.load(Ordering::SeqCst) >> STRATEGY_BITS) + 1;
        entry.store(changes << STRATEGY_BITS | bits, Ordering::SeqCst);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sign_that_was_down_in_between_is_another_sign() {
        let expected = ExpectedStrategies::new();
        assert_eq!(expected.read(Method::Quote).strategy(), None);
        expected.set(Method::Quote, Strategy::Http);
        let before = expected.read(Method::Quote);
        assert_eq!(before.strategy(), Some(Strategy::Http));
        expected.clear(Method::Quote);
        expected.set(Method::Quote, Strategy::Http);
        assert_ne!(expected.read(Method::Quote), before);
        assert_eq!(expected.read(Method::Price).strategy(), None);
    }
}
