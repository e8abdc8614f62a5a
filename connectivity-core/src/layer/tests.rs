//! Helpers for the tests of the layers, and tests of a stack of layers.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::Poll;
use std::time::Duration;

use tower::ServiceBuilder;
use tower_layer::Layer;
use tower_service::Service;

use super::*;
use crate::call::{Body, CallService, MethodDesc, Reply};
use crate::layer::breaker::{BreakerState, CircuitBreaker};
use crate::name::Name;
use crate::service::{ErrorForm, Method};

/// An idempotent method.
struct Quote;

impl Method for Quote {
    const DESC: &'static MethodDesc =
        &MethodDesc::of::<Self>(0, "billing", "quote", "billing.quote", &[]).idempotent();
    type Args = ();
    type Output = Result<u32, Error>;
    type Ok = u32;
    type Err = Error;

    fn error_form() -> ErrorForm<Error> {
        ErrorForm::of::<Self, _>()
    }
}

/// A call that may run twice.
pub(super) fn repeatable() -> Call {
    Call::of(Quote::DESC, Body::Raw("17".into()))
}

/// A call that must not run twice.
pub(super) fn once() -> Call {
    Call::raw(Name::from_static("billing.quote"), "17")
}

pub(super) fn error(kind: ErrorKind) -> Error {
    Error::new(kind, "billing.quote", "as told")
}

/// A service that returns the given replies and counts its calls.
#[derive(Clone)]
pub(super) struct Backend {
    pub(super) service: CallService,
    calls: Arc<AtomicUsize>,
}

impl Backend {
    pub(super) fn new(
        answer: impl Fn(usize) -> Result<Reply, Error> + Send + Sync + 'static,
    ) -> Self {
        let calls = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&calls);
        let service = CallService::from_fn(move |_call| {
            std::future::ready(answer(count.fetch_add(1, Ordering::SeqCst)))
        });
        Self { service, calls }
    }

    pub(super) fn failing(error: Error) -> Self {
        Self::new(move |_| Err(error.clone()))
    }

    pub(super) fn calls(&self) -> usize {
        self.calls.load(Ordering::SeqCst)
    }
}

/// Errors that a retry does not help, and a reply with an application error.
fn not_retryable() -> Vec<Result<Reply, Error>> {
    let no = |kind| Err(error(kind).with_sent(Sent::No));
    vec![
        no(ErrorKind::Decode),
        no(ErrorKind::NotRoutable),
        no(ErrorKind::Denied),
        Err(error(ErrorKind::Panicked)),
        Ok(Reply::encoded(crate::Codec::Json, "\"declined\"", true)),
    ]
}

#[tokio::test]
async fn what_must_not_be_repeated_is_tried_once_and_opens_no_circuit() {
    for answer in not_retryable() {
        let again = move |answer: &Result<Reply, Error>| match answer {
            Ok(_) => Ok(Reply::encoded(crate::Codec::Json, "\"declined\"", true)),
            Err(error) => Err(error.clone()),
        };
        let description = format!("{answer:?}");
        let backend = Backend::new(move |_| again(&answer));
        let breaker = CircuitBreaker::default();
        let stack = ServiceBuilder::new()
            .layer(FallbackLayer::new(Backend::failing(error(ErrorKind::Internal)).service))
            .layer(RetryLayer::new(3))
            .layer(BreakerLayer::new(breaker.clone()))
            .service(backend.service.clone());
        let stack = CallService::new(stack);
        for call in [repeatable, once] {
            for _ in 0..1000 {
                let kind = stack.send(call()).await.map_err(|error| error.kind());
                assert_ne!(kind.err(), Some(ErrorKind::Internal), "nobody steps in: {description}");
            }
        }
        assert_eq!(backend.calls(), 2000, "{description}");
        assert_eq!(breaker.state(), BreakerState::Closed { failures: 0 }, "{description}");
    }
}

#[test]
fn the_rule_asks_whose_error_it_is_whether_it_ran_and_whether_the_cause_may_pass() {
    let transient = &[ErrorKind::Connect, ErrorKind::Closed];
    let closed = |sent| error(ErrorKind::Closed).with_sent(sent);
    assert!(may_repeat(&once(), &closed(Sent::No), transient));
    assert!(!may_repeat(&once(), &closed(Sent::Maybe), transient), "it may have run");
    assert!(may_repeat(&repeatable(), &closed(Sent::Yes), transient), "it may run twice");
    assert!(!may_repeat(&repeatable(), &error(ErrorKind::Decode), transient), "it will not pass");
    assert!(
        !may_repeat(&repeatable(), &closed(Sent::No).relay(), transient),
        "it came inside an answer"
    );
    let nested = Error::new(ErrorKind::Connect, "stock.reserve", "");
    assert!(!may_repeat(&repeatable(), &nested, transient), "it is about another call");
}

#[tokio::test]
async fn a_value_that_an_attempt_has_taken_is_not_sent_again() {
    let taken = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&taken);
    let takes = CallService::from_fn(move |call| {
        count.fetch_add(1, Ordering::SeqCst);
        let taken = call.into_args::<Quote>();
        std::future::ready(taken.and(Err(error(ErrorKind::Closed))))
    });
    let stack = ServiceBuilder::new()
        .layer(FallbackLayer::new(takes.clone()))
        .layer(RetryLayer::new(3))
        .service(takes);
    let body = Body::typed(crate::service::Args::<Quote, _>::new(()));
    let error = CallService::new(stack).send(Call::of(Quote::DESC, body)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Closed, "the first error, as it is: {error}");
    assert_eq!(taken.load(Ordering::SeqCst), 1);
}

/// Polls a call under a layer to completion, and once more.
async fn poll_after_the_end<L>(layer: L, fails: bool) -> Poll<Result<Reply, Error>>
where
    L: Layer<CallService>,
    L::Service: Service<Call, Response = Reply, Error = Error>,
{
    let calls = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&calls);
    // An `async` block panics when it is polled after completion, and a call that is sent again
    // completes at once.
    let inner = CallService::from_fn(move |_call| {
        count.fetch_add(1, Ordering::SeqCst);
        async move { if fails { Err(error(ErrorKind::Decode)) } else { testing::answer() } }
    });
    let mut future = Box::pin(layer.layer(inner).call(repeatable()));
    assert_eq!(future.as_mut().await.is_err(), fails);
    let again = testing::poll_once(future.as_mut());
    assert_eq!(calls.load(Ordering::SeqCst), 1, "it is sent once");
    again
}

#[tokio::test]
async fn a_future_that_is_polled_after_its_end_pends() {
    for fails in [false, true] {
        let backend = Backend::new(|_| Ok(Reply::raw("here")));
        assert!(poll_after_the_end(RetryLayer::new(3), fails).await.is_pending());
        assert!(
            poll_after_the_end(FallbackLayer::new(backend.service.clone()), fails)
                .await
                .is_pending()
        );
        assert!(
            poll_after_the_end(BreakerLayer::new(CircuitBreaker::default()), fails)
                .await
                .is_pending()
        );
        assert!(poll_after_the_end(ConcurrencyLayer::new(3), fails).await.is_pending());
        assert!(poll_after_the_end(RecoveryLayer::new(), fails).await.is_pending());
        assert!(
            poll_after_the_end(TimeoutLayer::new(Duration::from_secs(60)), fails)
                .await
                .is_pending()
        );
        assert!(poll_after_the_end(LoggingLayer::new(), fails).await.is_pending());
        assert!(poll_after_the_end(ObserveLayer::new(), fails).await.is_pending());
        assert_eq!(backend.calls(), 0, "nobody steps in after the end");
    }
}
