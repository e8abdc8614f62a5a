#![doc = include_str!("../docs/layer.md")]

pub(crate) mod breaker;
mod fallback;
mod gate;
mod limit;
mod logging;
mod observe;
mod outcome;
mod recovery;
mod retry;
#[cfg(test)]
pub(crate) mod testing;
mod timeout;

pub use breaker::{Breaker, BreakerConfig, BreakerFuture, BreakerLayer, Permit};
pub use fallback::{Fallback, FallbackFuture, FallbackLayer};
pub use limit::{Concurrency, ConcurrencyFuture, ConcurrencyLayer};
pub use logging::{Logging, LoggingFuture, LoggingLayer};
pub use observe::{Observe, ObserveFuture, ObserveLayer};
pub use recovery::{Recovery, RecoveryFuture, RecoveryLayer};
pub use retry::{Retry, RetryBudget, RetryConfig, RetryFuture, RetryLayer};
pub use timeout::{Timeout, TimeoutFuture, TimeoutLayer};

pub(crate) use gate::Gate;

use crate::call::Call;
use crate::error::{Error, ErrorKind, Sent};

/// Returns whether a failed call may be sent again. Every layer that repeats calls asks here. The
/// error must concern this very call, the call must not have run (or may run twice), its arguments
/// must still be available, and the cause must be one of `transient`.
pub(crate) fn may_repeat(call: &Call, error: &Error, transient: &[ErrorKind]) -> bool {
    let about_this_call = !error.is_relayed() && error.name() == call.name();
    let harmless = error.sent() == Sent::No || call.is_idempotent();
    about_this_call && harmless && transient.contains(&error.kind()) && !call.is_spent()
}

/// Returns the stronger of two `Sent` values: `No < Maybe < Yes`.
fn stronger(one: Sent, other: Sent) -> Sent {
    match (one, other) {
        (Sent::Yes, _) | (_, Sent::Yes) => Sent::Yes,
        (Sent::Maybe, _) | (_, Sent::Maybe) => Sent::Maybe,
        (Sent::No, Sent::No) => Sent::No,
    }
}

/// Adds to the last error of a call what earlier attempts may have done.
fn with_earlier(error: Error, earlier: Sent) -> Error {
    let sent = stronger(error.sent(), earlier);
    error.with_sent(sent)
}

#[cfg(test)]
mod tests;
