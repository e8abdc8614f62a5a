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

pub use breaker::{Breaker, BreakerFuture, BreakerLayer, Permit};
pub use fallback::{Fallback, FallbackFuture, FallbackLayer};
pub use limit::{Concurrency, ConcurrencyFuture, ConcurrencyLayer};
pub use logging::{Logging, LoggingFuture, LoggingLayer};
pub use observe::{Observe, ObserveFuture, ObserveLayer};
pub use recovery::{Recovery, RecoveryFuture, RecoveryLayer};
pub use retry::{Retry, RetryBudget, RetryFuture, RetryLayer};
pub use timeout::{Timeout, TimeoutFuture, TimeoutLayer};

pub(crate) use gate::Gate;

use crate::call::Call;
use crate::error::{Error, ErrorKind, Sent};

/// Says whether a call that failed may go out once more. Whatever repeats calls asks here: the
/// error is about this very call, the call did not run or may run twice, its arguments are still
/// there, and the cause is one of those that may pass.
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
