//! Notices from outside that an implementation blocks the thread that polls it.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};
use std::thread::{self, Thread};
use std::time::Duration;

use super::driver::Driver;

/// How often the watchdog looks while calls come in. A poll that spans two looks has overrun,
/// unless its thread lacked a processor.
const LOOK: Duration = Duration::from_micros(500);

/// After this many looks without an inline poll the watchdog sleeps until there is one.
const QUIET: u32 = 20;

/// A thread that has used this much processor time between two looks computes.
const COMPUTES: Duration = Duration::from_micros(200);

/// The lowest bit of the number of a poll: it runs.
pub(super) const RUNNING: u64 = 1;

/// A runtime of sockets, as the watchdog sees it.
pub(super) trait Watched: Send + Sync {
    /// Starts a thread that drives the runtime from here on.
    fn take_over(self: Arc<Self>) -> io::Result<()>;

    /// Returns the number of the last inline poll.
    fn poll(&self) -> u64;

    /// Returns the thread that drives the runtime.
    fn driver(&self) -> &Driver;

    /// Takes the runtime from the thread whose poll this is; false if the poll does not run any
    /// more.
    fn give_up(&self, poll: u64) -> bool;

    /// Returns whether the runtime was dropped.
    fn has_ended(&self) -> bool;
}

/// Watches the IO threads of one listener. Its thread ends with the last of them.
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
        // In one order with the store in `doze`: either this sees it, or the watchdog sees the
        // poll.
        if self.asleep.load(Ordering::SeqCst) {
            self.wake();
        }
    }

    /// Wakes the watchdog, to look whether it is still needed.
    pub(super) fn wake(&self) {
        if let Some(thread) = self.thread.get() {
            thread.unpark();
        }
    }

    fn run(&self) {
        let threads =
            std::mem::take(&mut *self.threads.lock().unwrap_or_else(PoisonError::into_inner));
        let mut watched: Vec<_> = threads.into_iter().map(Sight::new).collect();
        let mut quiet = 0;
        loop {
            let mut is_busy = false;
            watched.retain_mut(|thread| match thread.look() {
                Some(busy) => {
                    is_busy |= busy;
                    true
                }
                None => false,
            });
            if watched.is_empty() {
                return;
            }
            quiet = if is_busy { 0 } else { quiet + 1 };
            if quiet < QUIET {
                thread::sleep(LOOK);
            } else {
                self.doze(&mut watched);
                quiet = 0;
            }
        }
    }

    /// Sleeps until an inline poll begins, or a thread ends.
    fn doze(&self, watched: &mut [Sight]) {
        self.asleep.store(true, Ordering::SeqCst);
        if !watched.iter_mut().any(|thread| thread.look() != Some(false)) {
            thread::park();
        }
        self.asleep.store(false, Ordering::SeqCst);
    }
}

/// One thread, and what the last look saw of it.
struct Sight {
    thread: Weak<dyn Watched>,
    poll: u64,
    /// The processor time of whoever drove the runtime.
    cpu_time: Option<Duration>,
    /// Nobody drives the runtime, because no thread could be started.
    orphaned: bool,
}

impl Sight {
    fn new(thread: Weak<dyn Watched>) -> Self {
        Self { thread, poll: 0, cpu_time: None, orphaned: false }
    }

    /// Looks at the thread, and has another one take over if a poll overran. Returns whether it has
    /// polled since the last look; `None` once it has ended.
    fn look(&mut self) -> Option<bool> {
        let thread = self.thread.upgrade().filter(|thread| !thread.has_ended())?;
        let poll = thread.poll();
        let lasts = self.lasts(poll, thread.driver());
        let overran = lasts && thread.give_up(poll);
        if overran || self.orphaned {
            let driven = Arc::clone(&thread).take_over();
            self.orphaned = driven.is_err();
            if let Err(cause) = driven {
                tracing::error!(%cause, "no thread for sockets whose own an implementation blocks");
            }
        }
        let busy = poll != self.poll || overran || self.orphaned;
        self.poll = poll;
        Some(busy)
    }

    /// Returns whether a poll has lasted since the last look, blocked or computing.
    fn lasts(&mut self, poll: u64, driver: &Driver) -> bool {
        let is_running = poll & RUNNING != 0;
        let cpu_time = if is_running { driver.cpu_time() } else { None };
        let before = std::mem::replace(&mut self.cpu_time, cpu_time);
        if !is_running || poll != self.poll {
            return false;
        }
        is_busy(before, cpu_time, || driver.is_runnable())
    }
}

/// Returns whether a thread that has used so much processor time, then and now, computes or is
/// blocked. Otherwise it lacks a processor, which says nothing of the method that it polls.
fn is_busy(
    before: Option<Duration>,
    now: Option<Duration>,
    is_runnable: impl FnOnce() -> bool,
) -> bool {
    let (Some(before), Some(now)) = (before, now) else { return true };
    now.saturating_sub(before) >= COMPUTES || !is_runnable()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_that_lacks_a_processor_is_not_busy() {
        let (before, runnable, blocked) = (Some(Duration::from_millis(7)), || true, || false);
        let (little, much) =
            (before.map(|time| time + COMPUTES / 2), before.map(|time| time + COMPUTES));
        assert!(!is_busy(before, before, runnable) && !is_busy(before, little, runnable));
        assert!(is_busy(before, much, runnable), "it computes");
        assert!(is_busy(before, before, blocked), "it is blocked");
        assert!(is_busy(None, None, runnable), "nothing is known of it");
    }
}
