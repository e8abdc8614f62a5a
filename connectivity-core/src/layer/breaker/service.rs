//! The circuit breaker as a tower layer and service.

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll};

use pin_project_lite::pin_project;
use tokio::time::Instant;
use tower::ServiceExt;
use tower::util::Oneshot;
use tower_layer::Layer;
use tower_service::Service;

use super::{CircuitBreaker, Permit};
use crate::call::{Call, Reply};
use crate::error::{Error, ErrorKind, Sent};

/// Rejects calls as [`CircuitOpen`](ErrorKind::CircuitOpen) while a [`CircuitBreaker`] is open, and
/// reports the results of all other calls to it.
///
/// A result is a failure if it shows that the server is unhealthy: no connection, no reply in time,
/// a closed connection, an overloaded server, or an internal error of the server. Replies are never
/// failures, whatever they contain: a value, the error type of the contract, an error that the
/// implementation got from a call of its own, a panic on these arguments, a rejection of this call.
///
/// # Cancel safety
/// A dropped call does not count, unless its deadline has passed: then it is a failure. A panic of
/// the inner service is a failure too. A probe releases its permit in every case; a probe that
/// hangs releases it once the breaker's `reset` has elapsed again.
#[derive(Clone, Debug)]
pub struct BreakerLayer {
    breaker: CircuitBreaker,
}

impl BreakerLayer {
    /// Creates the layer. Services that share a breaker, through this layer or another, open and
    /// close together.
    #[must_use]
    pub fn new(breaker: CircuitBreaker) -> Self {
        Self { breaker }
    }
}

impl<S> Layer<S> for BreakerLayer {
    type Service = Breaker<S>;

    fn layer(&self, inner: S) -> Breaker<S> {
        Breaker { inner, breaker: self.breaker.clone() }
    }
}

/// Service of a [`BreakerLayer`]. It is always ready, so that it can reject calls; an admitted call
/// waits for the inner service while it holds its permit.
#[derive(Clone, Debug)]
pub struct Breaker<S> {
    inner: S,
    breaker: CircuitBreaker,
}

impl<S> Service<Call> for Breaker<S>
where
    S: Service<Call, Response = Reply, Error = Error> + Clone,
{
    type Response = Reply;
    type Error = Error;
    type Future = BreakerFuture<S>;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, call: Call) -> BreakerFuture<S> {
        let Some(permit) = self.breaker.allow() else {
            let refused = call.failed(
                ErrorKind::CircuitOpen,
                "too many calls failed in a row; a later one tries again",
            );
            return BreakerFuture { attempt: None, held: None, refused: Some(refused) };
        };
        let held = Held { permit: Some(permit), deadline: call.context().deadline() };
        BreakerFuture {
            attempt: Some(self.inner.clone().oneshot(call)),
            held: Some(held),
            refused: None,
        }
    }
}

pin_project! {
    /// The future of a [`Breaker`].
    pub struct BreakerFuture<S>
    where
        S: Service<Call>,
    {
        #[pin]
        attempt: Option<Oneshot<S, Call>>,
        held: Option<Held>,
        refused: Option<Error>,
    }
}

impl<S> Future for BreakerFuture<S>
where
    S: Service<Call, Response = Reply, Error = Error>,
{
    type Output = Result<Reply, Error>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        let Some(attempt) = this.attempt.as_mut().as_pin_mut() else {
            // A future may pend when polled again after completion.
            return this.refused.take().map_or(Poll::Pending, |error| Poll::Ready(Err(error)));
        };
        // Take the permit out of the future while polling: a panic then drops the permit during
        // unwinding, which distinguishes it from a cancellation.
        let held = this.held.take();
        let Poll::Ready(result) = attempt.poll(cx) else {
            *this.held = held;
            return Poll::Pending;
        };
        this.attempt.set(None);
        if let Some(held) = held {
            held.report(&result);
        }
        Poll::Ready(result)
    }
}

impl<S: Service<Call>> fmt::Debug for BreakerFuture<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BreakerFuture")
            .field("held", &self.held)
            .field("refused", &self.refused)
            .finish_non_exhaustive()
    }
}

/// Permit of a call in flight. A caller may drop the call at its deadline: that is a failure, not a
/// cancellation.
#[derive(Debug)]
struct Held {
    permit: Option<Permit>,
    deadline: Option<Instant>,
}

impl Held {
    fn report(mut self, result: &Result<Reply, Error>) {
        let Some(permit) = self.permit.take() else { return };
        let verdict = result.as_ref().map_or_else(verdict, |_reply| Some(Verdict::Healthy));
        match verdict {
            Some(Verdict::Healthy) => permit.success(),
            Some(Verdict::Unhealthy) => permit.failure(),
            None => drop(permit),
        }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let Some(permit) = self.permit.take() else { return };
        if self.deadline.is_some_and(|deadline| deadline <= Instant::now()) {
            permit.failure();
        }
    }
}

/// What the result of a call shows about the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    Healthy,
    Unhealthy,
}

/// Returns what an error shows about the server, or `None` if it only concerns the client.
fn verdict(error: &Error) -> Option<Verdict> {
    use ErrorKind as Kind;
    if error.is_relayed() {
        return Some(Verdict::Healthy); // A reply that reports on a nested call of the server.
    }
    match (error.kind(), error.sent()) {
        (Kind::Connect, Sent::No) => Some(Verdict::Unhealthy),
        // The call may have run, so a server was reached; that server could not reach another one.
        (Kind::Connect, _) => Some(Verdict::Healthy),
        // No server replied in time, or the connection or the server could not take the call.
        (Kind::Timeout | Kind::Closed | Kind::Overloaded, _) => Some(Verdict::Unhealthy),
        // The server replies but cannot do its work, for any request.
        (Kind::Internal | Kind::Remote, _) => Some(Verdict::Unhealthy),
        // The server is alive. One caller whose arguments make it panic must not close the route
        // for all other callers.
        (Kind::Panicked, _) => Some(Verdict::Healthy),
        // Nothing was sent: the call was cancelled, or the call or its row is invalid.
        (
            Kind::Cancelled
            | Kind::CircuitOpen
            | Kind::NoTransport
            | Kind::RouteInvalid
            | Kind::Noop,
            _,
        ) => None,
        (Kind::Encode | Kind::TooLarge, Sent::No) => None,
        // The server replied: it rejected this call, or its reply cannot be decoded.
        _ => Some(Verdict::Healthy),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_far_end_is_sick_when_it_is_not_reached_or_cannot_do_its_work() {
        let of = |kind| verdict(&Error::new(kind, "billing", ""));
        let unhealthy = ErrorKind::ALL.iter().filter(|kind| of(**kind) == Some(Verdict::Unhealthy));
        let words: Vec<_> = unhealthy.map(|kind| kind.as_str()).collect();
        assert_eq!(words, ["connect", "timeout", "overloaded", "internal", "remote", "closed"]);
        let no_verdict = ErrorKind::ALL.iter().filter(|kind| of(**kind).is_none());
        let words: Vec<_> = no_verdict.map(|kind| kind.as_str()).collect();
        assert_eq!(
            words,
            ["route_invalid", "no_transport", "circuit_open", "cancelled", "encode", "noop"]
        );
    }

    #[test]
    fn an_error_of_a_call_further_away_is_an_answer() {
        for &kind in ErrorKind::ALL {
            assert_eq!(
                verdict(&Error::new(kind, "billing", "").relay()),
                Some(Verdict::Healthy),
                "{kind:?}"
            );
        }
        let forwarded = Error::new(ErrorKind::Connect, "billing", "").with_sent(Sent::Maybe);
        assert_eq!(verdict(&forwarded), Some(Verdict::Healthy));
    }
}
