//! Backoff between dials of an endpoint that could not be reached.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBackoff, ExponentialBuilder};
use tokio::time::Instant;

/// Number of consecutive broken connections before calls back off. Below it, the next call after a
/// server restart connects at once.
const FREE_FAILURES: u32 = 5;

/// Backoff after broken connections. Jitter at most doubles it, so calls find a repaired server
/// within a second.
const FIRST_WAIT: Duration = Duration::from_millis(50);
const LONGEST_WAIT: Duration = Duration::from_millis(500);

/// Number of consecutive refused dials before calls back off, and the constant backoff from then
/// on. A refused dial costs next to nothing, and the next call should find a server that is back.
const FREE_REFUSALS: u32 = 8;
const REFUSAL_WAIT: Duration = Duration::from_millis(10);

/// How a dial failed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum DialFailure {
    /// The endpoint refused the connection or could not be reached.
    #[default]
    Refused,
    /// The connection was established, but closed before its first reply.
    Broken,
}

/// Limits the rate of dials to one endpoint, however many calls need a connection.
///
/// A dial counts as a success only after the first reply: a connection that is accepted and closed
/// at once is a failure.
#[derive(Debug, Default)]
pub(crate) struct DialBackoff {
    /// Whether `state` has failures. Most calls take the fast path without any.
    failing: AtomicBool,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    refused: u32,
    broken: u32,
    failure: DialFailure,
    cause: String,
    backoff: Option<ExponentialBackoff>,
    /// When the next dial is due.
    due: Option<Instant>,
    /// When the last counted failure ended.
    last: Option<Instant>,
}

impl DialBackoff {
    /// Returns when a call may dial; `None` means at once.
    ///
    /// # Errors
    /// Returns the cause of the last failure if connections break and the next dial is not due yet.
    pub(crate) fn check(&self) -> Result<Option<Instant>, String> {
        if !self.failing.load(Ordering::Relaxed) {
            return Ok(None);
        }
        let mut state = self.state();
        let due = state.due.filter(|due| Instant::now() < *due);
        match (state.failure, due) {
            (DialFailure::Broken, Some(_)) => Err(state.cause.clone()),
            (DialFailure::Broken, None) if state.due.is_some() => {
                // This call probes whether connections last again; the others wait for the outcome.
                state.due = Some(Instant::now() + LONGEST_WAIT);
                Ok(None)
            }
            (_, due) => Ok(due),
        }
    }

    /// Returns whether the last dial was refused. Where each call has its own connection, only one
    /// call dials at a time then.
    #[cfg(feature = "http")]
    pub(crate) fn is_refused(&self) -> bool {
        self.failing.load(Ordering::Relaxed) && self.state().failure == DialFailure::Refused
    }

    /// Returns the cause of a dial failure since `start`, if any.
    #[cfg(feature = "http")]
    pub(crate) fn failed_after(&self, start: Instant) -> Option<String> {
        let state = self.state();
        state.last.is_some_and(|last| last >= start).then(|| state.cause.clone())
    }

    /// Records a failed dial.
    pub(crate) fn failed(&self, failure: DialFailure, cause: impl Into<String>) {
        self.failed_since(Instant::now(), failure, cause);
    }

    /// Records a failed dial that started at `began`. Of several concurrent dials, only one counts.
    pub(crate) fn failed_since(
        &self,
        began: Instant,
        failure: DialFailure,
        cause: impl Into<String>,
    ) {
        let mut state = self.state();
        if state.last.is_some_and(|last| began < last) {
            return;
        }
        (state.failure, state.cause, state.last) = (failure, cause.into(), Some(Instant::now()));
        let wait = match failure {
            DialFailure::Refused => {
                state.refused = state.refused.saturating_add(1);
                (state.refused >= FREE_REFUSALS).then_some(REFUSAL_WAIT)
            }
            DialFailure::Broken => {
                state.broken = state.broken.saturating_add(1);
                let is_free = state.broken < FREE_FAILURES;
                (!is_free).then(|| {
                    state.backoff.get_or_insert_with(exponential).next().unwrap_or(LONGEST_WAIT)
                })
            }
        };
        state.due = wait.map(|wait| Instant::now() + wait);
        self.failing.store(true, Ordering::Relaxed);
    }

    /// Records a reply, which resets the backoff.
    pub(crate) fn reached(&self) {
        if self.failing.swap(false, Ordering::Relaxed) {
            *self.state() = State::default();
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn exponential() -> ExponentialBackoff {
    let builder = ExponentialBuilder::new()
        .with_min_delay(FIRST_WAIT)
        .with_max_delay(LONGEST_WAIT)
        .with_factor(2.0);
    builder.with_jitter().without_max_times().build()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns how many times calls dial in ten seconds if they dial as soon as the backoff allows.
    async fn dials(backoff: &DialBackoff, failure: DialFailure) -> usize {
        let (end, mut dials) = (Instant::now() + Duration::from_secs(10), 0);
        while Instant::now() < end {
            if let Ok(due) = backoff.check() {
                tokio::time::sleep_until(due.unwrap_or_else(Instant::now)).await;
                backoff.failed(failure, "a cause");
                dials += 1;
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        dials
    }

    #[tokio::test(start_paused = true)]
    async fn where_connections_break_calls_dial_ever_more_seldom() {
        let backoff = DialBackoff::default();
        let dials = dials(&backoff, DialFailure::Broken).await;
        assert!((12..=30).contains(&dials), "{dials}");
        assert_eq!(backoff.check(), Err("a cause".to_owned()));
        tokio::time::sleep(2 * LONGEST_WAIT).await;
        assert_eq!(
            backoff.check(),
            Ok(None),
            "a server that has been mended is found within a second"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn where_nobody_is_calls_dial_now_and_then() {
        let backoff = DialBackoff::default();
        let dials = dials(&backoff, DialFailure::Refused).await;
        assert!((500..=1010).contains(&dials), "{dials}");
        assert!(backoff.check().is_ok(), "a server that is back is found by the next call");
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_forgets_the_failures() {
        let backoff = DialBackoff::default();
        for failure in [DialFailure::Refused, DialFailure::Broken].repeat(10) {
            (0..FREE_FAILURES - 1).for_each(|_| backoff.failed(failure, "a cause"));
            assert_eq!(backoff.check(), Ok(None));
            backoff.reached();
        }
    }
}
