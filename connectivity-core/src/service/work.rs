//! Wrappers around the work of user code: a deadline, and a catch for panics.

use std::any::Any;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::task::{Context, Poll};

use pin_project_lite::pin_project;
use tokio::time::{Instant, Sleep, sleep_until};

use crate::call::Reply;
use crate::context::timed_out;
use crate::error::{Error, ErrorKind};
use crate::name::Name;

pin_project! {
    /// Work that ends at its deadline. The work is polled before the timer, so work that is ready
    /// at once creates no timer, and work that completes exactly at its deadline counts as
    /// complete.
    #[derive(Debug)]
    pub(crate) struct Within<F> {
        #[pin]
        work: F,
        timer: Option<Pin<Box<Sleep>>>,
        deadline: Option<Instant>,
        name: Name,
    }
}

impl<F> Within<F> {
    pub(crate) fn new(deadline: Option<Instant>, name: Name, work: F) -> Self {
        Self { work, timer: None, deadline, name }
    }
}

impl<F: Future<Output = Result<Reply, Error>>> Future for Within<F> {
    type Output = Result<Reply, Error>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        if let Poll::Ready(reply) = this.work.poll(cx) {
            return Poll::Ready(reply);
        }
        let Some(deadline) = *this.deadline else { return Poll::Pending };
        let timer = this.timer.get_or_insert_with(|| Box::pin(sleep_until(deadline)));
        timer.as_mut().poll(cx).map(|()| Err(timed_out(this.name.as_str())))
    }
}

pin_project! {
    /// Work whose panic becomes an error of that work.
    #[derive(Debug)]
    pub(crate) struct CatchPanic<F> {
        #[pin]
        work: F,
        name: Name,
    }
}

impl<F> CatchPanic<F> {
    pub(crate) fn new(name: Name, work: F) -> Self {
        Self { work, name }
    }
}

impl<F: Future<Output = Result<Reply, Error>>> Future for CatchPanic<F> {
    type Output = Result<Reply, Error>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        catch(this.name.as_str(), || this.work.poll(cx))
            .unwrap_or_else(|error| Poll::Ready(Err(error)))
    }
}

/// Runs a part of the work of a call and turns a panic into an error. The panic's text goes to the
/// log only.
pub(crate) fn catch<T>(name: &str, part: impl FnOnce() -> T) -> Result<T, Error> {
    std::panic::catch_unwind(AssertUnwindSafe(part)).map_err(|panic| panicked(name, &*panic))
}

fn panicked(name: &str, panic: &(dyn Any + Send)) -> Error {
    let text = panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    tracing::error!(name = %name, "an implementation panicked: {}", text.unwrap_or("(no text)"));
    Error::new(ErrorKind::Panicked, name, "")
}
