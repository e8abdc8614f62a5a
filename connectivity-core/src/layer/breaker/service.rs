//! A breaker around a service of calls.

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

/// Refuses calls as [`CircuitOpen`](ErrorKind::CircuitOpen) while a [`CircuitBreaker`] is open, and
/// tells it how the others end.
///
/// A failure is what says that the far end is sick: no connection, no answer in time, a connection
/// that ended, too many calls there, or a failure that the far end has no better word for. Answers
/// are none of them, whatever they say: a value, the error type of the contract, an error that the
/// implementation got from a call of its own, a panic over these arguments, a refusal of this call.
///
/// # Cancel safety
/// A call that is dropped says nothing of the far end, unless its deadline has passed: then it is a
/// failure. So is a panic of the service inside. A probe gives its place back in any case: one that
/// hangs, when the breaker's `reset` has passed once more.
#[derive(Clone, Debug)]
pub struct BreakerLayer {
    breaker: CircuitBreaker,
}

impl BreakerLayer {
    /// Makes the layer. Services that share a breaker, by this layer or another, open and close
    /// together.
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

/// The service of a [`BreakerLayer`]. It is always ready, so that it can refuse; what is inside is
/// waited for with the leave in hand.
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
            // Polled again after the end, it pends, as a future may.
            return this.refused.take().map_or(Poll::Pending, |error| Poll::Ready(Err(error)));
        };
        // Out of the future while it is polled: a panic drops the permit as it unwinds, and so is
        // told from a cancellation.
        let held = this.held.take();
        let Poll::Ready(result) = attempt.poll(cx) else {
            *this.held = held;
            return Poll::Pending;
        };
        this.attempt.set(None);
        if let Some(held) = held {
            held.judge(&result);
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

/// The permit of a call under way. Whoever bounds a call may drop it at its deadline: that is a
/// failure, not a cancellation.
#[derive(Debug)]
struct Held {
    permit: Option<Permit>,
    deadline: Option<Instant>,
}

impl Held {
    fn judge(mut self, result: &Result<Reply, Error>) {
        let Some(permit) = self.permit.take() else { return };
        let verdict = result.as_ref().map_or_else(verdict, |_reply| Some(Verdict::Well));
        match verdict {
            Some(Verdict::Well) => permit.success(),
            Some(Verdict::Sick) => permit.failure(),
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

/// What the end of a call says of the far end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    Well,
    Sick,
}

/// Says what an error tells of the far end; `None` where it tells of this side only.
fn verdict(error: &Error) -> Option<Verdict> {
    use ErrorKind as Kind;
    if error.is_relayed() {
        return Some(Verdict::Well); // An answer, about a call further away.
    }
    match (error.kind(), error.sent()) {
        (Kind::Connect, Sent::No) => Some(Verdict::Sick),
        // The call may have run, so somebody was reached, and could not reach a third.
        (Kind::Connect, _) => Some(Verdict::Well),
        // Nobody answered in time, or nobody could.
        (Kind::Timeout | Kind::Closed | Kind::Overloaded, _) => Some(Verdict::Sick),
        // It answers, and cannot do its work, whatever it is asked.
        (Kind::Internal | Kind::Remote, _) => Some(Verdict::Sick),
        // It lives. One caller whose arguments make it panic must not close the route to all the
        // others.
        (Kind::Panicked, _) => Some(Verdict::Well),
        // Nothing has left: the call was given up, or there is something about it or its row.
        (
            Kind::Cancelled
            | Kind::CircuitOpen
            | Kind::NoTransport
            | Kind::RouteInvalid
            | Kind::Noop,
            _,
        ) => None,
        (Kind::Encode | Kind::TooLarge, Sent::No) => None,
        // It has answered, and refused this call or answered something that cannot be read.
        _ => Some(Verdict::Well),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_far_end_is_sick_when_it_is_not_reached_or_cannot_do_its_work() {
        let of = |kind| verdict(&Error::new(kind, "billing", ""));
        let sick = ErrorKind::ALL.iter().filter(|kind| of(**kind) == Some(Verdict::Sick));
        let words: Vec<_> = sick.map(|kind| kind.as_str()).collect();
        assert_eq!(words, ["connect", "timeout", "overloaded", "internal", "remote", "closed"]);
        let own = ErrorKind::ALL.iter().filter(|kind| of(**kind).is_none());
        let words: Vec<_> = own.map(|kind| kind.as_str()).collect();
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
                Some(Verdict::Well),
                "{kind:?}"
            );
        }
        let passed_on = Error::new(ErrorKind::Connect, "billing", "").with_sent(Sent::Maybe);
        assert_eq!(verdict(&passed_on), Some(Verdict::Well));
    }
}
