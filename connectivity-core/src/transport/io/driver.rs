//! The thread that drives a runtime, as the watchdog sees it: blocked, computing, or waiting for a
//! CPU.

use std::sync::atomic::{AtomicI32, Ordering};
use std::time::Duration;

/// The OS thread that drives a runtime. Its state is known on Linux only.
#[derive(Debug, Default)]
pub(super) struct Driver {
    /// The thread id; 0 until it is set.
    thread: AtomicI32,
}

impl Driver {
    /// Sets the driver to the calling thread.
    pub(super) fn set_current(&self) {
        self.thread.store(current(), Ordering::Release);
    }

    /// Returns the CPU time that the thread has used.
    pub(super) fn cpu_time(&self) -> Option<Duration> {
        cpu_time(self.thread.load(Ordering::Acquire))
    }

    /// Returns whether the thread is running, or waits only for a CPU.
    pub(super) fn is_runnable(&self) -> bool {
        is_runnable(self.thread.load(Ordering::Acquire))
    }
}

#[cfg(target_os = "linux")]
fn current() -> i32 {
    nix::unistd::gettid().as_raw()
}

/// Returns the CPU time of a thread. The clock id is computed as in `pthread_getcpuclockid` of the
/// C libraries: the complement of the thread id, and the kernel's bits for the scheduler clock of a
/// single thread (`CPUCLOCK_SCHED` and `CPUCLOCK_PERTHREAD_MASK`).
#[cfg(target_os = "linux")]
fn cpu_time(thread: i32) -> Option<Duration> {
    let clock = nix::time::ClockId::from_raw((!thread << 3) | 0b110);
    (thread > 0).then(|| clock.now().ok().map(Duration::from))?
}

/// Returns whether a thread is in state `R`. The state follows the thread name, which is in
/// parentheses and may itself contain parentheses: proc_pid_stat(5).
#[cfg(target_os = "linux")]
fn is_runnable(thread: i32) -> bool {
    let stat = std::fs::read(format!("/proc/self/task/{thread}/stat")).unwrap_or_default();
    let name_ends = stat.iter().rposition(|&byte| byte == b')');
    name_ends.is_some_and(|at| stat[at..].starts_with(b") R"))
}

#[cfg(not(target_os = "linux"))]
fn current() -> i32 {
    0
}

#[cfg(not(target_os = "linux"))]
fn cpu_time(_thread: i32) -> Option<Duration> {
    None
}

#[cfg(not(target_os = "linux"))]
fn is_runnable(_thread: i32) -> bool {
    false
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use std::sync::{Arc, mpsc};
    use std::thread;

    use super::*;

    #[test]
    fn a_thread_that_computes_is_told_from_one_that_waits() {
        let driver = Arc::new(Driver::default());
        assert!(driver.cpu_time().is_none() && !driver.is_runnable(), "no thread yet");
        let (stop, stopped) = mpsc::channel::<()>();
        let thread_driver = Arc::clone(&driver);
        let (began, begins) = mpsc::channel();
        let thread = thread::Builder::new().name("a) S (b".to_owned()).spawn(move || {
            thread_driver.set_current();
            began.send(()).unwrap();
            while stopped.try_recv().is_err() {}
            began.send(()).unwrap();
            let _ = stopped.recv();
        });
        begins.recv().unwrap();
        let before = driver.cpu_time().unwrap();
        while driver.cpu_time().unwrap() < before + Duration::from_millis(1) {
            assert!(driver.is_runnable(), "it computes, or lacks a processor");
        }
        stop.send(()).unwrap();
        begins.recv().unwrap();
        while driver.is_runnable() {
            thread::yield_now();
        }
        let waits = driver.cpu_time();
        assert_eq!(waits, driver.cpu_time());
        drop(stop);
        thread.unwrap().join().unwrap();
        assert!(driver.cpu_time().is_none() && !driver.is_runnable(), "it has ended");
    }
}
