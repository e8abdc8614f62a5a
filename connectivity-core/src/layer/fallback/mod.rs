//! Fallback to a second service if the first one was not reached.

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use pin_project_lite::pin_project;
use tokio::time::Instant;
use tower::ServiceExt;
use tower::util::Oneshot;
use tower_layer::Layer;
use tower_service::Service;

use super::{may_repeat, with_earlier};
use crate::call::{BoxFuture, Call, CallService, Reply};
use crate::error::{Error, ErrorKind, Sent};

/// Errors that show that the first service was not reached. An overloaded service was reached:
/// doing its work elsewhere would defeat its limit.
const FALLBACK_ON: &[ErrorKind] =
    &[ErrorKind::Connect, ErrorKind::CircuitOpen, ErrorKind::Closed, ErrorKind::Timeout];

/// Sends a call to a fallback service, such as the implementation in this process, if the inner
/// service could not be reached.
///
/// The fallback runs after a failure to connect, an open circuit, a closed connection or a timeout,
/// and only as invariant 10 allows: the call did not run, or its method is `#[idempotent]`. It
/// never runs after a reply, even if the reply is the error type of the contract, nor after the
/// deadline of the call. A timeout inside this layer, such as the row's, does not count as that
/// deadline.
///
/// # Cancel safety
/// Dropping a call drops it in whichever of the two services is handling it.
#[derive(Clone, Debug)]
pub struct FallbackLayer {
    fallback: CallService,
}

impl FallbackLayer {
    /// Creates the layer with the given fallback service.
    #[must_use]
    pub fn new(fallback: CallService) -> Self {
        Self { fallback }
    }
}

impl<S> Layer<S> for FallbackLayer {
    type Service = Fallback<S>;

    fn layer(&self, inner: S) -> Fallback<S> {
        Fallback { inner, fallback: self.fallback.clone() }
    }
}

/// Service of a [`FallbackLayer`]. It is always ready, so that the fallback can handle calls while
/// the inner service is not ready.
#[derive(Clone, Debug)]
pub struct Fallback<S> {
    inner: S,
    fallback: CallService,
}

impl<S> Service<Call> for Fallback<S>
where
    S: Service<Call, Response = Reply, Error = Error> + Clone,
{
    type Response = Reply;
    type Error = Error;
    type Future = FallbackFuture<S>;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, call: Call) -> FallbackFuture<S> {
        let saved = Some((call.fork(), self.fallback.clone()));
        FallbackFuture {
            attempt: Some(self.inner.clone().oneshot(call)),
            saved,
            fallback: None,
            earlier: Sent::No,
        }
    }
}

pin_project! {
    /// Future of a [`Fallback`].
    pub struct FallbackFuture<S>
    where
        S: Service<Call>,
    {
        #[pin]
        attempt: Option<Oneshot<S, Call>>,
        saved: Option<(Call, CallService)>,
        fallback: Option<BoxFuture<'static, Result<Reply, Error>>>,
        // Whether the first service may have run the call.
        earlier: Sent,
    }
}

impl<S> Future for FallbackFuture<S>
where
    S: Service<Call, Response = Reply, Error = Error>,
{
    type Output = Result<Reply, Error>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        if let Some(attempt) = this.attempt.as_mut().as_pin_mut() {
            let result = ready!(attempt.poll(cx));
            this.attempt.set(None);
            let saved = this.saved.take();
            let error = match result {
                Ok(reply) => return Poll::Ready(Ok(reply)),
                Err(error) => error,
            };
            let Some((call, fallback)) = saved.filter(|(call, _)| should_fall_back(call, &error))
            else {
                return Poll::Ready(Err(error));
            };
            *this.earlier = error.sent();
            *this.fallback = Some(fallback.send_last(call));
        }
        // A future may pend when polled again after completion.
        let Some(fallback) = this.fallback else { return Poll::Pending };
        let result = ready!(fallback.as_mut().poll(cx));
        *this.fallback = None;
        Poll::Ready(result.map_err(|error| with_earlier(error, *this.earlier)))
    }
}

fn should_fall_back(call: &Call, error: &Error) -> bool {
    let in_time = call.context().deadline().is_none_or(|deadline| Instant::now() < deadline);
    in_time && may_repeat(call, error, FALLBACK_ON)
}

impl<S: Service<Call>> fmt::Debug for FallbackFuture<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FallbackFuture")
            .field("stepped_in", &self.fallback.is_some())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
