//! Retries failed calls where that is safe and may help.

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

use super::{may_repeat, stronger, with_earlier};
use crate::call::{Call, Reply};
use crate::context::after;
use crate::error::{Error, ErrorKind, Sent};

/// Causes that may go away by themselves. An open circuit may too, but only after its pause: a
/// retry before that would only be rejected again.
const TRANSIENT: &[ErrorKind] =
    &[ErrorKind::Connect, ErrorKind::Overloaded, ErrorKind::Closed, ErrorKind::Timeout];

/// Longest backoff, unless the first one is set to more.
const MAX_BACKOFF: Duration = Duration::from_secs(10);

/// Retries a failed call up to `max` times with exponential backoff, while a [`RetryBudget`] allows
/// it.
///
/// Only calls that invariant 10 allows are retried: the error concerns this very call, and the call
/// did not run ([`Sent::No`]) or its method is `#[idempotent]`. The cause must be transient as
/// well: no connection, an overloaded server, a closed connection, a timeout. A reply is never
/// retried, nor is a call that an open circuit rejected, nor one whose arguments an implementation
/// in this process has already taken.
///
/// The backoff before attempt *n* + 1 is between half and all of `backoff` · 2ⁿ⁻¹, at most 10 s (or
/// `backoff`, if that is longer). If the backoff would pass the deadline of the call, the last
/// error is returned at once. The [`sent`](Error::sent) of the final error covers all attempts.
///
/// # Cancel safety
/// Dropping a call drops the attempt in flight; no further attempt is made.
#[derive(Clone, Debug)]
pub struct RetryLayer {
    policy: Policy,
}

/// How often a call is retried. Whether it may be retried at all, its method decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct RetryConfig {
    /// Attempts after the first one: `retry_max` of a row. Default 0.
    pub max: u32,
    /// Backoff before the first retry: `retry_backoff_ms`. Default 50 ms.
    pub backoff: Duration,
}

impl Default for RetryConfig {
    fn default() -> Self {
        Self { max: 0, backoff: Duration::from_millis(50) }
    }
}

#[derive(Clone, Debug)]
struct Policy {
    config: RetryConfig,
    budget: RetryBudget,
}

impl RetryLayer {
    /// Creates the layer: up to `max` retries, a first backoff of 50 ms, and a budget of its own.
    #[must_use]
    pub fn new(max: u32) -> Self {
        Self::from(RetryConfig { max, ..RetryConfig::default() })
    }

    /// Sets the first backoff.
    #[must_use]
    pub fn backoff(mut self, backoff: Duration) -> Self {
        self.policy.config.backoff = backoff;
        self
    }

    /// Sets the budget, which other layers may share.
    #[must_use]
    pub fn budget(mut self, budget: RetryBudget) -> Self {
        self.policy.budget = budget;
        self
    }
}

impl From<RetryConfig> for RetryLayer {
    fn from(config: RetryConfig) -> Self {
        Self { policy: Policy { config, budget: RetryBudget::default() } }
    }
}

impl<S> Layer<S> for RetryLayer {
    type Service = Retry<S>;

    fn layer(&self, inner: S) -> Retry<S> {
        Retry { inner, policy: self.policy.clone() }
    }
}

/// Service of a [`RetryLayer`]. It is always ready; each attempt waits for the inner service to be
/// ready.
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
        let saved = (self.policy.config.max > 0).then(|| call.fork());
        let retry = self.clone();
        let attempt = Some(self.inner.clone().oneshot(call));
        RetryFuture { attempt, pause: None, saved, retry, failed: 0, earlier: Sent::No }
    }
}

pin_project! {
    /// Future of a [`Retry`].
    pub struct RetryFuture<S>
    where
        S: Service<Call>,
    {
        #[pin]
        attempt: Option<Oneshot<S, Call>>,
        pause: Option<Pin<Box<Sleep>>>,
        saved: Option<Call>,
        retry: Retry<S>,
        failed: u32,
        // Whether the failed attempts may have run the call.
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
                let retry_at = match &result {
                    Ok(_) => None,
                    Err(error) => {
                        let saved = this.saved.as_ref();
                        saved.and_then(|saved| {
                            this.retry.policy.retry_at(saved, error, *this.failed)
                        })
                    }
                };
                let (Some(at), Err(error)) = (retry_at, &result) else {
                    // A future may pend when polled again after completion.
                    *this.saved = None;
                    return Poll::Ready(result.map_err(|error| with_earlier(error, *this.earlier)));
                };
                *this.failed += 1;
                *this.earlier = stronger(*this.earlier, error.sent());
                *this.pause = Some(Box::pin(sleep_until(at)));
            }
            let Some(pause) = this.pause else { return Poll::Pending };
            ready!(pause.as_mut().poll(cx));
            *this.pause = None;
            let last = *this.failed >= this.retry.policy.config.max;
            let call = if last { this.saved.take() } else { this.saved.as_ref().map(Call::fork) };
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
    /// Returns when to retry after an error, or `None` to give up; `failed` is the number of
    /// attempts that failed before.
    fn retry_at(&self, saved: &Call, error: &Error, failed: u32) -> Option<Instant> {
        if failed >= self.config.max || !may_repeat(saved, error, TRANSIENT) {
            return None;
        }
        let at = after(backoff_for(self.config.backoff, failed, HasherRng::default().next_f64()));
        let in_time = saved.context().deadline().is_none_or(|deadline| at < deadline);
        (in_time && self.budget.withdraw()).then_some(at)
    }
}

/// Returns the backoff after `waited` earlier ones. Half of it is fixed and half is random jitter,
/// so that callers that failed together do not retry together.
fn backoff_for(backoff: Duration, waited: u32, random: f64) -> Duration {
    let whole = backoff.saturating_mul(1 << waited.min(20)).min(MAX_BACKOFF.max(backoff));
    let half = whole / 2;
    half.saturating_add(half.mul_f64(random.clamp(0.0, 1.0)))
}
