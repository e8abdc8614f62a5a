//! The way of an envelope into an implementation.

use std::any::Any;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use pin_project_lite::pin_project;
use tokio::time::{Instant, Sleep, sleep_until};

use crate::call::{BoxFuture, Call, Reply};
use crate::context::{self, timed_out};
use crate::desc::ServiceDesc;
use crate::error::{Error, ErrorKind, Sent};
use crate::name::Name;

/// Takes envelopes for one service; the macro implements it.
pub trait Dispatch: Send + Sync + 'static {
    /// Describes the service.
    fn desc(&self) -> &'static ServiceDesc;

    /// Runs the method at `index` of the description.
    fn dispatch(&self, index: usize, call: Call) -> BoxFuture<'static, Result<Reply, Error>>;
}

/// An implementation, ready to register: made by the generated `BillingService::new(..)`.
pub trait Registrable {
    /// The object-safe form of the contract.
    type Dyn: ?Sized + Send + Sync + 'static;

    /// Takes it apart into what the two paths of a call need.
    fn into_parts(self) -> (Arc<Self::Dyn>, Arc<dyn Dispatch>);
}

/// For generated code: answers a call of a method that the contract does not have.
pub fn unknown_method(call: Call) -> BoxFuture<'static, Result<Reply, Error>> {
    Box::pin(
        async move { Err(call.failed(ErrorKind::Unimplemented, "the service has no such method").with_sent(Sent::No)) },
    )
}

/// Runs a call in an implementation, as every path but the fast one does: in the call's context, for no longer than its
/// deadline, and with a panic turned into an error whose text stays here.
pub(crate) fn invoke(dispatch: &dyn Dispatch, mut call: Call) -> BoxFuture<'static, Result<Reply, Error>> {
    // By name, not by the index that the caller's description has: two contracts of one name may be linked in.
    let Some(method) = dispatch.desc().method(call.name()) else {
        return unknown_method(call);
    };
    let (name, context) = (Name::from_static(method.full_name()), std::mem::take(call.context_mut()));
    run(name, method.is_no_cancel(), context, dispatch.dispatch(method.index(), call))
}

/// Runs the work of a call; see [`invoke`]. With `detach` it goes on when nobody waits for it any more.
pub(crate) fn run(
    name: Name,
    detach: bool,
    context: context::Context,
    work: BoxFuture<'static, Result<Reply, Error>>,
) -> BoxFuture<'static, Result<Reply, Error>> {
    let deadline = context.deadline();
    let work = context::scope(context.serving_call(name.clone()), catch_panic(name.clone(), work));
    match deadline {
        None if detach => Box::pin(detached(name, work)),
        None => Box::pin(work),
        Some(deadline) if detach => Box::pin(Within::new(deadline, name.clone(), detached(name, work))),
        Some(deadline) => Box::pin(Within::new(deadline, name, work)),
    }
}

async fn detached(
    name: Name,
    work: impl Future<Output = Result<Reply, Error>> + Send + 'static,
) -> Result<Reply, Error> {
    // The task ends early only when its runtime does.
    tokio::spawn(work).await.unwrap_or_else(|_gone| Err(Error::new(ErrorKind::Cancelled, name, "the runtime is gone")))
}

pin_project! {
    /// Work that ends at its deadline. It is polled before the clock: what is ready at once costs no timer, and what ends at its
    /// deadline has ended.
    struct Within<F> {
        #[pin]
        work: F,
        clock: Option<Pin<Box<Sleep>>>,
        deadline: Instant,
        name: Name,
    }
}

impl<F> Within<F> {
    fn new(deadline: Instant, name: Name, work: F) -> Self {
        Self { work, clock: None, deadline, name }
    }
}

impl<F: Future<Output = Result<Reply, Error>>> Future for Within<F> {
    type Output = Result<Reply, Error>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        if let Poll::Ready(reply) = this.work.poll(cx) {
            return Poll::Ready(reply);
        }
        let clock = this.clock.get_or_insert_with(|| Box::pin(sleep_until(*this.deadline)));
        clock.as_mut().poll(cx).map(|()| Err(timed_out(this.name.as_str())))
    }
}

fn catch_panic(
    name: Name,
    mut work: BoxFuture<'static, Result<Reply, Error>>,
) -> impl Future<Output = Result<Reply, Error>> {
    std::future::poll_fn(move |cx| {
        let poll = AssertUnwindSafe(|| work.as_mut().poll(cx));
        std::panic::catch_unwind(poll).unwrap_or_else(|panic| Poll::Ready(Err(panicked(name.as_str(), &*panic))))
    })
}

fn panicked(name: &str, panic: &(dyn Any + Send)) -> Error {
    let text = panic.downcast_ref::<&str>().copied().or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    tracing::error!(name = %name, "an implementation panicked: {}", text.unwrap_or("(no text)"));
    Error::new(ErrorKind::Panicked, name, "")
}
