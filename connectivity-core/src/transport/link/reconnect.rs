//! Keeps the way to an endpoint open: what broke is dialled again without waiting for a call, with
//! growing waits.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBackoff, ExponentialBuilder};
use tokio::time::Instant;

use super::{Dial, Link};

/// The wait before the first dial, which jitter doubles at the most: the clients of a server that
/// went do not come back in step.
const FIRST_WAIT: Duration = Duration::from_millis(100);

/// The longest wait, before its jitter.
const LONGEST_WAIT: Duration = Duration::from_secs(10);

/// Begins to keep a link, unless that is done already. The task is this runtime's, and holds the
/// link only while it dials.
pub(super) fn keep<D: Dial>(link: &Arc<Link<D>>, kept: &Arc<AtomicBool>) {
    if !kept.swap(true, Ordering::AcqRel) {
        let end = End(Arc::clone(kept));
        tokio::spawn(run(Arc::downgrade(link), end));
    }
}

/// Lets the next dial begin to keep the link anew, when the runtime of the task has taken it away.
struct End(Arc<AtomicBool>);

impl Drop for End {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Release);
    }
}

async fn run<D: Dial>(link: Weak<Link<D>>, _end: End) {
    let mut waits = waits();
    loop {
        match link.upgrade().map(|link| link.ended()) {
            Some(Some(ended)) => {
                let since = Instant::now();
                ended.await;
                // A server that lets clients in and throws them out at once is asked ever more
                // seldom.
                if since.elapsed() > LONGEST_WAIT {
                    waits = self::waits();
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

fn waits() -> ExponentialBackoff {
    let waits = ExponentialBuilder::new().with_min_delay(FIRST_WAIT).with_max_delay(LONGEST_WAIT);
    waits.with_factor(2.0).with_jitter().without_max_times().build()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_to_a_limit_and_differ() {
        let series: Vec<Vec<_>> = (0..50).map(|_| waits().take(12).collect()).collect();
        for waits in &series {
            assert!(waits[0] >= FIRST_WAIT && waits[0] <= 2 * FIRST_WAIT, "{waits:?}");
            assert!(waits[11] >= LONGEST_WAIT && waits[11] <= 2 * LONGEST_WAIT, "{waits:?}");
        }
        assert!(series.iter().any(|waits| waits[0] != series[0][0]));
    }
}
