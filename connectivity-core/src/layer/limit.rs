//! Limit of concurrent calls.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use pin_project_lite::pin_project;
use tower_layer::Layer;
use tower_service::Service;

use super::Gate;
use crate::call::{Call, Held, Reply};
use crate::error::{Error, ErrorKind, Sent};

/// Admits up to `limit` concurrent calls and rejects further ones as
/// [`Overloaded`](ErrorKind::Overloaded). Calls never queue, and a rejected call did not run.
///
/// A layer and its clones share one limit, whatever services they wrap. Use
/// [`layer_for`](crate::Router::layer_for) to give each service its own limit. A call of a
/// `#[no_cancel]` method counts until its work has ended. To queue calls instead, use tower's
/// concurrency limit.
#[derive(Clone, Debug)]
pub struct ConcurrencyLayer {
    gate: Arc<Gate>,
    limit: usize,
}

impl ConcurrencyLayer {
    /// Creates the layer. A limit of 0 rejects every call.
    #[must_use]
    pub fn new(limit: usize) -> Self {
        Self { gate: Arc::default(), limit }
    }

    /// Returns the number of calls in flight.
    #[must_use]
    pub fn in_flight(&self) -> usize {
        self.gate.busy()
    }

    fn enter(&self) -> Option<InFlightPermit> {
        self.gate.enter(Some(self.limit)).then(|| InFlightPermit(Arc::clone(&self.gate)))
    }
}

/// Permit of one call: the call counts as in flight until it is dropped.
#[derive(Debug)]
struct InFlightPermit(Arc<Gate>);

impl Drop for InFlightPermit {
    fn drop(&mut self) {
        self.0.leave();
    }
}

impl<S> Layer<S> for ConcurrencyLayer {
    type Service = Concurrency<S>;

    fn layer(&self, inner: S) -> Concurrency<S> {
        Concurrency { inner, layer: self.clone() }
    }
}

/// Service of a [`ConcurrencyLayer`].
#[derive(Clone, Debug)]
pub struct Concurrency<S> {
    inner: S,
    layer: ConcurrencyLayer,
}

impl<S> Service<Call> for Concurrency<S>
where
    S: Service<Call, Response = Reply, Error = Error>,
{
    type Response = Reply;
    type Error = Error;
    type Future = ConcurrencyFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut call: Call) -> Self::Future {
        let Some(permit) = self.layer.enter() else {
            return ConcurrencyFuture {
                permit: None,
                rejected: Some(rejection(&call, self.layer.limit)),
                work: None,
            };
        };
        // Take the permit first, so that a panic of the inner service releases it.
        let permit = Held::by(permit, &mut call);
        ConcurrencyFuture {
            permit: Some(permit),
            rejected: None,
            work: Some(self.inner.call(call)),
        }
    }
}

fn rejection(call: &Call, limit: usize) -> Error {
    call.failed(ErrorKind::Overloaded, format_args!("a layer allows {limit} calls at once"))
        .with_sent(Sent::No)
}

pin_project! {
    /// Future of [`Concurrency`].
    #[derive(Debug)]
    #[must_use = "futures do nothing unless polled"]
    pub struct ConcurrencyFuture<F> {
        #[pin]
        work: Option<F>,
        permit: Option<Held<InFlightPermit>>,
        rejected: Option<Error>,
    }
}

impl<F: Future<Output = Result<Reply, Error>>> Future for ConcurrencyFuture<F> {
    type Output = Result<Reply, Error>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        let Some(work) = this.work.as_mut().as_pin_mut() else {
            // A future may pend when polled again after completion.
            return this.rejected.take().map_or(Poll::Pending, |error| Poll::Ready(Err(error)));
        };
        let reply = work.poll(cx);
        if reply.is_ready() {
            // Release the permit now: the caller may keep the completed future for a while.
            *this.permit = None;
            this.work.set(None);
        }
        reply
    }
}

#[cfg(test)]
mod tests {
    use std::future::pending;

    use tokio::sync::oneshot;
    use tower::service_fn;

    use super::*;
    use crate::layer::testing::{answer, call, now, poll_once};

    fn assert_rejected(reply: Result<Reply, Error>) {
        let error = reply.unwrap_err();
        assert_eq!(
            (error.kind(), error.sent(), error.name()),
            (ErrorKind::Overloaded, Sent::No, "billing.quote")
        );
        assert!(error.is_retryable_for("billing.quote"));
    }

    #[test]
    fn the_next_call_is_refused_until_a_place_is_free_again() {
        let layer = ConcurrencyLayer::new(2);
        let stuck = service_fn(|_call| pending::<Result<Reply, Error>>());
        let (mut one, mut other) = (layer.layer(stuck), layer.clone().layer(stuck));
        let (first, second) = (one.call(call()), other.call(call()));
        assert_eq!(layer.in_flight(), 2);
        assert_rejected(now(one.call(call())));
        assert_rejected(now(other.clone().call(call())));
        drop(first);
        let third = one.call(call());
        assert_rejected(now(one.call(call())));
        drop((second, third));
        assert_eq!(layer.in_flight(), 0);
    }

    #[test]
    fn a_place_is_free_when_the_call_has_ended_though_its_future_is_kept() {
        let (send, receive) = oneshot::channel::<()>();
        let receive = Arc::new(std::sync::Mutex::new(Some(receive)));
        let inner = service_fn(move |_call| {
            let receive = receive.lock().unwrap().take();
            async move {
                receive.unwrap().await.unwrap();
                answer()
            }
        });
        let layer = ConcurrencyLayer::new(1);
        let mut kept = std::pin::pin!(layer.layer(inner).call(call()));
        assert!(poll_once(kept.as_mut()).is_pending());
        assert_eq!(layer.in_flight(), 1);
        send.send(()).unwrap();
        assert!(poll_once(kept.as_mut()).is_ready());
        assert_eq!(layer.in_flight(), 0);
    }

    #[test]
    fn a_panic_frees_the_place() {
        let layer = ConcurrencyLayer::new(1);
        let mut service =
            layer.layer(service_fn(|_call: Call| -> std::future::Ready<Result<Reply, Error>> {
                panic!()
            }));
        assert!(
            std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| service.call(call())))
                .is_err()
        );
        assert_eq!(layer.in_flight(), 0);
    }
}
