//! Turns a panic into an error of one call.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use pin_project_lite::pin_project;
use tower_layer::Layer;
use tower_service::Service;

use crate::call::{Call, Reply};
use crate::error::{Error, ErrorKind};
use crate::service::{CatchPanic, catch};

/// Turns a panic of the inner service into [`Panicked`](ErrorKind::Panicked) for that call. The
/// panic message goes to the log, never into the error.
///
/// Implementations are protected already; this layer is for panics of other layers and of
/// transports.
#[derive(Clone, Copy, Debug, Default)]
pub struct RecoveryLayer(());

impl RecoveryLayer {
    /// Creates the layer.
    #[must_use]
    pub const fn new() -> Self {
        Self(())
    }
}

impl<S> Layer<S> for RecoveryLayer {
    type Service = Recovery<S>;

    fn layer(&self, inner: S) -> Recovery<S> {
        Recovery { inner, ready_panic: None }
    }
}

/// Service of a [`RecoveryLayer`].
#[derive(Debug)]
pub struct Recovery<S> {
    inner: S,
    /// A panic of `poll_ready`, kept for the next call, since `poll_ready` has no call to fail.
    ready_panic: Option<Error>,
}

impl<S: Clone> Clone for Recovery<S> {
    fn clone(&self) -> Self {
        Self { inner: self.inner.clone(), ready_panic: None }
    }
}

impl<S> Service<Call> for Recovery<S>
where
    S: Service<Call, Response = Reply, Error = Error>,
{
    type Response = Reply;
    type Error = Error;
    type Future = RecoveryFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        catch("", || self.inner.poll_ready(cx)).unwrap_or_else(|error| {
            self.ready_panic = Some(error);
            Poll::Ready(Ok(()))
        })
    }

    fn call(&mut self, call: Call) -> Self::Future {
        let name = call.full_name().clone();
        let started = match self.ready_panic.take() {
            Some(_unnamed) => Err(Error::new(ErrorKind::Panicked, &name, "")),
            None => catch(name.as_str(), || self.inner.call(call)),
        };
        match started {
            Ok(work) => RecoveryFuture { work: Some(CatchPanic::new(name, work)), failed: None },
            Err(error) => RecoveryFuture { work: None, failed: Some(error) },
        }
    }
}

pin_project! {
    /// Future of [`Recovery`].
    #[derive(Debug)]
    #[must_use = "futures do nothing unless polled"]
    pub struct RecoveryFuture<F> {
        #[pin]
        work: Option<CatchPanic<F>>,
        failed: Option<Error>,
    }
}

impl<F: Future<Output = Result<Reply, Error>>> Future for RecoveryFuture<F> {
    type Output = Result<Reply, Error>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        let Some(work) = this.work.as_mut().as_pin_mut() else {
            // A future may pend when polled again after completion.
            return this.failed.take().map_or(Poll::Pending, |error| Poll::Ready(Err(error)));
        };
        let reply = ready!(work.poll(cx));
        this.work.set(None);
        Poll::Ready(reply)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tower::service_fn;

    use crate::layer::testing::{Events, answer, call};

    /// A service that panics in the given function.
    #[derive(Clone)]
    struct Panics(&'static str);

    impl Service<Call> for Panics {
        type Response = Reply;
        type Error = Error;
        type Future = std::future::Ready<Result<Reply, Error>>;

        fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
            assert_ne!(self.0, "ready", "secret text of a panic");
            Poll::Ready(Ok(()))
        }

        fn call(&mut self, _call: Call) -> Self::Future {
            assert_ne!(self.0, "call", "secret text of a panic");
            std::future::ready(answer())
        }
    }

    fn is_panicked(reply: Result<Reply, Error>) {
        let error = reply.unwrap_err();
        assert_eq!((error.kind(), error.name()), (ErrorKind::Panicked, "billing.quote"));
        assert!(!format!("{error:?}{error}").contains("secret"), "{error:?}");
    }

    #[tokio::test]
    async fn a_panic_anywhere_is_an_error_of_the_call_and_its_text_stays_in_the_log() {
        let events = Events::default();
        let _collecting = events.collect();
        for function in ["ready", "call"] {
            let mut service = RecoveryLayer::new().layer(Panics(function));
            is_panicked(tower::ServiceExt::oneshot(service.clone(), call()).await);
            service.inner = Panics("nowhere");
            assert!(tower::ServiceExt::oneshot(service, call()).await.is_ok());
        }
        let polled = service_fn(|_call| async { panic!("secret text of a panic") });
        is_panicked(RecoveryLayer::new().layer(polled).call(call()).await);
        let logged_events = events.take();
        assert_eq!(logged_events.len(), 3);
        assert!(
            logged_events.iter().all(|event| event.contains("secret text of a panic") && event.starts_with("ERROR")),
            "{logged_events:?}"
        );
    }

    #[tokio::test]
    async fn everything_else_passes_through() {
        let inner =
            service_fn(|call: Call| async move { Err(call.failed(ErrorKind::Connect, "refused")) });
        let error = RecoveryLayer::new().layer(inner).call(call()).await.unwrap_err();
        assert_eq!((error.kind(), error.message()), (ErrorKind::Connect, "refused"));
    }
}
