//! Waking and stopping a watcher thread, and retrying its change notifications.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::time::{Duration, Instant};

use super::source::ChangeFn;

/// Wakes a watcher thread. Wakeups coalesce while the thread is busy.
#[derive(Debug, Clone)]
pub(super) struct WakeSender {
    signal: SyncSender<()>,
    stopped: Arc<AtomicBool>,
}

/// Receiver of a [`WakeSender`], owned by the watcher thread.
#[derive(Debug)]
pub(super) struct WakeReceiver {
    signals: Receiver<()>,
    stopped: Arc<AtomicBool>,
}

/// Reason that a wait ended.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum WakeEvent {
    Wake,
    TimedOut,
    Stop,
}

impl WakeSender {
    pub(super) fn new() -> (Self, WakeReceiver) {
        let (signal, signals) = sync_channel(1);
        let stopped = Arc::new(AtomicBool::new(false));
        (Self { signal, stopped: Arc::clone(&stopped) }, WakeReceiver { signals, stopped })
    }

    /// Wakes the thread; returns false if the thread has ended.
    pub(super) fn wake(&self) -> bool {
        !matches!(self.signal.try_send(()), Err(TrySendError::Disconnected(())))
    }

    pub(super) fn stop(&self) {
        self.stopped.store(true, Ordering::Release);
        self.wake();
    }
}

impl WakeReceiver {
    /// Waits for a wakeup, at most for `limit`.
    pub(super) fn wait(&self, limit: Duration) -> WakeEvent {
        let woken = self.signals.recv_timeout(limit).is_ok();
        match self.stopped.load(Ordering::Acquire) {
            true => WakeEvent::Stop,
            false if woken => WakeEvent::Wake,
            false => WakeEvent::TimedOut,
        }
    }
}

/// Notification of a change, retried with growing backoff until it succeeds.
pub(super) struct ChangeNotifier {
    changed: ChangeFn,
    due: Option<Instant>,
    backoff: Duration,
}

impl ChangeNotifier {
    const INITIAL_BACKOFF: Duration = Duration::from_millis(10);
    const MAX_BACKOFF: Duration = Duration::from_secs(5);

    /// Starts with a pending notification: a change before the start of the watch may have been
    /// missed.
    pub(super) fn new(changed: ChangeFn) -> Self {
        Self { changed, due: Some(Instant::now()), backoff: Self::INITIAL_BACKOFF }
    }

    /// Records a change, which makes the notification due at once.
    pub(super) fn mark_changed(&mut self) {
        self.due = Some(Instant::now());
        self.backoff = Self::INITIAL_BACKOFF;
    }

    /// Runs the notification if it is due.
    pub(super) fn notify_if_due(&mut self) {
        if self.due.is_none_or(|due| due > Instant::now()) {
            return;
        }
        self.due = None;
        let start = Instant::now();
        // A panic in a reload must not stop the watcher: it counts as a failed reload.
        if !catch_unwind(AssertUnwindSafe(&*self.changed)).unwrap_or(false) {
            // Wait at least as long as the attempt took, so that a slow failure does not occupy a
            // core.
            self.due = Some(Instant::now() + self.backoff.max(start.elapsed()));
            self.backoff = (self.backoff * 2).min(Self::MAX_BACKOFF);
        }
    }

    /// Returns the time until a notification is due, at most `limit`.
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
        let (sender, receiver) = WakeSender::new();
        assert!(sender.wake() && sender.wake());
        assert_eq!(receiver.wait(Duration::from_secs(5)), WakeEvent::Wake);
        assert_eq!(receiver.wait(Duration::ZERO), WakeEvent::TimedOut);
        sender.wake();
        sender.stop();
        assert_eq!(receiver.wait(Duration::from_secs(5)), WakeEvent::Stop);
        drop(receiver);
        assert!(!sender.wake());
    }

    #[test]
    fn what_failed_is_due_again_later_and_later() {
        let calls = Arc::new(AtomicU32::new(0));
        let call_count = Arc::clone(&calls);
        let mut notifier = ChangeNotifier::new(Arc::new(move || {
            match call_count.fetch_add(1, Ordering::Relaxed) {
                0 => false,
                1 => panic!("on purpose"),
                _ => true,
            }
        }));
        let mut backoffs = Vec::new();
        while notifier.due.is_some() {
            notifier.notify_if_due();
            backoffs.extend(notifier.due.map(|_| notifier.backoff));
            notifier.due = notifier.due.map(|_| Instant::now());
        }
        assert_eq!(calls.load(Ordering::Relaxed), 3);
        assert_eq!(
            backoffs,
            [ChangeNotifier::INITIAL_BACKOFF * 2, ChangeNotifier::INITIAL_BACKOFF * 4]
        );
        notifier.notify_if_due();
        assert_eq!(calls.load(Ordering::Relaxed), 3, "nothing is due");
        notifier.mark_changed();
        assert_eq!(notifier.until_due(Duration::from_secs(1)), Duration::ZERO);
    }
}
