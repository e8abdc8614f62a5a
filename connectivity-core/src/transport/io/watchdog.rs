//! Notices from outside that an implementation blocks the thread that polls it.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};
use std::thread::{self, Thread};
use std::time::Duration;

/// How often the watchdog looks while calls come in. A poll that spans two looks has overrun.
const LOOK: Duration = Duration::from_micros(500);

/// After this many looks without an inline poll the watchdog sleeps until there is one.
const QUIET: u32 = 20;

/// A runtime of sockets, as the watchdog sees it.
pub(super) trait Watched: Send + Sync {
    /// Starts a thread that drives the runtime from here on.
    fn take_over(self: Arc<Self>) -> io::Result<()>;

    /// Returns the number of the last inline poll.
    fn poll(&self) -> u64;

    /// Takes the runtime from the thread whose poll this is; false if the poll does not run any more.
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
        let started = thread::Builder::new().name("connectivity-watch".to_owned()).spawn(move || watchdog.run())?;
        let _ = self.thread.set(started.thread().clone());
        Ok(())
    }

    /// Wakes the watchdog for an inline poll that has just begun.
    pub(super) fn notice(&self) {
        // In one order with the store in `doze`: either this sees it, or the watchdog sees the poll.
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
        let threads = std::mem::take(&mut *self.threads.lock().unwrap_or_else(PoisonError::into_inner));
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
    /// Nobody drives the runtime, because no thread could be started.
    orphaned: bool,
}

impl Sight {
    fn new(thread: Weak<dyn Watched>) -> Self {
        Self { thread, poll: 0, orphaned: false }
    }

    /// Looks at the thread, and has another one take over if a poll overran. Returns whether it has polled since the last look;
    /// `None` once it has ended.
    fn look(&mut self) -> Option<bool> {
        let thread = self.thread.upgrade().filter(|thread| !thread.has_ended())?;
        let poll = thread.poll();
        let overran = poll == self.poll && thread.give_up(poll);
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
}
