//! Accounting of the unsent response bytes of each client address.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::watch;
use tokio::time::{Instant, timeout};

use crate::transport::Origin;
use crate::transport::unsent::Unsent;

/// Backpressure: no request of an origin starts while this many bytes of its responses are unsent.
const MAX_OF_ORIGIN: usize = 64 << 20;

/// The longest time that a request may wait for room, all its waits together.
const MAX_WAIT: Duration = Duration::from_secs(15);

/// Shorter responses do not count: the system's socket buffers hold more than that.
const MIN_COUNTED: usize = 64 * 1024;

/// The error of a request that has waited too long.
pub(crate) const UNREAD: &str = "the answers to this address are not read fast enough";

/// Marks a response whose body is counted already.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Counted;

/// The unsent responses of a listener.
#[derive(Clone, Debug, Default)]
pub(crate) struct UnsentAnswers(Arc<Mutex<HashMap<Origin, Weak<OfOrigin>>>>);

impl UnsentAnswers {
    /// Returns the counter of one origin, for all its connections.
    pub(crate) fn of(&self, origin: &Origin) -> Arc<OfOrigin> {
        let mut origins = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        origins.get(origin).and_then(Weak::upgrade).unwrap_or_else(|| {
            origins.retain(|_, counter| counter.strong_count() > 0);
            let counter = Arc::new(OfOrigin(watch::Sender::default()));
            origins.insert(origin.clone(), Arc::downgrade(&counter));
            counter
        })
    }
}

/// The unsent responses of one origin.
#[derive(Debug)]
pub(crate) struct OfOrigin(watch::Sender<Sum>);

#[derive(Debug, Default)]
struct Sum {
    bytes: usize,
    of_process: Unsent,
}

impl OfOrigin {
    async fn wait_for_room(&self, limit: Duration) -> bool {
        let mut sum = self.0.subscribe();
        timeout(limit, sum.wait_for(|sum| sum.bytes < MAX_OF_ORIGIN && sum.of_process.has_room()))
            .await
            .is_ok()
    }

    /// Counts a piece of a response until it was sent, which is when the connection drops it.
    pub(crate) fn count(self: &Arc<Self>, piece: Bytes) -> Bytes {
        if piece.len() < MIN_COUNTED {
            return piece;
        }
        self.change(|bytes| bytes + piece.len());
        Bytes::from_owner(CountedPiece { piece, counter: Arc::clone(self) })
    }

    fn change(&self, change: impl FnOnce(usize) -> usize) {
        self.0.send_modify(|sum| {
            sum.bytes = change(sum.bytes);
            sum.of_process.set(sum.bytes);
        });
    }
}

/// A request's permit to produce a response. The request waits for it before it is read, and again
/// before its call runs.
#[derive(Clone, Debug)]
pub(crate) struct Room {
    unsent: Arc<OfOrigin>,
    /// The time that the request may still wait.
    remaining: Duration,
}

impl Room {
    pub(crate) fn new(unsent: Arc<OfOrigin>) -> Self {
        Self { unsent, remaining: MAX_WAIT }
    }

    /// Waits until another response may be produced. Returns `false` if that takes too long.
    pub(crate) async fn wait(&mut self) -> bool {
        let started = Instant::now();
        let has_room = self.unsent.wait_for_room(self.remaining).await;
        self.remaining = self.remaining.saturating_sub(started.elapsed());
        has_room
    }

    /// Returns the counter of the response's bytes.
    pub(crate) fn unsent(&self) -> &Arc<OfOrigin> {
        &self.unsent
    }
}

struct CountedPiece {
    piece: Bytes,
    counter: Arc<OfOrigin>,
}

impl AsRef<[u8]> for CountedPiece {
    fn as_ref(&self) -> &[u8] {
        &self.piece
    }
}

impl Drop for CountedPiece {
    fn drop(&mut self) {
        self.counter.change(|bytes| bytes - self.piece.len());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_request_waits_for_room_once_however_often_it_asks() {
        let unsent = UnsentAnswers::default().of(&Origin::Process(None));
        let fill = || unsent.count(Bytes::from(vec![0; MAX_OF_ORIGIN]));
        let (unread, started) = (fill(), Instant::now());
        let mut room = Room::new(Arc::clone(&unsent));
        let reads = async {
            tokio::time::sleep(MAX_WAIT / 2).await;
            drop(unread);
        };
        assert!(tokio::join!(room.wait(), reads).0);
        let unread = fill();
        assert!(!room.clone().wait().await);
        assert!(
            started.elapsed() < MAX_WAIT + MAX_WAIT / 4,
            "it waits for {:?} in all",
            started.elapsed()
        );
        drop(unread);
        assert!(room.wait().await, "it is there without a wait");
    }
}
