//! The body of a request, which notes when the request begins to leave.

use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use tokio::sync::OwnedMutexGuard;

use crate::error::{Error, Sent};

/// Whether a request has begun to leave. Until then it surely did not run, and can be withdrawn.
#[derive(Clone, Debug, Default)]
pub(crate) struct Departure(Arc<State>);

#[derive(Debug, Default)]
struct State {
    stage: AtomicU8,
    /// Kept from other calls until there is a connection.
    turn: Mutex<Option<OwnedMutexGuard<()>>>,
}

/// Stages of a departure.
const WAITS: u8 = 0;
const HAS_BEGUN: u8 = 1;
const WITHDRAWN: u8 = 2;

impl Departure {
    /// Makes the error of a request without a response say `No` where nothing has left, and now
    /// nothing will.
    pub(crate) fn judge(&self, error: Error) -> Error {
        if self.withdraw() { error.with_sent(Sent::No) } else { error }
    }

    #[cfg(feature = "mcp")]
    pub(crate) fn has_begun(&self) -> bool {
        self.0.stage.load(Ordering::Acquire) == HAS_BEGUN
    }

    /// Sees to it that the request does not leave; false if it has begun to.
    pub(crate) fn withdraw(&self) -> bool {
        self.reach(WITHDRAWN)
    }

    /// Notes that the request begins to leave; false if it was withdrawn.
    pub(crate) fn begins(&self) -> bool {
        let begins = self.reach(HAS_BEGUN);
        if begins {
            self.turn().take();
        }
        begins
    }

    fn reach(&self, stage: u8) -> bool {
        let reached =
            self.0.stage.compare_exchange(WAITS, stage, Ordering::AcqRel, Ordering::Acquire);
        reached.is_ok() || reached == Err(stage)
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

/// hyper asks whether it has ended once a connection is there, straight before it writes the head
/// of the request. It polls the body later: a large head is partly sent by then, and an empty body
/// is never polled.
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
        if !self.departure.begins() {
            return Poll::Ready(Some(Err(io::Error::other("the request was withdrawn"))));
        }
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
