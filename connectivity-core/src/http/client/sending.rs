//! Request body that records when the request begins to be sent.

use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use tokio::sync::OwnedMutexGuard;

use crate::error::{Error, Sent};

/// Whether a request has begun to be sent. Until then it has not run, and can be withdrawn.
#[derive(Clone, Debug, Default)]
pub(crate) struct Departure(Arc<State>);

#[derive(Debug, Default)]
struct State {
    stage: AtomicU8,
    /// The permit to dial, held until there is a connection.
    dial_permit: Mutex<Option<OwnedMutexGuard<()>>>,
}

/// Stages of a departure.
const WAITING: u8 = 0;
const STARTED: u8 = 1;
const WITHDRAWN: u8 = 2;

impl Departure {
    /// Sets `sent` to `No` if the request has not begun to be sent, and withdraws it so that it
    /// never will.
    pub(crate) fn judge(&self, error: Error) -> Error {
        if self.withdraw() { error.with_sent(Sent::No) } else { error }
    }

    #[cfg(feature = "mcp")]
    pub(crate) fn has_begun(&self) -> bool {
        self.0.stage.load(Ordering::Acquire) == STARTED
    }

    /// Withdraws the request. Returns `false` if it has begun to be sent.
    pub(crate) fn withdraw(&self) -> bool {
        self.advance(WITHDRAWN)
    }

    /// Records that the request begins to be sent. Returns `false` if it was withdrawn.
    pub(crate) fn start(&self) -> bool {
        let started = self.advance(STARTED);
        if started {
            self.dial_permit().take();
        }
        started
    }

    fn advance(&self, stage: u8) -> bool {
        let advanced =
            self.0.stage.compare_exchange(WAITING, stage, Ordering::AcqRel, Ordering::Acquire);
        advanced.is_ok() || advanced == Err(stage)
    }

    /// Holds the permit to dial until the request is sent or has failed.
    pub(super) fn hold(&self, dial_permit: OwnedMutexGuard<()>) {
        *self.dial_permit() = Some(dial_permit);
    }

    fn dial_permit(&self) -> MutexGuard<'_, Option<OwnedMutexGuard<()>>> {
        self.0.dial_permit.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns a request body of these bytes.
    pub(crate) fn body(&self, bytes: Bytes) -> reqwest::Body {
        reqwest::Body::wrap(Sending { bytes, departure: self.clone() })
    }
}

/// A body that reports to its [`Departure`]. hyper calls `is_end_stream` once a connection is
/// there, directly before it writes the head of the request. It calls `poll_frame` later: by then a
/// large head is partly sent, and an empty body is never polled.
struct Sending {
    bytes: Bytes,
    departure: Departure,
}

impl Body for Sending {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _cx: &mut Context<'_>,
    ) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        if !self.departure.start() {
            return Poll::Ready(Some(Err(io::Error::other("the request was withdrawn"))));
        }
        let bytes = std::mem::take(&mut self.bytes);
        Poll::Ready((!bytes.is_empty()).then(|| Ok(Frame::data(bytes))))
    }

    fn is_end_stream(&self) -> bool {
        self.departure.start();
        self.bytes.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.bytes.len() as u64)
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;
    use std::task::Waker;

    use super::*;
    use crate::error::ErrorKind;

    fn sent(departure: &Departure) -> Sent {
        departure
            .judge(Error::new(ErrorKind::Timeout, "billing", "late").with_sent(Sent::Maybe))
            .sent()
    }

    #[test]
    fn a_request_that_is_said_not_to_have_left_does_not() {
        for has_begun in [false, true] {
            let departure = Departure::default();
            let mut body =
                pin!(Sending { bytes: Bytes::from_static(b"x"), departure: departure.clone() });
            if has_begun {
                assert!(!body.is_end_stream());
            }
            assert_eq!(sent(&departure), if has_begun { Sent::Maybe } else { Sent::No });
            let frame = body.as_mut().poll_frame(&mut Context::from_waker(Waker::noop()));
            assert!(matches!(frame, Poll::Ready(Some(frame)) if frame.is_ok() == has_begun));
        }
    }
}
