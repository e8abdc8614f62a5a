//! The drain of one route: how long its calls in flight may continue, and how they end.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};

use crate::error::{Error, ErrorKind, Sent};

/// The drain of one route. It has no end until the route is replaced or cut.
#[derive(Default)]
pub(crate) struct RouteDrain {
    end: Mutex<Option<Instant>>,
    retired: Notify,
    cut: AtomicBool,
}

impl RouteDrain {
    /// Ends the calls in flight now, without a drain.
    pub(crate) fn cut(&self) {
        self.cut.store(true, Ordering::Release);
        self.end_at(Instant::now());
    }

    pub(crate) fn is_cut(&self) -> bool {
        self.cut.load(Ordering::Acquire)
    }

    /// Ends calls at this time, or earlier if an earlier end is set.
    pub(crate) fn end_at(&self, end: Instant) {
        let mut end_time = self.end();
        *end_time = Some(end_time.map_or(end, |before| before.min(end)));
        drop(end_time);
        self.retired.notify_waiters();
    }

    fn end(&self) -> MutexGuard<'_, Option<Instant>> {
        self.end.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Completes when the route has been replaced and its drain time is over.
    pub(crate) async fn over(&self) {
        loop {
            let retired = self.retired.notified();
            let end = *self.end();
            let over = async {
                match end {
                    Some(end) => sleep_until(end).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = over => return,
                () = retired => {}
            }
        }
    }
}

/// Returns the error of a call that the end of a drain has ended.
pub(crate) fn drained(name: &str) -> Error {
    let message = "the route was replaced, and its drain time is over";
    Error::new(ErrorKind::Closed, name, message).with_sent(Sent::Maybe)
}

/// Returns the error of a call that reaches a closed router.
pub(crate) fn closed(name: &str) -> Error {
    Error::new(ErrorKind::Closed, name, "the router is closed").with_sent(Sent::No)
}
