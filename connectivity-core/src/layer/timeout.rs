//! Timeout of calls.

use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use pin_project_lite::pin_project;
use tower_layer::Layer;
use tower_service::Service;

use crate::call::{Call, Reply};
use crate::error::Error;
use crate::service::Within;

/// Limits the duration of each call. The call ends as [`Timeout`](crate::ErrorKind::Timeout) even
/// if the inner service does not check its deadline.
///
/// The deadline is set in the call's [context](crate::context), so transports propagate it; an
/// earlier deadline is kept. The limit counts from when the call reaches this layer: inside a retry
/// layer, each attempt has its own limit.
#[derive(Clone, Copy, Debug)]
pub struct TimeoutLayer {
    limit: Duration,
}

impl TimeoutLayer {
    /// Creates the layer. A limit too long for the clock means no limit.
    #[must_use]
    pub const fn new(limit: Duration) -> Self {
        Self { limit }
    }
}

impl<S> Layer<S> for TimeoutLayer {
    type Service = Timeout<S>;

    fn layer(&self, inner: S) -> Timeout<S> {
        Timeout { inner, limit: self.limit }
    }
}

/// Service of a [`TimeoutLayer`].
#[derive(Clone, Debug)]
pub struct Timeout<S> {
    inner: S,
    limit: Duration,
}

impl<S> Service<Call> for Timeout<S>
where
    S: Service<Call, Response = Reply, Error = Error>,
{
    type Response = Reply;
    type Error = Error;
    type Future = TimeoutFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut call: Call) -> Self::Future {
        call.context_mut().limit(self.limit);
        let (deadline, name) = (call.context().deadline(), call.full_name().clone());
        TimeoutFuture { work: Some(Within::new(deadline, name, self.inner.call(call))) }
    }
}

pin_project! {
    /// Future of [`Timeout`].
    #[derive(Debug)]
    #[must_use = "futures do nothing unless polled"]
    pub struct TimeoutFuture<F> {
        #[pin]
        work: Option<Within<F>>,
    }
}

impl<F: Future<Output = Result<Reply, Error>>> Future for TimeoutFuture<F> {
    type Output = Result<Reply, Error>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut work = self.project().work;
        // A future may pend when polled again after completion.
        let Some(running) = work.as_mut().as_pin_mut() else { return Poll::Pending };
        let reply = ready!(running.poll(cx));
        work.set(None);
        Poll::Ready(reply)
    }
}

#[cfg(test)]
mod tests {
    use std::future::pending;

    use tokio::time::Instant;
    use tower::service_fn;

    use super::*;
    use crate::error::{ErrorKind, Sent};
    use crate::layer::testing::{answer, call};

    const LIMIT: Duration = Duration::from_secs(5);

    #[tokio::test(start_paused = true)]
    async fn a_call_that_ignores_its_deadline_ends_at_it() {
        let start = Instant::now();
        let inner = service_fn(|_call| pending::<Result<Reply, Error>>());
        let error = TimeoutLayer::new(LIMIT).layer(inner).call(call()).await.unwrap_err();
        assert_eq!(
            (error.kind(), error.name(), error.sent()),
            (ErrorKind::Timeout, "billing.quote", Sent::Maybe)
        );
        assert_eq!(start.elapsed(), LIMIT);
    }

    #[tokio::test(start_paused = true)]
    async fn the_call_knows_its_deadline_and_never_gets_more_time_than_it_had() {
        let seen = async |context: crate::context::Context| {
            let inner = service_fn(|call: Call| async move {
                Err(call.failed(ErrorKind::Internal, format!("{:?}", call.context().remaining())))
            });
            let reply =
                TimeoutLayer::new(LIMIT).layer(inner).call(call().with_context(context)).await;
            reply.unwrap_err().message().to_owned()
        };
        let context = crate::context::Context::new;
        assert_eq!(seen(context()).await, "Some(5s)");
        assert_eq!(seen(context().with_timeout(LIMIT * 2)).await, "Some(5s)");
        assert_eq!(seen(context().with_timeout(LIMIT / 5)).await, "Some(1s)");
        let inner = service_fn(|_call| pending::<Result<Reply, Error>>());
        let (start, short) =
            (Instant::now(), call().with_context(context().with_timeout(LIMIT / 5)));
        assert!(TimeoutLayer::new(LIMIT).layer(inner).call(short).await.is_err());
        assert_eq!(start.elapsed(), LIMIT / 5);
    }

    #[tokio::test(start_paused = true)]
    async fn what_ends_at_its_deadline_has_ended() {
        let inner = service_fn(|_call| async {
            tokio::time::sleep(LIMIT).await;
            answer()
        });
        assert!(TimeoutLayer::new(LIMIT).layer(inner).call(call()).await.is_ok());
        assert!(TimeoutLayer::new(Duration::MAX).layer(inner).call(call()).await.is_ok());
    }

    #[test]
    fn what_is_ready_at_once_needs_no_timer() {
        // There is no runtime here: a timer would panic.
        let reply = crate::layer::testing::now(
            TimeoutLayer::new(LIMIT).layer(service_fn(|_call| async { answer() })).call(call()),
        );
        assert!(reply.is_ok());
    }
}
