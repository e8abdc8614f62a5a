//! How a watching thread is woken, stopped, and made to try again.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::time::{Duration, Instant};

use super::source::ChangeFn;

/// Wakes a thread; rings that come while it is busy are one.
#[derive(Debug, Clone)]
pub(super) struct WakeSender {
    ring: SyncSender<()>,
    stopped: Arc<AtomicBool>,
}

/// The thread's end of a [`WakeSender`].
#[derive(Debug)]
pub(super) struct WakeReceiver {
    rings: Receiver<()>,
    stopped: Arc<AtomicBool>,
}

/// What ended a wait.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum WakeEvent {
    Ring,
    Nothing,
    Stop,
}

impl WakeSender {
    pub(super) fn new() -> (Self, WakeReceiver) {
        let (ring, rings) = sync_channel(1);
        let stopped = Arc::new(AtomicBool::new(false));
        (Self { ring, stopped: Arc::clone(&stopped) }, WakeReceiver { rings, stopped })
    }

    /// Wakes the thread; false when it has ended.
    pub(super) fn ring(&self) -> bool {
        !matches!(self.ring.try_send(()), Err(TrySendError::Disconnected(())))
    }

    pub(super) fn stop(&self) {
        self.stopped.store(true, Ordering::Release);
        self.ring();
    }
}

impl WakeReceiver {
    /// Waits for a ring, at most so long.
    pub(super) fn wait(&self, limit: Duration) -> WakeEvent {
        let rung = self.rings.recv_timeout(limit).is_ok();
        match self.stopped.load(Ordering::Acquire) {
            true => WakeEvent::Stop,
            false if rung => WakeEvent::Ring,
            false => WakeEvent::Nothing,
        }
    }
}

/// A change that has to be handed over, again and again with growing waits until that succeeds.
pub(super) struct Handover {
    changed: ChangeFn,
    due: Option<Instant>,
    wait: Duration,
}

impl Handover {
    const FIRST_WAIT: Duration = Duration::from_millis(10);
    const LONGEST_WAIT: Duration = Duration::from_secs(5);

    /// Starts with a change at hand: whoever starts to watch may have missed one.
    pub(super) fn new(changed: ChangeFn) -> Self {
        Self { changed, due: Some(Instant::now()), wait: Self::FIRST_WAIT }
    }

    /// Notes a change, which is reason enough to try at once.
    pub(super) fn note(&mut self) {
        self.due = Some(Instant::now());
        self.wait = Self::FIRST_WAIT;
    }

    /// Hands over what is due.
    pub(super) fn run(&mut self) {
        if self.due.is_none_or(|due| due > Instant::now()) {
            return;
        }
        self.due = None;
        let start = Instant::now();
        // A panic in a reload must not end the watching: it counts as a reload that failed.
        if !catch_unwind(AssertUnwindSafe(&self.changed)).unwrap_or(false) {
            // One that fails only after long work must not take up a core.
            self.due = Some(Instant::now() + self.wait.max(start.elapsed()));
            self.wait = (self.wait * 2).min(Self::LONGEST_WAIT);
        }
    }

    /// How long until something is due, at most `limit`.
    pub(super) fn until_due(&self, limit: Duration) -> Duration {
        self.due.map_or(limit, |due| due.saturating_duration_since(Instant::now()).min(limit))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicU32;

    #[test]
    fn rings_add_up_to_one_and_stop_wins() {
        let (bell, ear) = WakeSender::new();
        assert!(bell.ring() && bell.ring());
        assert_eq!(ear.wait(Duration::from_secs(5)), WakeEvent::Ring);
        assert_eq!(ear.wait(Duration::ZERO), WakeEvent::Nothing);
        bell.ring();
        bell.stop();
        assert_eq!(ear.wait(Duration::from_secs(5)), WakeEvent::Stop);
        drop(ear);
        assert!(!bell.ring());
    }

    #[test]
    fn what_failed_is_due_again_later_and_later() {
        let calls = Arc::new(AtomicU32::new(0));
        let counted = Arc::clone(&calls);
        let mut handover =
            Handover::new(Box::new(move || match counted.fetch_add(1, Ordering::Relaxed) {
                0 => false,
                1 => panic!("on purpose"),
                _ => true,
            }));
        let mut waits = Vec::new();
        while handover.due.is_some() {
            handover.run();
            waits.extend(handover.due.map(|_| handover.wait));
            handover.due = handover.due.map(|_| Instant::now());
        }
        assert_eq!(calls.load(Ordering::Relaxed), 3);
        assert_eq!(waits, [Handover::FIRST_WAIT * 2, Handover::FIRST_WAIT * 4]);
        handover.run();
        assert_eq!(calls.load(Ordering::Relaxed), 3, "nothing is due");
        handover.note();
        assert_eq!(handover.until_due(Duration::from_secs(1)), Duration::ZERO);
    }
}
