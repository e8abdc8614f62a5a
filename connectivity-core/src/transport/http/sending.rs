//! The body of a request, which notes when the request begins to leave.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};

/// Whether a request has begun to leave. Until then it surely did not run.
#[derive(Clone, Debug, Default)]
pub(super) struct Departure(Arc<AtomicBool>);

impl Departure {
    pub(super) fn has_begun(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }

    fn begins(&self) {
        self.0.store(true, Ordering::Release);
    }

    /// Makes a body of these bytes.
    pub(super) fn body(&self, bytes: Bytes) -> reqwest::Body {
        reqwest::Body::wrap(Sending { bytes, departure: self.clone() })
    }
}

/// hyper polls it when the connection is there and the head of the request is written, and asks of an empty one only whether it ends.
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
        let is_empty = self.bytes.is_empty();
        if is_empty {
            self.departure.begins();
        }
        is_empty
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.bytes.len() as u64)
    }
}
