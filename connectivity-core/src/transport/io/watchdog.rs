//! A watchdog thread that detects implementations which block their IO thread.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};
use std::thread::{self, Thread};
use std::time::Duration;

use super::driver::Driver;

/// Interval between checks while calls arrive. A poll that spans two checks has overrun, unless its
/// thread was waiting for a CPU.
const CHECK_INTERVAL: Duration = Duration::from_micros(500);

/// The watchdog sleeps after this many checks without an inline poll, until the next one begins.
const IDLE_CHECKS: u32 = 20;

/// A thread that has used this much CPU time between two checks is computing.
const BUSY_CPU_TIME: Duration = Duration::from_micros(200);

/// The lowest bit of a poll number: set while the poll is running.
pub(super) const RUNNING: u64 = 1;

/// A socket runtime, as the watchdog sees it.
pub(super) trait Watched: Send + Sync {
    /// Starts a new thread that drives the runtime from now on.
    fn take_over(self: Arc<Self>) -> io::Result<()>;

    /// Returns the number of the last inline poll.
    fn poll(&self) -> u64;

    /// Returns the thread that drives the runtime.
    fn driver(&self) -> &Driver;

    /// Takes the runtime from the thread that runs this poll. Returns false if the poll is no
    /// longer running.
    fn give_up(&self, poll: u64) -> bool;

    /// Returns whether the runtime was dropped.
    fn has_ended(&self) -> bool;
}

/// Watches the IO threads of one listener. The watchdog thread exits with the last of them.
#[derive(Default)]
pub(super) struct Watchdog {
    threads: Mutex<Vec<Weak<dyn Watched>>>,
    asleep: AtomicBool,
    thread: OnceLock<Thread>,
}

impl Watchdog {
    /// Starts watching these threads.
    pub(super) fn start(self: &Arc<Self>, threads: Vec<Weak<dyn Watched>>) -> io::Result<()> {
        *self.threads.lock().unwrap_or_else(PoisonError::into_inner) = threads;
        let watchdog = Arc::clone(self);
        let started = thread::Builder::new()
            .name("connectivity-watch".to_owned())
            .spawn(move || watchdog.run())?;
        let _ = self.thread.set(started.thread().clone());
        Ok(())
    }

    /// Wakes the watchdog for an inline poll that has just begun.
    pub(super) fn notice(&self) {
        // Sequentially consistent with the store in `doze`: either this load sees it, or the
        // watchdog sees the poll.
        if self.asleep.load(Ordering::SeqCst) {
            self.wake();
        }
    }

    /// Wakes the watchdog, so that it checks whether it is still needed.
    pub(super) fn wake(&self) {
        if let Some(thread) = self.thread.get() {
            thread.unpark();
        }
    }

    fn run(&self) {
        let threads =
            std::mem::take(&mut *self.threads.lock().unwrap_or_else(PoisonError::into_inner));
        let mut watched: Vec<_> = threads.into_iter().map(WatchedThread::new).collect();
        let mut idle_checks = 0;
        loop {
            let mut is_busy = false;
            watched.retain_mut(|thread| match thread.check() {
                Some(busy) => {
                    is_busy |= busy;
                    true
                }
                None => false,
            });
            if watched.is_empty() {
                return;
            }
            idle_checks = if is_busy { 0 } else { idle_checks + 1 };
            if idle_checks < IDLE_CHECKS {
                thread::sleep(CHECK_INTERVAL);
            } else {
                self.doze(&mut watched);
                idle_checks = 0;
            }
        }
    }

    /// Sleeps until an inline poll begins or a thread exits.
    fn doze(&self, watched: &mut [WatchedThread]) {
        self.asleep.store(true, Ordering::SeqCst);
        if !watched.iter_mut().any(|thread| thread.check() != Some(false)) {
            thread::park();
        }
        self.asleep.store(false, Ordering::SeqCst);
    }
}

/// One thread, and its state at the last check.
struct WatchedThread {
    thread: Weak<dyn Watched>,
    poll: u64,
    /// CPU time of the thread that drove the runtime.
    cpu_time: Option<Duration>,
    /// Whether no thread drives the runtime, because none could be started.
    orphaned: bool,
}

impl WatchedThread {
    fn new(thread: Weak<dyn Watched>) -> Self {
        Self { thread, poll: 0, cpu_time: None, orphaned: false }
    }

    /// Checks the thread, and lets another one take over if a poll overran. Returns whether it has
    /// polled since the last check; `None` once it has exited.
    fn check(&mut self) -> Option<bool> {
        let thread = self.thread.upgrade().filter(|thread| !thread.has_ended())?;
        let poll = thread.poll();
        let is_stuck = self.is_stuck(poll, thread.driver());
        let overran = is_stuck && thread.give_up(poll);
        if overran || self.orphaned {
            let started = Arc::clone(&thread).take_over();
            self.orphaned = started.is_err();
            if let Err(cause) = started {
                tracing::error!(%cause, "no thread for sockets whose own an implementation blocks");
            }
        }
        let busy = poll != self.poll || overran || self.orphaned;
        self.poll = poll;
        Some(busy)
    }

    /// Returns whether the same poll has been blocked or computing since the last check.
    fn is_stuck(&mut self, poll: u64, driver: &Driver) -> bool {
        let is_running = poll & RUNNING != 0;
        let cpu_time = if is_running { driver.cpu_time() } else { None };
        let before = std::mem::replace(&mut self.cpu_time, cpu_time);
        if !is_running || poll != self.poll {
            return false;
        }
        is_busy(before, cpu_time, || driver.is_runnable())
    }
}

/// Returns whether a thread is computing or blocked, from its CPU time at the last check and now.
/// Otherwise it waits for a CPU, which says nothing about the method that it polls.
fn is_busy(
    before: Option<Duration>,
    now: Option<Duration>,
    is_runnable: impl FnOnce() -> bool,
) -> bool {
    let (Some(before), Some(now)) = (before, now) else { return true };
    now.saturating_sub(before) >= BUSY_CPU_TIME || !is_runnable()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_that_lacks_a_processor_is_not_busy() {
        let (before, runnable, blocked) = (Some(Duration::from_millis(7)), || true, || false);
        let (little, much) =
            (before.map(|time| time + BUSY_CPU_TIME / 2), before.map(|time| time + BUSY_CPU_TIME));
        assert!(!is_busy(before, before, runnable) && !is_busy(before, little, runnable));
        assert!(is_busy(before, much, runnable), "it computes");
        assert!(is_busy(before, before, blocked), "it is blocked");
        assert!(is_busy(None, None, runnable), "nothing is known of it");
    }
}
