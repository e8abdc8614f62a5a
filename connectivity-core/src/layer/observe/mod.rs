//! Figures of each call, for whoever collects metrics.

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

/// Counts and times calls, by the facade of the crate `metrics`: whichever recorder the program
/// installs gets the figures.
///
/// | metric | what it is |
/// | --- | --- |
/// | `connectivity_call_duration_seconds` | a histogram of every call |
/// | `connectivity_call_failures_total` | a counter of the calls that got no answer; an error of the contract is an answer |
///
/// Both have the labels `service`, `method` (empty for a raw service), `strategy` and `outcome`:
/// `ok`, `app_error`, or the word of the [kind](ErrorKind); a call that nobody waits for any more
/// is `cancelled`. What neither a row nor a contract names is `other`, and so is everything after
/// the first 1,000 combinations of method and strategy, so that nobody outside decides how many
/// series there are.
///
/// Install the recorder before the first call: where the figures of a series go is settled by its
/// first call, and stays.
#[derive(Clone, Debug, Default)]
pub struct ObserveLayer(Arc<AllSeries>);

impl ObserveLayer {
    /// Makes the layer. Clones share what they have found out.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }
}

impl<S> Layer<S> for ObserveLayer {
    type Service = Observe<S>;

    fn layer(&self, inner: S) -> Observe<S> {
        Observe { inner, all: Arc::clone(&self.0) }
    }
}

/// A service under an [`ObserveLayer`].
#[derive(Clone, Debug)]
pub struct Observe<S> {
    inner: S,
    all: Arc<AllSeries>,
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
        let series = self.all.of(&call);
        let measure = Measure {
            series,
            start: Instant::now(),
            outcome: Outcome::Failed(ErrorKind::Cancelled),
        };
        ObserveFuture { work: Some(self.inner.call(call)), measure: Some(measure) }
    }
}

pin_project! {
    /// The future of [`Observe`].
    #[derive(Debug)]
    #[must_use = "futures do nothing unless polled"]
    pub struct ObserveFuture<F> {
        #[pin]
        work: Option<F>,
        measure: Option<Measure>,
    }
}

impl<F: Future<Output = Result<Reply, Error>>> Future for ObserveFuture<F> {
    type Output = Result<Reply, Error>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        // Polled again after the end, it pends, as a future may.
        let Some(work) = this.work.as_mut().as_pin_mut() else { return Poll::Pending };
        let reply = ready!(work.poll(cx));
        this.work.set(None);
        if let Some(mut measure) = this.measure.take() {
            measure.outcome = Outcome::of(&reply);
        }
        Poll::Ready(reply)
    }
}

/// A call that is being measured; the figures are handed in when it is dropped.
#[derive(Debug)]
struct Measure {
    series: Arc<Series>,
    start: Instant,
    outcome: Outcome,
}

impl Drop for Measure {
    fn drop(&mut self) {
        self.series.record(self.outcome, self.start.elapsed());
    }
}

#[cfg(test)]
mod tests;
