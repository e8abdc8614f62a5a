//! The answers that the clients of one address have not read yet.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use bytes::Bytes;
use tokio::sync::watch;

use crate::transport::Origin;
use crate::transport::unsent::Unsent;

/// Backpressure: no request of an origin is begun while this many bytes of its answers are unsent.
const OF_ORIGIN: usize = 64 << 20;

/// Shorter answers do not count: what the system buffers for a connection is more.
const COUNTED: usize = 64 * 1024;

/// The unsent answers of a listener.
#[derive(Clone, Debug, Default)]
pub(super) struct UnsentAnswers(Arc<Mutex<HashMap<Origin, Weak<OfOrigin>>>>);

impl UnsentAnswers {
    /// Those of one origin: of all its connections.
    pub(super) fn of(&self, origin: &Origin) -> Arc<OfOrigin> {
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
pub(super) struct OfOrigin(watch::Sender<Sum>);

#[derive(Debug, Default)]
struct Sum {
    bytes: usize,
    of_process: Unsent,
}

impl OfOrigin {
    /// Waits until another answer may be made.
    pub(super) async fn room(&self) {
        // The sender lives as long as this does.
        let _ = self.0.subscribe().wait_for(|sum| sum.bytes < OF_ORIGIN && sum.of_process.has_room()).await;
    }

    /// Counts a piece of an answer until it was sent, which is when whoever writes it drops it.
    pub(super) fn count(self: &Arc<Self>, piece: Bytes) -> Bytes {
        if piece.len() < COUNTED {
            return piece;
        }
        self.change(|bytes| bytes + piece.len());
        Bytes::from_owner(Counted { piece, of: Arc::clone(self) })
    }

    fn change(&self, change: impl FnOnce(usize) -> usize) {
        self.0.send_modify(|sum| {
            sum.bytes = change(sum.bytes);
            sum.of_process.set(sum.bytes);
        });
    }
}

struct Counted {
    piece: Bytes,
    of: Arc<OfOrigin>,
}

impl AsRef<[u8]> for Counted {
    fn as_ref(&self) -> &[u8] {
        &self.piece
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.of.change(|bytes| bytes - self.piece.len());
    }
}
