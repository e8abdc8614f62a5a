//! Reads a request's body within its limits.

use std::time::Duration;

use axum::body::Body;
use axum::http::HeaderMap;
use axum::http::header::CONTENT_LENGTH;
use axum::http::request::Parts;
use bytes::{Bytes, BytesMut};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use tokio::time::Instant;

use crate::context::after;
use crate::transport::large_requests::{LargePermit, LargeShare, Progress};

/// A body over this many bytes takes memory of its origin's share, if an `HttpListener` received
/// it.
const LARGE_BODY: usize = 64 * 1024;

/// Limits of a body.
#[derive(Clone, Copy, Debug)]
pub(crate) struct BodyLimits {
    pub(crate) bytes: usize,
    /// The time in which the body must arrive.
    pub(crate) time: Duration,
}

/// Why a body was not read.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum BodyError {
    TooLarge,
    TooSlow,
    /// No memory became available in time.
    NoMemory,
    Broken,
}

/// Reads a body. If its announced length exceeds the limit, it is refused before any of it is read,
/// so that the client gets the response immediately.
pub(super) async fn read(
    head: &Parts,
    body: Body,
    limits: BodyLimits,
) -> Result<(Bytes, Option<LargePermit>), BodyError> {
    let announced =
        announced(&head.headers).map(|length| usize::try_from(length).unwrap_or(usize::MAX));
    if announced.is_some_and(|length| length > limits.bytes) {
        return Err(BodyError::TooLarge);
    }
    let mut reader = BodyReader {
        body: Limited::new(body, limits.bytes),
        first: Bytes::new(),
        rest: BytesMut::new(),
        max_len: announced.unwrap_or(limits.bytes),
        deadline: after(limits.time),
        memory: head.extensions.get::<LargeShare>().cloned().map(Memory::new),
    };
    while reader.read_piece().await? {}
    Ok(reader.finish())
}

/// Returns the announced length. A value that is no number counts as more than any limit.
fn announced(headers: &HeaderMap) -> Option<u64> {
    let length = headers.get(CONTENT_LENGTH)?;
    Some(length.to_str().ok().and_then(|text| text.parse().ok()).unwrap_or(u64::MAX))
}

/// A body that is being received.
struct BodyReader {
    body: Limited<Body>,
    /// The first piece, which is often the whole body.
    first: Bytes,
    rest: BytesMut,
    /// The largest possible length.
    max_len: usize,
    deadline: Instant,
    memory: Option<Memory>,
}

/// Memory of a body, acquired once the body is large.
struct Memory {
    share: LargeShare,
    progress: Progress,
    permit: Option<LargePermit>,
}

impl Memory {
    fn new(share: LargeShare) -> Self {
        Self { progress: Progress::new(share.clone()), share, permit: None }
    }

    /// Completes when a body that holds memory arrives too slowly.
    async fn too_slow(&mut self, received: usize) {
        match self.permit {
            Some(_) => self.progress.too_slow(received).await,
            None => std::future::pending().await,
        }
    }
}

impl BodyReader {
    fn len(&self) -> usize {
        self.first.len() + self.rest.len()
    }

    /// Reads a piece. Returns `false` at the end.
    async fn read_piece(&mut self) -> Result<bool, BodyError> {
        let received = self.len();
        let too_slow = async {
            match &mut self.memory {
                Some(memory) => memory.too_slow(received).await,
                None => std::future::pending().await,
            }
        };
        let frame = tokio::select! {
            biased;
            frame = self.body.frame() => frame,
            () = tokio::time::sleep_until(self.deadline) => return Err(BodyError::TooSlow),
            () = too_slow => return Err(BodyError::TooSlow),
        };
        match frame {
            Some(Ok(frame)) => {
                self.append(frame.into_data().unwrap_or_default()).await.map(|()| true)
            }
            Some(Err(cause)) if cause.is::<LengthLimitError>() => Err(BodyError::TooLarge),
            Some(Err(_)) => Err(BodyError::Broken),
            None => Ok(false),
        }
    }

    async fn append(&mut self, piece: Bytes) -> Result<(), BodyError> {
        if self.len() == 0 {
            self.first = piece;
        } else {
            if self.rest.is_empty() {
                self.rest.extend_from_slice(&std::mem::take(&mut self.first));
            }
            self.rest.extend_from_slice(&piece);
        }
        if self.len() > LARGE_BODY { self.acquire_memory().await } else { Ok(()) }
    }

    /// Acquires memory for all of a large body. The wait for it does not count towards the body's
    /// timeout.
    async fn acquire_memory(&mut self) -> Result<(), BodyError> {
        let Some(memory) = self.memory.as_mut().filter(|memory| memory.permit.is_none()) else {
            return Ok(());
        };
        let started = Instant::now();
        memory.permit = Some(memory.share.acquire(self.max_len).await.ok_or(BodyError::NoMemory)?);
        memory.progress.resume();
        self.deadline += started.elapsed();
        self.rest.reserve(self.max_len.saturating_sub(self.rest.len()));
        Ok(())
    }

    fn finish(self) -> (Bytes, Option<LargePermit>) {
        let bytes = if self.rest.is_empty() { self.first } else { self.rest.freeze() };
        (bytes, self.memory.and_then(|memory| memory.permit))
    }
}
