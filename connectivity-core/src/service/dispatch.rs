//! The way of an envelope into an implementation.

use std::any::Any;
use std::panic::AssertUnwindSafe;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;

use crate::call::{BoxFuture, Call, Reply};
use crate::context::{self, timed_out};
use crate::desc::ServiceDesc;
use crate::error::{Error, ErrorKind, Sent};

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
pub(crate) async fn invoke(dispatch: Arc<dyn Dispatch>, call: Call) -> Result<Reply, Error> {
    // By name, not by the index that the caller's description has: two contracts of one name may be linked in.
    let Some(method) = dispatch.desc().method(call.name()) else {
        return unknown_method(call).await;
    };
    let work = move |call| dispatch.dispatch(method.index(), call);
    run(method.full_name(), method.is_no_cancel(), call, work).await
}

/// Runs what `start` makes of the call; see [`invoke`]. With `detach` it goes on when nobody waits for it any more.
pub(crate) async fn run<F>(name: &str, detach: bool, call: Call, start: F) -> Result<Reply, Error>
where
    F: FnOnce(Call) -> BoxFuture<'static, Result<Reply, Error>> + Send + 'static,
{
    let context = call.context().clone().serving_call(name);
    let deadline = context.deadline();
    let work = context::scope(context, catch_panic(name.to_owned(), move || start(call)));
    let work: BoxFuture<'_, _> = if detach { Box::pin(detached(name, work)) } else { Box::pin(work) };
    match deadline {
        None => work.await,
        Some(deadline) => within(deadline, name, work).await,
    }
}

async fn detached(
    name: &str,
    work: impl Future<Output = Result<Reply, Error>> + Send + 'static,
) -> Result<Reply, Error> {
    // The task ends early only when its runtime does.
    tokio::spawn(work).await.unwrap_or_else(|_gone| Err(Error::new(ErrorKind::Cancelled, name, "the runtime is gone")))
}

/// Polls the work before the clock: work that is ready at once costs no timer, and one that ends at its deadline has ended.
async fn within(
    deadline: tokio::time::Instant,
    name: &str,
    work: impl Future<Output = Result<Reply, Error>>,
) -> Result<Reply, Error> {
    let mut work = pin!(work);
    if let Poll::Ready(reply) = std::future::poll_fn(|cx| Poll::Ready(work.as_mut().poll(cx))).await {
        return reply;
    }
    tokio::time::timeout_at(deadline, work).await.unwrap_or_else(|_elapsed| Err(timed_out(name)))
}

async fn catch_panic<F>(name: String, start: F) -> Result<Reply, Error>
where
    F: FnOnce() -> BoxFuture<'static, Result<Reply, Error>>,
{
    let mut start = Some(start);
    let mut work = None;
    std::future::poll_fn(move |cx| {
        let poll = AssertUnwindSafe(|| {
            if let Some(start) = start.take() {
                work = Some(start());
            }
            work.as_mut().map_or(Poll::Pending, |work| work.as_mut().poll(cx))
        });
        std::panic::catch_unwind(poll).unwrap_or_else(|panic| Poll::Ready(Err(panicked(&name, &*panic))))
    })
    .await
}

fn panicked(name: &str, panic: &(dyn Any + Send)) -> Error {
    let text = panic.downcast_ref::<&str>().copied().or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    tracing::error!(name = %name, "an implementation panicked: {}", text.unwrap_or("(no text)"));
    Error::new(ErrorKind::Panicked, name, "")
}
