//! The outage of the second process, and the failures that it explains.

use std::sync::OnceLock;
use std::time::{Duration, Instant};

use connectivity_core::{Error, ErrorKind, Sent};

use crate::meter::Method;

/// The kill of the second process, once per run.
#[derive(Debug, Default)]
pub(crate) struct Outage {
    /// Before the signal was sent.
    began: OnceLock<Instant>,
    /// When the process was certainly dead.
    dead: OnceLock<Instant>,
    /// When the restarted process had answered a call on every wire. No connection of the old
    /// process is in use any more.
    over: OnceLock<Instant>,
}

/// The start and the end of a call.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Span {
    pub(crate) start: Instant,
    pub(crate) end: Instant,
}

impl Outage {
    pub(crate) fn begin(&self) {
        self.began.get_or_init(Instant::now);
    }

    pub(crate) fn died(&self) {
        self.dead.get_or_init(Instant::now);
    }

    pub(crate) fn end(&self) {
        self.over.get_or_init(Instant::now);
    }

    /// Returns the time from the kill until the second process served on every wire again.
    pub(crate) fn lasted(&self) -> Option<Duration> {
        Some(self.over.get()?.duration_since(*self.began.get()?))
    }

    /// Returns whether a call that began at `start` was in flight at the kill, provided that it had
    /// not ended before.
    pub(crate) fn was_in_flight(&self, start: Instant) -> bool {
        self.dead.get().is_some_and(|dead| start <= *dead)
    }

    /// Returns whether the kill explains how a call ended. Any other error counts as a failure.
    ///
    /// The call must overlap the outage, and its error must be one that callers are promised in
    /// that case. Either there was no connection, so that nothing was sent (for a retryable method:
    /// nothing on the second attempt). Or the connection broke or the deadline passed while the
    /// call waited, which is `Sent::Maybe`, or `Sent::No` if the request had not left. `Sent::Yes`
    /// would be wrong, and a relayed error belongs to another call.
    pub(crate) fn explains(&self, method: Method, span: Span, error: &Error) -> bool {
        let overlaps = self.began.get().is_some_and(|began| span.end >= *began)
            && self.over.get().is_none_or(|over| span.start <= *over);
        let promised = match (error.kind(), error.sent()) {
            (ErrorKind::Connect, Sent::Maybe) => method.is_retryable(),
            (ErrorKind::Connect, sent) => sent == Sent::No,
            (ErrorKind::Closed | ErrorKind::Timeout, sent) => sent != Sent::Yes,
            _ => false,
        };
        overlaps && promised && !error.is_relayed()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(kind: ErrorKind, sent: Sent) -> Error {
        Error::new(kind, "billing.charge", "").with_sent(sent)
    }

    #[test]
    fn only_what_a_kill_does_to_a_call_is_explained_by_it() {
        let outage = Outage::default();
        let now = || Span { start: Instant::now(), end: Instant::now() };
        let before = now();
        let closed = error(ErrorKind::Closed, Sent::Maybe);
        assert!(!outage.explains(Method::Charge, before, &closed), "nobody was killed");
        outage.begin();
        let during = now();
        for (method, kind, sent, explained) in [
            (Method::Charge, ErrorKind::Closed, Sent::Maybe, true),
            (Method::Charge, ErrorKind::Closed, Sent::Yes, false),
            (Method::Charge, ErrorKind::Connect, Sent::No, true),
            (Method::Charge, ErrorKind::Connect, Sent::Maybe, false),
            (Method::Quote, ErrorKind::Connect, Sent::Maybe, true),
            (Method::Charge, ErrorKind::Timeout, Sent::Maybe, true),
            (Method::Charge, ErrorKind::Remote, Sent::Maybe, false),
            (Method::Charge, ErrorKind::NotRoutable, Sent::No, false),
        ] {
            let found = outage.explains(method, during, &error(kind, sent));
            assert_eq!(found, explained, "{method:?} {kind:?} {sent:?}");
        }
        assert!(
            outage.explains(Method::Charge, Span { start: before.start, ..during }, &closed),
            "it was in flight"
        );
        assert!(!outage.explains(Method::Charge, before, &closed), "it had ended");
        outage.end();
        std::thread::sleep(Duration::from_millis(1));
        assert!(outage.explains(Method::Charge, Span { start: during.start, ..now() }, &closed));
        assert!(!outage.explains(Method::Charge, now(), &closed), "the process was back");
    }
}
