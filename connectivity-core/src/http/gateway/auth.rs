//! Authentication of clients: bearer tokens, and the allowed origins of browser pages.

use std::fmt;

use axum::http::header::{AUTHORIZATION, ORIGIN};
use axum::http::{HeaderMap, HeaderValue};

use crate::context::Peer;
use crate::error::ErrorKind;

/// The clients that a gateway serves.
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

    /// Identifies the client of a request.
    pub(crate) fn identify(
        &self,
        headers: &HeaderMap,
    ) -> Result<Option<Peer>, (ErrorKind, &'static str)> {
        let is_foreign = |origin: &HeaderValue| {
            !self.origins.iter().any(|allowed| allowed.as_bytes() == origin.as_bytes())
        };
        if headers.get(ORIGIN).is_some_and(is_foreign) {
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
        let bearer =
            self.bearers.iter().find(|(_, known)| constant_time_eq(known.as_bytes(), token));
        bearer
            .map(|(peer, _)| Some(peer.clone()))
            .ok_or((ErrorKind::Unauthenticated, "the token is not known"))
    }
}

/// Compares in constant time, so that timing does not reveal how much of a guess is right.
fn constant_time_eq(token: &[u8], guess: &[u8]) -> bool {
    token.len() == guess.len()
        && token.iter().zip(guess).fold(0, |differs, (a, b)| differs | (a ^ b)) == 0
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
