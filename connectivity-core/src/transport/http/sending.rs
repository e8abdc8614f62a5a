//! The body of a request, which notes when the request begins to leave.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use tokio::sync::OwnedMutexGuard;

use crate::error::{Error, Sent};

/// Whether a request has begun to leave. Until then it surely did not run.
#[derive(Clone, Debug, Default)]
pub(crate) struct Departure(Arc<State>);

#[derive(Debug, Default)]
struct State {
    has_begun: AtomicBool,
    /// Kept from other calls until there is a connection.
    turn: Mutex<Option<OwnedMutexGuard<()>>>,
}

impl Departure {
    /// Makes the error of a request without a response say `No` where nothing has left.
    pub(crate) fn judge(&self, error: Error) -> Error {
        if self.has_begun() { error } else { error.with_sent(Sent::No) }
    }

    pub(crate) fn has_begun(&self) -> bool {
        self.0.has_begun.load(Ordering::Acquire)
    }

    pub(crate) fn begins(&self) {
        if !self.0.has_begun.swap(true, Ordering::AcqRel) {
            self.turn().take();
        }
    }

    /// Keeps a turn until the request leaves, or has failed.
    pub(super) fn keep(&self, turn: OwnedMutexGuard<()>) {
        *self.turn() = Some(turn);
    }

    fn turn(&self) -> MutexGuard<'_, Option<OwnedMutexGuard<()>>> {
        self.0.turn.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes a body of these bytes.
    pub(crate) fn body(&self, bytes: Bytes) -> reqwest::Body {
        reqwest::Body::wrap(Sending { bytes, departure: self.clone() })
    }
}

/// hyper asks whether it has ended once a connection is there, straight before it writes the head of the request. It polls the
/// body later: a large head is partly sent by then, and an empty body is never polled.
struct Sending {
    bytes: Bytes,
    departure: Departure,
}

impl Body for Sending {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.departure.begins();
        let bytes = std::mem::take(&mut self.bytes);
        Poll::Ready((!bytes.is_empty()).then(|| Ok(Frame::data(bytes))))
    }

    fn is_end_stream(&self) -> bool {
        self.departure.begins();
        self.bytes.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.bytes.len() as u64)
    }
}
