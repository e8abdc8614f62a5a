//! Where calls have to go at this moment, according to whoever changes the rows.

use std::sync::atomic::{AtomicU64, Ordering};

use serde::{Deserialize, Serialize};

use crate::meter::Method;

/// How a row says that calls are served.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Way {
    Local,
    Http,
    Quic,
    Unix,
    Mcp,
    Noop,
}

impl Way {
    pub(crate) const ALL: [Self; 6] =
        [Self::Local, Self::Http, Self::Quic, Self::Unix, Self::Mcp, Self::Noop];

    /// Those that lead to the second process.
    pub(crate) const FAR: [Self; 4] = [Self::Http, Self::Quic, Self::Unix, Self::Mcp];

    pub(crate) fn is_far(self) -> bool {
        Self::FAR.contains(&self)
    }

    /// Reads the word in the column `strategy`.
    pub(crate) fn of_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|way| way.word() == word)
    }

    /// The word in the column `strategy`.
    pub(crate) fn word(self) -> &'static str {
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

/// One signpost for each method.
///
/// It is taken down before the SQL of a flip begins, and put up again when the router has the new
/// row in force. A call that reads the same sign before its start and after its end has seen no
/// flip, and must have gone where the sign points.
#[derive(Debug, Default)]
pub(crate) struct Signposts([AtomicU64; Method::ALL.len()]);

/// What a signpost says: the lowest bits are the way, the others count its changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Sign(u64);

/// The bits of a way; all of them are set while the sign is down.
const BITS: u32 = 3;
const DOWN: u64 = (1 << BITS) - 1;

impl Sign {
    /// Says where calls have to go; `None` while a flip is under way.
    pub(crate) fn way(self) -> Option<Way> {
        Way::ALL.get((self.0 & DOWN) as usize).copied()
    }
}

impl Signposts {
    /// Makes signposts that are all down.
    pub(crate) fn new() -> Self {
        let posts = Self::default();
        Method::ALL.into_iter().for_each(|method| posts.take_down(method));
        posts
    }

    /// Reads the sign of a method.
    pub(crate) fn read(&self, method: Method) -> Sign {
        Sign(self.0[method as usize].load(Ordering::SeqCst))
    }

    /// Says nothing about a method until it is put up again.
    pub(crate) fn take_down(&self, method: Method) {
        self.change(method, DOWN);
    }

    /// Says where calls of a method have to go from now on.
    pub(crate) fn put_up(&self, method: Method, way: Way) {
        self.change(method, way as u64);
    }

    fn change(&self, method: Method, bits: u64) {
        let post = &self.0[method as usize];
        let changes = (post.load(Ordering::SeqCst) >> BITS) + 1;
        post.store(changes << BITS | bits, Ordering::SeqCst);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sign_that_was_down_in_between_is_another_sign() {
        let posts = Signposts::new();
        assert_eq!(posts.read(Method::Quote).way(), None);
        posts.put_up(Method::Quote, Way::Http);
        let before = posts.read(Method::Quote);
        assert_eq!(before.way(), Some(Way::Http));
        posts.take_down(Method::Quote);
        posts.put_up(Method::Quote, Way::Http);
        assert_ne!(posts.read(Method::Quote), before);
        assert_eq!(posts.read(Method::Price).way(), None);
    }
}
