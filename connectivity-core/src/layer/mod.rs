//! Layers for calls: what stands between a caller and an implementation or a transport.
//!
//! Each is a tower layer over `Service<Call, Response = Reply, Error = Error>` with a future of its own, so that a stack of them,
//! made with `tower::ServiceBuilder`, costs one box in all, in [`CallService::new`](crate::CallService::new). Add them with
//! [`Router::layer`](crate::Router::layer), or let the row of a remote route ask for them: `retry_max`, `breaker_failures`,
//! `fallback` in its config.
//!
//! | layer | what it does | when its future is dropped |
//! | --- | --- | --- |
//! | [`RetryLayer`] | repeats a call that has not run, or may run twice | the attempt is dropped, no other is made |
//! | [`BreakerLayer`] | refuses calls while the far end is sick | a probe's place is free again; a failure only after the deadline |
//! | [`FallbackLayer`] | lets another service answer when the first was not reached | whichever of the two is at work is dropped |
//!
//! ```
//! use connectivity_core::{CircuitBreaker, MemoryRoutes, Router, layer::{BreakerLayer, RetryLayer}};
//!
//! # tokio::runtime::Builder::new_current_thread().build()?.block_on(async {
//! let router = Router::builder()
//!     .source(MemoryRoutes::new())
//!     .layer_for("billing", RetryLayer::new(2))
//!     .layer_for("billing", BreakerLayer::new(CircuitBreaker::builder().failures(3).build()))
//!     .build()?;
//! # drop(router);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! # })?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

pub(crate) mod breaker;
mod fallback;
mod retry;

pub use breaker::{Breaker, BreakerFuture, BreakerLayer, Permit};
pub use fallback::{Fallback, FallbackFuture, FallbackLayer};
pub use retry::{Retry, RetryBudget, RetryFuture, RetryLayer};

use crate::call::Call;
use crate::error::{Error, ErrorKind, Sent};

/// Says whether a call that failed may go out once more. Whatever repeats calls asks here: the error is about this very call, the
/// call did not run or may run twice, its arguments are still there, and the cause is one of those that may pass.
pub(crate) fn may_repeat(call: &Call, error: &Error, passing: &[ErrorKind]) -> bool {
    let about_this_call = !error.is_relayed() && error.name() == call.name();
    let harmless = error.sent() == Sent::No || call.is_idempotent();
    about_this_call && harmless && passing.contains(&error.kind()) && !call.is_spent()
}

/// The more that can be said of two attempts of one call.
fn more(one: Sent, other: Sent) -> Sent {
    match (one, other) {
        (Sent::Yes, _) | (_, Sent::Yes) => Sent::Yes,
        (Sent::Maybe, _) | (_, Sent::Maybe) => Sent::Maybe,
        (Sent::No, Sent::No) => Sent::No,
    }
}

/// Lets the last error of a call tell what earlier attempts may have done.
fn with_earlier(error: Error, earlier: Sent) -> Error {
    let sent = more(error.sent(), earlier);
    error.with_sent(sent)
}

#[cfg(test)]
mod tests;
