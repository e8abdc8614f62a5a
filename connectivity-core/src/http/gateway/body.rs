//! Reading a request's body within its limits.

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

/// A body of more bytes takes memory of its origin's share, where it came to a listener of ours.
const LARGE: usize = 64 * 1024;

/// What bounds a body.
#[derive(Clone, Copy, Debug)]
pub(crate) struct BodyLimits {
    pub(crate) bytes: usize,
    /// How long it may take to arrive.
    pub(crate) time: Duration,
}

/// Why a body was not read.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum BodyError {
    TooLarge,
    TooSlow,
    /// There was no memory for it in time.
    Crowded,
    Broken,
}

/// Reads a body. One that announces too much is refused before a byte of it is read, so that its
/// sender hears of it at once.
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
    let mut reading = Reading {
        body: Limited::new(body, limits.bytes),
        first: Bytes::new(),
        rest: BytesMut::new(),
        most: announced.unwrap_or(limits.bytes),
        deadline: after(limits.time),
        memory: head.extensions.get::<LargeShare>().cloned().map(Memory::new),
    };
    while reading.piece().await? {}
    Ok(reading.end())
}

/// The announced length; one that is no number is more than any limit.
fn announced(headers: &HeaderMap) -> Option<u64> {
    let length = headers.get(CONTENT_LENGTH)?;
    Some(length.to_str().ok().and_then(|text| text.parse().ok()).unwrap_or(u64::MAX))
}

/// A body on its way in.
struct Reading {
    body: Limited<Body>,
    /// The first piece, which often is all of it.
    first: Bytes,
    rest: BytesMut,
    /// The most that it can be long.
    most: usize,
    deadline: Instant,
    memory: Option<Memory>,
}

/// The memory of a body, once it is large.
struct Memory {
    share: LargeShare,
    progress: Progress,
    permit: Option<LargePermit>,
}

impl Memory {
    fn new(share: LargeShare) -> Self {
        Self { progress: Progress::new(share.clone()), share, permit: None }
    }

    /// Completes when a body that has memory comes too slowly.
    async fn too_slow(&mut self, received: usize) {
        match self.permit {
            Some(_) => self.progress.too_slow(received).await,
            None => std::future::pending().await,
        }
    }
}

impl Reading {
    fn len(&self) -> usize {
        self.first.len() + self.rest.len()
    }

    /// Reads a piece; false at the end.
    async fn piece(&mut self) -> Result<bool, BodyError> {
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
                self.take(frame.into_data().unwrap_or_default()).await.map(|()| true)
            }
            Some(Err(cause)) if cause.is::<LengthLimitError>() => Err(BodyError::TooLarge),
            Some(Err(_)) => Err(BodyError::Broken),
            None => Ok(false),
        }
    }

    async fn take(&mut self, piece: Bytes) -> Result<(), BodyError> {
        if self.len() == 0 {
            self.first = piece;
        } else {
            if self.rest.is_empty() {
                self.rest.extend_from_slice(&std::mem::take(&mut self.first));
            }
            self.rest.extend_from_slice(&piece);
        }
        if self.len() > LARGE { self.take_memory().await } else { Ok(()) }
    }

    /// Takes memory for all of a large body. The wait for it is no time that the body took.
    async fn take_memory(&mut self) -> Result<(), BodyError> {
        let Some(memory) = self.memory.as_mut().filter(|memory| memory.permit.is_none()) else {
            return Ok(());
        };
        let began = Instant::now();
        memory.permit = Some(memory.share.acquire(self.most).await.ok_or(BodyError::Crowded)?);
        memory.progress.resume();
        self.deadline += began.elapsed();
        self.rest.reserve(self.most.saturating_sub(self.rest.len()));
        Ok(())
    }

    fn end(self) -> (Bytes, Option<LargePermit>) {
        let bytes = if self.rest.is_empty() { self.first } else { self.rest.freeze() };
        (bytes, self.memory.and_then(|memory| memory.permit))
    }
}
