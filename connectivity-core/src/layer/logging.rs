//! One log event per call.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use pin_project_lite::pin_project;
use tokio::time::Instant;
use tower_layer::Layer;
use tower_service::Service;
use tracing::Level;

use crate::call::{Body, Call, Reply, RouteTag};
use crate::error::{Error, ErrorKind};
use crate::layer::outcome::Outcome;
use crate::name::Name;

/// Target of the events, for log filters.
const TARGET: &str = "connectivity_core::call";

/// Logs each call when it ends: its name, strategy, outcome and duration, and the request and reply
/// sizes where the bodies are already bytes. Payloads are never logged.
///
/// A call that got no reply is logged at level `ERROR`. A reply, including one with the error type
/// of the contract, and a cancelled call are logged at level `DEBUG`. The target is
/// `connectivity_core::call`. If no subscriber is interested in either level, a call does not even
/// read the clock.
///
/// | field | holds |
/// | --- | --- |
/// | `name`, `strategy` | as in the row; the strategy is absent if the call has not passed a router |
/// | `outcome` | `ok`, `app_error`, or the name of the [kind](ErrorKind), including `cancelled` |
/// | `duration_us` | microseconds |
/// | `request_bytes`, `reply_bytes` | absent for values that stay in this process |
/// | `sent`, `cause` | failures only: whether the call may have run, and the [message](Error::message), escaped |
#[derive(Clone, Copy, Debug, Default)]
pub struct LoggingLayer(());

impl LoggingLayer {
    /// Creates the layer.
    #[must_use]
    pub const fn new() -> Self {
        Self(())
    }
}

impl<S> Layer<S> for LoggingLayer {
    type Service = Logging<S>;

    fn layer(&self, inner: S) -> Logging<S> {
        Logging { inner }
    }
}

/// Service of a [`LoggingLayer`].
#[derive(Clone, Debug)]
pub struct Logging<S> {
    inner: S,
}

impl<S> Service<Call> for Logging<S>
where
    S: Service<Call, Response = Reply, Error = Error>,
{
    type Response = Reply;
    type Error = Error;
    type Future = LoggingFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, call: Call) -> Self::Future {
        let enabled = tracing::enabled!(target: TARGET, Level::ERROR)
            || tracing::enabled!(target: TARGET, Level::DEBUG);
        let entry = enabled.then(|| Entry::new(&call));
        LoggingFuture { work: Some(self.inner.call(call)), entry }
    }
}

pin_project! {
    /// Future of [`Logging`].
    #[derive(Debug)]
    #[must_use = "futures do nothing unless polled"]
    pub struct LoggingFuture<F> {
        #[pin]
        work: Option<F>,
        entry: Option<Entry>,
    }
}

impl<F: Future<Output = Result<Reply, Error>>> Future for LoggingFuture<F> {
    type Output = Result<Reply, Error>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        // A future may pend when polled again after completion.
        let Some(work) = this.work.as_mut().as_pin_mut() else { return Poll::Pending };
        let reply = ready!(work.poll(cx));
        this.work.set(None);
        if let Some(entry) = this.entry.take() {
            entry.write(&reply);
        }
        Poll::Ready(reply)
    }
}

/// Data of a call that is recorded when it starts.
#[derive(Debug)]
struct Entry {
    name: Name,
    route: Option<Arc<RouteTag>>,
    request_bytes: Option<usize>,
    start: Instant,
    written: bool,
}

impl Entry {
    fn new(call: &Call) -> Self {
        Self {
            name: call.full_name().clone(),
            route: call.shared_route(),
            request_bytes: size(call.body()),
            start: Instant::now(),
            written: false,
        }
    }

    fn write(mut self, reply: &Result<Reply, Error>) {
        self.written = true;
        let outcome = Outcome::of(reply);
        match reply {
            Ok(reply) => self.debug(outcome, size(reply.body())),
            Err(error) => tracing::error!(
                target: TARGET,
                name = %self.name,
                strategy = self.strategy(),
                outcome = outcome.as_str(),
                sent = error.sent().as_str(),
                duration_us = self.duration_us(),
                request_bytes = self.request_bytes,
                cause = ?error.message(),
                "a call failed"
            ),
        }
    }

    fn debug(&self, outcome: Outcome, reply_bytes: Option<usize>) {
        tracing::debug!(
            target: TARGET,
            name = %self.name,
            strategy = self.strategy(),
            outcome = outcome.as_str(),
            duration_us = self.duration_us(),
            request_bytes = self.request_bytes,
            reply_bytes,
            "a call ended"
        );
    }

    fn strategy(&self) -> Option<&str> {
        self.route.as_deref().map(RouteTag::strategy)
    }

    fn duration_us(&self) -> u64 {
        u64::try_from(self.start.elapsed().as_micros()).unwrap_or(u64::MAX)
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        if !self.written {
            self.debug(Outcome::Failed(ErrorKind::Cancelled), None);
        }
    }
}

/// Returns the length of a body, if it is bytes.
fn size(body: &Body) -> Option<usize> {
    match body {
        Body::Encoded(_, bytes) | Body::Raw(bytes) => Some(bytes.len()),
        Body::Typed(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tower::service_fn;

    use super::*;
    use crate::codec::Codec;
    use crate::layer::testing::{Events, call, poll_once, tagged};

    const LIMIT: Duration = Duration::from_millis(30);

    async fn logged(call: Call, reply: fn(&Call) -> Result<Reply, Error>) -> String {
        let events = Events::default();
        let _collecting = events.collect();
        let inner = service_fn(move |call: Call| async move {
            tokio::time::sleep(LIMIT).await;
            reply(&call)
        });
        drop(LoggingLayer::new().layer(inner).call(call).await);
        let mut logged_events = events.take();
        assert_eq!(logged_events.len(), 1, "{logged_events:?}");
        logged_events.remove(0)
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_is_told_at_debug_with_sizes_and_without_payloads() {
        let logged_events = logged(tagged("quic"), |_call| Ok(Reply::raw("secret reply"))).await;
        assert_eq!(
            logged_events,
            "DEBUG connectivity_core::call message=a call ended name=billing.quote strategy=quic outcome=ok duration_us=30000 \
             request_bytes=16 reply_bytes=12"
        );
        let logged_events =
            logged(call(), |_call| Ok(Reply::encoded(Codec::Json, "secret error", true))).await;
        assert!(
            logged_events.starts_with("DEBUG")
                && logged_events.contains("outcome=app_error")
                && !logged_events.contains("strategy"),
            "{logged_events}"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_failure_is_told_at_error_with_its_cause_escaped() {
        let logged_events = logged(tagged("quic"), |call| {
            Err(call.failed(ErrorKind::Connect, "refused\u{1b}[2J\n"))
        })
        .await;
        assert_eq!(
            logged_events,
            "ERROR connectivity_core::call message=a call failed name=billing.quote strategy=quic outcome=connect sent=no \
             duration_us=30000 request_bytes=16 cause=\"refused\\u{1b}[2J\\n\""
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_call_that_nobody_waits_for_is_told_as_cancelled() {
        let events = Events::default();
        let _collecting = events.collect();
        {
            let inner = service_fn(|_call| std::future::pending::<Result<Reply, Error>>());
            let mut dropped = std::pin::pin!(LoggingLayer::new().layer(inner).call(call()));
            assert!(poll_once(dropped.as_mut()).is_pending());
        }
        let logged_events = events.take();
        assert!(
            logged_events.len() == 1
                && logged_events[0].starts_with("DEBUG")
                && logged_events[0].contains("outcome=cancelled"),
            "{logged_events:?}"
        );
    }

    #[test]
    fn nothing_is_noted_while_nobody_listens() {
        let _no_subscriber =
            tracing::subscriber::set_default(tracing::subscriber::NoSubscriber::default());
        let inner = service_fn(|_call| std::future::pending::<Result<Reply, Error>>());
        assert!(LoggingLayer::new().layer(inner).call(call()).entry.is_none());
        let events = Events::default();
        let _collecting = events.collect();
        assert!(LoggingLayer::new().layer(inner).call(call()).entry.is_some());
    }
}
