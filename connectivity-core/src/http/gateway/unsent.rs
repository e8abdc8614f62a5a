//! The answers that the clients of one address have not read yet.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::watch;
use tokio::time::{Instant, timeout};

use crate::transport::Origin;
use crate::transport::unsent::Unsent;

/// Backpressure: no request of an origin is begun while this many bytes of its answers are unsent.
const OF_ORIGIN: usize = 64 << 20;

/// How long a request may wait for that, all its waits together.
const WAIT: Duration = Duration::from_secs(15);

/// Shorter answers do not count: what the system buffers for a connection is more.
const COUNTED: usize = 64 * 1024;

/// Why a request is refused that has waited for too long.
pub(crate) const UNREAD: &str = "the answers to this address are not read fast enough";

/// Marks a response whose body counts already.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Counted;

/// The unsent answers of a listener.
#[derive(Clone, Debug, Default)]
pub(crate) struct UnsentAnswers(Arc<Mutex<HashMap<Origin, Weak<OfOrigin>>>>);

impl UnsentAnswers {
    /// Those of one origin: of all its connections.
    pub(crate) fn of(&self, origin: &Origin) -> Arc<OfOrigin> {
        let mut origins = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        origins.get(origin).and_then(Weak::upgrade).unwrap_or_else(|| {
            origins.retain(|_, own| own.strong_count() > 0);
            let own = Arc::new(OfOrigin(watch::Sender::default()));
            origins.insert(origin.clone(), Arc::downgrade(&own));
            own
        })
    }
}

/// The unsent answers of one origin.
#[derive(Debug)]
pub(crate) struct OfOrigin(watch::Sender<Sum>);

#[derive(Debug, Default)]
struct Sum {
    bytes: usize,
    of_process: Unsent,
}

impl OfOrigin {
    async fn room(&self, limit: Duration) -> bool {
        let mut sum = self.0.subscribe();
        timeout(limit, sum.wait_for(|sum| sum.bytes < OF_ORIGIN && sum.of_process.has_room()))
            .await
            .is_ok()
    }

    /// Counts a piece of an answer until it was sent, which is when whoever writes it drops it.
    pub(crate) fn count(self: &Arc<Self>, piece: Bytes) -> Bytes {
        if piece.len() < COUNTED {
            return piece;
        }
        self.change(|bytes| bytes + piece.len());
        Bytes::from_owner(CountedPiece { piece, of: Arc::clone(self) })
    }

    fn change(&self, change: impl FnOnce(usize) -> usize) {
        self.0.send_modify(|sum| {
            sum.bytes = change(sum.bytes);
            sum.of_process.set(sum.bytes);
        });
    }
}

/// A request, and the room for its answer: it waits for that before it is read, and again before it
/// is asked.
#[derive(Clone, Debug)]
pub(crate) struct Room {
    unsent: Arc<OfOrigin>,
    /// How long it may still wait.
    left: Duration,
}

impl Room {
    pub(crate) fn new(unsent: Arc<OfOrigin>) -> Self {
        Self { unsent, left: WAIT }
    }

    /// Waits until another answer may be made; false if that takes too long.
    pub(crate) async fn wait(&mut self) -> bool {
        let began = Instant::now();
        let is_there = self.unsent.room(self.left).await;
        self.left = self.left.saturating_sub(began.elapsed());
        is_there
    }

    /// Where the answer counts until it was sent.
    pub(crate) fn answers(&self) -> &Arc<OfOrigin> {
        &self.unsent
    }
}

struct CountedPiece {
    piece: Bytes,
    of: Arc<OfOrigin>,
}

impl AsRef<[u8]> for CountedPiece {
    fn as_ref(&self) -> &[u8] {
        &self.piece
    }
}

impl Drop for CountedPiece {
    fn drop(&mut self) {
        self.of.change(|bytes| bytes - self.piece.len());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_request_waits_for_room_once_however_often_it_asks() {
        let unsent = UnsentAnswers::default().of(&Origin::Process(None));
        let fill = || unsent.count(Bytes::from(vec![0; OF_ORIGIN]));
        let (unread, began) = (fill(), Instant::now());
        let mut room = Room::new(Arc::clone(&unsent));
        let reads = async {
            tokio::time::sleep(WAIT / 2).await;
            drop(unread);
        };
        assert!(tokio::join!(room.wait(), reads).0);
        let unread = fill();
        assert!(!room.clone().wait().await);
        assert!(began.elapsed() < WAIT + WAIT / 4, "it waits for {:?} in all", began.elapsed());
        drop(unread);
        assert!(room.wait().await, "it is there without a wait");
    }
}
