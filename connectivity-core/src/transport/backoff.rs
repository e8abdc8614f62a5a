//! When an endpoint that could not be reached may be dialled again.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBackoff, ExponentialBuilder};
use tokio::time::Instant;

/// Failures in a row after which calls still dial at once: a server that was just restarted is
/// found by the next call.
const FREE: u32 = 5;

/// The waits before calls dial again where connections break. Jitter doubles them at the most, so a
/// server that has been mended is found within a second.
const FIRST_WAIT: Duration = Duration::from_millis(50);
const LONGEST_WAIT: Duration = Duration::from_millis(500);

/// Refusals in a row after which calls still dial at once, and the wait of a call from then on.
/// Being refused costs next to nothing, and a server that is back is to be found by the next call.
const FREE_REFUSALS: u32 = 8;
const REFUSAL_WAIT: Duration = Duration::from_millis(10);

/// How a dial failed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum DialFailure {
    /// Nobody was there, or wanted a connection.
    #[default]
    Refused,
    /// A connection was made and ended before its first answer.
    Broken,
}

/// Bounds the dials of one endpoint, however many calls ask for them.
///
/// A connection counts as reached only after its first answer: one that is accepted and closed at
/// once is a failure.
#[derive(Debug, Default)]
pub(crate) struct DialBackoff {
    /// Whether `state` has failures; most calls ask while all is well.
    failing: AtomicBool,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    refused: u32,
    broken: u32,
    how: DialFailure,
    cause: String,
    waits: Option<ExponentialBackoff>,
    /// When the next dial is due.
    due: Option<Instant>,
    /// The last failure that was counted.
    last: Option<Instant>,
}

impl DialBackoff {
    /// Returns when a call may dial, if not at once.
    ///
    /// # Errors
    /// The last cause, where connections break and the next dial is not due.
    pub(crate) fn check(&self) -> Result<Option<Instant>, String> {
        if !self.failing.load(Ordering::Relaxed) {
            return Ok(None);
        }
        let mut state = self.state();
        let due = state.due.filter(|due| Instant::now() < *due);
        match (state.how, due) {
            (DialFailure::Broken, Some(_)) => Err(state.cause.clone()),
            (DialFailure::Broken, None) if state.due.is_some() => {
                // One call looks whether connections last by now; the others wait for what it
                // finds.
                state.due = Some(Instant::now() + LONGEST_WAIT);
                Ok(None)
            }
            (_, due) => Ok(due),
        }
    }

    /// Returns whether nobody was there when an endpoint was dialled last. Where each call makes a
    /// connection of its own, one dials at a time then.
    #[cfg(feature = "http")]
    pub(crate) fn is_refused(&self) -> bool {
        self.failing.load(Ordering::Relaxed) && self.state().how == DialFailure::Refused
    }

    /// Says why a dial failed that has ended since `asked`, if one has.
    #[cfg(feature = "http")]
    pub(crate) fn failed_after(&self, asked: Instant) -> Option<String> {
        let state = self.state();
        state.last.is_some_and(|last| last >= asked).then(|| state.cause.clone())
    }

    /// Records a dial without success.
    pub(crate) fn failed(&self, how: DialFailure, cause: impl Into<String>) {
        self.failed_since(Instant::now(), how, cause);
    }

    /// Records a dial, begun at `began`, without success. Of those that were under way together one
    /// counts.
    pub(crate) fn failed_since(&self, began: Instant, how: DialFailure, cause: impl Into<String>) {
        let mut state = self.state();
        if state.last.is_some_and(|last| began < last) {
            return;
        }
        (state.how, state.cause, state.last) = (how, cause.into(), Some(Instant::now()));
        let wait = match how {
            DialFailure::Refused => {
                state.refused = state.refused.saturating_add(1);
                (state.refused >= FREE_REFUSALS).then_some(REFUSAL_WAIT)
            }
            DialFailure::Broken => {
                state.broken = state.broken.saturating_add(1);
                let is_free = state.broken < FREE;
                (!is_free)
                    .then(|| state.waits.get_or_insert_with(waits).next().unwrap_or(LONGEST_WAIT))
            }
        };
        state.due = wait.map(|wait| Instant::now() + wait);
        self.failing.store(true, Ordering::Relaxed);
    }

    /// Records an answer.
    pub(crate) fn reached(&self) {
        if self.failing.swap(false, Ordering::Relaxed) {
            *self.state() = State::default();
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn waits() -> ExponentialBackoff {
    let waits = ExponentialBuilder::new()
        .with_min_delay(FIRST_WAIT)
        .with_max_delay(LONGEST_WAIT)
        .with_factor(2.0);
    waits.with_jitter().without_max_times().build()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Counts the dials in ten seconds of calls that dial whenever they may.
    async fn dials(backoff: &DialBackoff, how: DialFailure) -> usize {
        let (end, mut dials) = (Instant::now() + Duration::from_secs(10), 0);
        while Instant::now() < end {
            if let Ok(due) = backoff.check() {
                tokio::time::sleep_until(due.unwrap_or_else(Instant::now)).await;
                backoff.failed(how, "a cause");
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
        for how in [DialFailure::Refused, DialFailure::Broken].repeat(10) {
            (0..FREE - 1).for_each(|_| backoff.failed(how, "a cause"));
            assert_eq!(backoff.check(), Ok(None));
            backoff.reached();
        }
    }
}
