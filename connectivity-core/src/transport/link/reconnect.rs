//! The reconnect task of a link: dials again when the connection breaks, with exponential backoff,
//! without waiting for a call.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBackoff, ExponentialBuilder};
use tokio::time::Instant;

use super::{Dial, Link};

/// Wait before the first dial; jitter at most doubles it. The jitter keeps the clients of a stopped
/// server from reconnecting all at once.
const FIRST_WAIT: Duration = Duration::from_millis(100);

/// Maximum wait between dials, before jitter.
const LONGEST_WAIT: Duration = Duration::from_secs(10);

/// Spawns the reconnect task on the current runtime, unless it is running already. The task holds
/// the link only while it dials.
pub(super) fn start<D: Dial>(link: &Arc<Link<D>>, running: &Arc<AtomicBool>) {
    if !running.swap(true, Ordering::AcqRel) {
        let guard = RunningGuard(Arc::clone(running));
        tokio::spawn(run(Arc::downgrade(link), guard));
    }
}

/// Clears the running flag when the task ends, also when its runtime is shut down. The next dial
/// then starts a new task.
struct RunningGuard(Arc<AtomicBool>);

impl Drop for RunningGuard {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Release);
    }
}

async fn run<D: Dial>(link: Weak<Link<D>>, _guard: RunningGuard) {
    let mut waits = backoff();
    loop {
        match link.upgrade().map(|link| link.ended()) {
            Some(Some(ended)) => {
                let since = Instant::now();
                ended.await;
                // The backoff is kept after a short connection, so that it also applies to a server
                // that accepts clients and disconnects them at once.
                if since.elapsed() > LONGEST_WAIT {
                    waits = backoff();
                }
            }
            Some(None) => {}
            None => return,
        }
        tokio::time::sleep(waits.next().unwrap_or(LONGEST_WAIT)).await;
        let Some(dialling) = link.upgrade().map(|link| link.redial()) else { return };
        if let Some(mut dialling) = dialling {
            let _ = dialling.wait_for(Option::is_some).await;
        }
    }
}

fn backoff() -> ExponentialBackoff {
    let builder = ExponentialBuilder::new().with_min_delay(FIRST_WAIT).with_max_delay(LONGEST_WAIT);
    builder.with_factor(2.0).with_jitter().without_max_times().build()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_to_a_limit_and_differ() {
        let series: Vec<Vec<_>> = (0..50).map(|_| backoff().take(12).collect()).collect();
        for waits in &series {
            assert!(waits[0] >= FIRST_WAIT && waits[0] <= 2 * FIRST_WAIT, "{waits:?}");
            assert!(waits[11] >= LONGEST_WAIT && waits[11] <= 2 * LONGEST_WAIT, "{waits:?}");
        }
        assert!(series.iter().any(|waits| waits[0] != series[0][0]));
    }
}
