//! Metrics of each call.

mod series;

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use pin_project_lite::pin_project;
use tokio::time::Instant;
use tower_layer::Layer;
use tower_service::Service;

use crate::call::{Call, Reply};
use crate::error::{Error, ErrorKind};
use crate::layer::observe::series::{AllSeries, Series};
use crate::layer::outcome::Outcome;

/// Records the count and duration of calls through the facade of the crate `metrics`, for any
/// recorder that the program installs.
///
/// | metric | what it is |
/// | --- | --- |
/// | `connectivity_call_duration_seconds` | a histogram of the duration of every call |
/// | `connectivity_call_failures_total` | a counter of the calls that got no reply; an error of the contract is a reply |
///
/// Both have the labels `service`, `method` (empty for a raw service), `strategy` and `outcome`:
/// `ok`, `app_error`, or the name of the [kind](ErrorKind); a call dropped by its caller is
/// `cancelled`. A name that neither a row nor a contract declares is recorded as `other`, and so is
/// everything after the first 1,000 combinations of method and strategy, so that a remote caller
/// cannot decide the number of series.
///
/// Install the recorder before the first call: each series binds to a recorder on its first call
/// and keeps it.
#[derive(Clone, Debug, Default)]
pub struct ObserveLayer(Arc<AllSeries>);

impl ObserveLayer {
    /// Creates the layer. Clones share their cache of series.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }
}

impl<S> Layer<S> for ObserveLayer {
    type Service = Observe<S>;

    fn layer(&self, inner: S) -> Observe<S> {
        Observe { inner, series: Arc::clone(&self.0) }
    }
}

/// Service of an [`ObserveLayer`].
#[derive(Clone, Debug)]
pub struct Observe<S> {
    inner: S,
    series: Arc<AllSeries>,
}

impl<S> Service<Call> for Observe<S>
where
    S: Service<Call, Response = Reply, Error = Error>,
{
    type Response = Reply;
    type Error = Error;
    type Future = ObserveFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, call: Call) -> Self::Future {
        let series = self.series.series_of(&call);
        let measurement = Measurement {
            series,
            start: Instant::now(),
            outcome: Outcome::Failed(ErrorKind::Cancelled),
        };
        ObserveFuture { work: Some(self.inner.call(call)), measurement: Some(measurement) }
    }
}

pin_project! {
    /// Future of [`Observe`].
    #[derive(Debug)]
    #[must_use = "futures do nothing unless polled"]
    pub struct ObserveFuture<F> {
        #[pin]
        work: Option<F>,
        measurement: Option<Measurement>,
    }
}

impl<F: Future<Output = Result<Reply, Error>>> Future for ObserveFuture<F> {
    type Output = Result<Reply, Error>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        // A future may pend when polled again after completion.
        let Some(work) = this.work.as_mut().as_pin_mut() else { return Poll::Pending };
        let reply = ready!(work.poll(cx));
        this.work.set(None);
        if let Some(mut measurement) = this.measurement.take() {
            measurement.outcome = Outcome::of(&reply);
        }
        Poll::Ready(reply)
    }
}

/// Measurement of a call in flight; recorded when it is dropped.
#[derive(Debug)]
struct Measurement {
    series: Arc<Series>,
    start: Instant,
    outcome: Outcome,
}

impl Drop for Measurement {
    fn drop(&mut self) {
        self.series.record(self.outcome, self.start.elapsed());
    }
}

#[cfg(test)]
mod tests;
