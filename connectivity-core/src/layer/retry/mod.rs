//! Repeats calls that failed, where that is safe and may help.

mod budget;
#[cfg(test)]
mod tests;

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use pin_project_lite::pin_project;
use tokio::time::{Instant, Sleep, sleep_until};
use tower::ServiceExt;
use tower::util::Oneshot;
use tower::util::rng::{HasherRng, Rng};
use tower_layer::Layer;
use tower_service::Service;

pub use budget::RetryBudget;

use super::{may_repeat, more, with_earlier};
use crate::call::{Call, Reply};
use crate::context::after;
use crate::error::{Error, ErrorKind, Sent};

/// What may pass by itself. An open circuit may too, but it knows when: asking again meanwhile
/// would only be refused again.
const PASSING: &[ErrorKind] =
    &[ErrorKind::Connect, ErrorKind::Overloaded, ErrorKind::Closed, ErrorKind::Timeout];

/// The longest wait, unless the first is set to more.
const LONGEST: Duration = Duration::from_secs(10);

/// Repeats a call that failed: at most `max` times, after waits that double, while a
/// [`RetryBudget`] lasts.
///
/// Only what invariant 10 allows is repeated: the error is about this very call, and it did not run
/// ([`Sent::No`]) or its method is `#[idempotent]`. And only what may pass: no connection, too many
/// calls there, a connection that ended, no answer in time. An answer never is, nor is a call
/// refused by an open circuit, nor one whose arguments an implementation in this process has taken.
///
/// The wait before attempt *n* + 1 is between half of and the whole `backoff` · 2ⁿ⁻¹, at most 10 s
/// (or `backoff`, if that is longer). A call is not repeated when the wait would pass its deadline:
/// the last error comes at once. The error that comes in the end says by [`sent`](Error::sent) what
/// any of the attempts may have done.
///
/// # Cancel safety
/// Dropping a call drops the attempt that is out; no other is made.
#[derive(Clone, Debug)]
pub struct RetryLayer {
    policy: Policy,
}

#[derive(Clone, Debug)]
struct Policy {
    max: u32,
    backoff: Duration,
    budget: RetryBudget,
}

impl RetryLayer {
    /// Makes the layer: `max` attempts after the first, 50 ms before the first of them, a budget of
    /// its own.
    #[must_use]
    pub fn new(max: u32) -> Self {
        Self {
            policy: Policy {
                max,
                backoff: Duration::from_millis(50),
                budget: RetryBudget::default(),
            },
        }
    }

    /// Sets the first wait.
    #[must_use]
    pub fn backoff(mut self, backoff: Duration) -> Self {
        self.policy.backoff = backoff;
        self
    }

    /// Takes from a budget that others may take from too.
    #[must_use]
    pub fn budget(mut self, budget: RetryBudget) -> Self {
        self.policy.budget = budget;
        self
    }
}

impl<S> Layer<S> for RetryLayer {
    type Service = Retry<S>;

    fn layer(&self, inner: S) -> Retry<S> {
        Retry { inner, policy: self.policy.clone() }
    }
}

/// The service of a [`RetryLayer`]. It is always ready; each attempt waits until what is inside is.
#[derive(Clone, Debug)]
pub struct Retry<S> {
    inner: S,
    policy: Policy,
}

impl<S> Service<Call> for Retry<S>
where
    S: Service<Call, Response = Reply, Error = Error> + Clone,
{
    type Response = Reply;
    type Error = Error;
    type Future = RetryFuture<S>;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, call: Call) -> RetryFuture<S> {
        self.policy.budget.deposit();
        let spare = (self.policy.max > 0).then(|| call.fork());
        let retry = self.clone();
        let attempt = Some(self.inner.clone().oneshot(call));
        RetryFuture { attempt, pause: None, spare, retry, failed: 0, earlier: Sent::No }
    }
}

pin_project! {
    /// The future of a [`Retry`].
    pub struct RetryFuture<S>
    where
        S: Service<Call>,
    {
        #[pin]
        attempt: Option<Oneshot<S, Call>>,
        pause: Option<Pin<Box<Sleep>>>,
        spare: Option<Call>,
        retry: Retry<S>,
        failed: u32,
        // What the attempts that failed may have done.
        earlier: Sent,
    }
}

impl<S> Future for RetryFuture<S>
where
    S: Service<Call, Response = Reply, Error = Error> + Clone,
{
    type Output = Result<Reply, Error>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        loop {
            if let Some(attempt) = this.attempt.as_mut().as_pin_mut() {
                let result = ready!(attempt.poll(cx));
                this.attempt.set(None);
                let again = match &result {
                    Ok(_) => None,
                    Err(error) => {
                        let spare = this.spare.as_ref();
                        spare.and_then(|spare| this.retry.policy.again(spare, error, *this.failed))
                    }
                };
                let (Some(at), Err(error)) = (again, &result) else {
                    // Polled again after this, it pends, as a future may.
                    *this.spare = None;
                    return Poll::Ready(result.map_err(|error| with_earlier(error, *this.earlier)));
                };
                *this.failed += 1;
                *this.earlier = more(*this.earlier, error.sent());
                *this.pause = Some(Box::pin(sleep_until(at)));
            }
            let Some(pause) = this.pause else { return Poll::Pending };
            ready!(pause.as_mut().poll(cx));
            *this.pause = None;
            let last = *this.failed >= this.retry.policy.max;
            let call = if last { this.spare.take() } else { this.spare.as_ref().map(Call::fork) };
            let Some(call) = call else { return Poll::Pending };
            this.attempt.set(Some(this.retry.inner.clone().oneshot(call)));
        }
    }
}

impl<S: Service<Call>> fmt::Debug for RetryFuture<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RetryFuture")
            .field("failed", &self.failed)
            .field("earlier", &self.earlier)
            .finish_non_exhaustive()
    }
}

impl Policy {
    /// Says when a call goes out again after an error, if it does; `failed` attempts had failed
    /// before.
    fn again(&self, spare: &Call, error: &Error, failed: u32) -> Option<Instant> {
        if failed >= self.max || !may_repeat(spare, error, PASSING) {
            return None;
        }
        let at = after(wait(self.backoff, failed, HasherRng::default().next_f64()));
        let in_time = spare.context().deadline().is_none_or(|deadline| at < deadline);
        (in_time && self.budget.withdraw()).then_some(at)
    }
}

/// The wait after so many earlier ones: half of it is certain, the other half by chance, so that
/// callers that failed together do not come back together.
fn wait(backoff: Duration, waited: u32, chance: f64) -> Duration {
    let whole = backoff.saturating_mul(1 << waited.min(20)).min(LONGEST.max(backoff));
    let half = whole / 2;
    half.saturating_add(half.mul_f64(chance.clamp(0.0, 1.0)))
}
