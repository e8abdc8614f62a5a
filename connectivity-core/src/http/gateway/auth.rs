//! Who may call: bearer tokens, and pages of which origin.

use std::fmt;

use axum::http::header::{AUTHORIZATION, ORIGIN};
use axum::http::{HeaderMap, HeaderValue};

use crate::context::Peer;
use crate::error::ErrorKind;

/// The callers that a gateway answers.
#[derive(Clone, Default)]
pub(crate) struct Authenticator {
    bearers: Vec<(Peer, String)>,
    origins: Vec<String>,
}

impl Authenticator {
    pub(crate) fn add_bearer(&mut self, peer: Peer, token: String) {
        self.bearers.push((peer, token));
    }

    pub(crate) fn add_origin(&mut self, origin: String) {
        self.origins.push(origin);
    }

    pub(crate) fn has_bearer(&self) -> bool {
        !self.bearers.is_empty()
    }

    /// Finds out who sends a request.
    pub(crate) fn identify(
        &self,
        headers: &HeaderMap,
    ) -> Result<Option<Peer>, (ErrorKind, &'static str)> {
        let foreign = |origin: &HeaderValue| {
            !self.origins.iter().any(|allowed| allowed.as_bytes() == origin.as_bytes())
        };
        if headers.get(ORIGIN).is_some_and(foreign) {
            return Err((
                ErrorKind::Denied,
                "requests from pages of this origin are not answered; see `allow_origin`",
            ));
        }
        if self.bearers.is_empty() {
            return Ok(None);
        }
        let Some(token) =
            headers.get(AUTHORIZATION).and_then(|value| value.as_bytes().strip_prefix(b"Bearer "))
        else {
            return Err((ErrorKind::Unauthenticated, "send `Authorization: Bearer` and a token"));
        };
        let known = self.bearers.iter().find(|(_, known)| same(known.as_bytes(), token));
        known
            .map(|(peer, _)| Some(peer.clone()))
            .ok_or((ErrorKind::Unauthenticated, "the token is not known"))
    }
}

/// Compares without telling by its time how much of a guess was right.
fn same(known: &[u8], guess: &[u8]) -> bool {
    known.len() == guess.len()
        && known.iter().zip(guess).fold(0, |differs, (a, b)| differs | (a ^ b)) == 0
}

impl fmt::Debug for Authenticator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bearers = self.bearers.iter().map(|(peer, _)| peer);
        f.debug_struct("Authenticator")
            .field("bearers", &bearers.collect::<Vec<_>>())
            .field("origins", &self.origins)
            .finish()
    }
}
