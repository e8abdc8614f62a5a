//! Answers on their way out of one connection of a server.

use std::collections::VecDeque;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncWrite, AsyncWriteExt};
use tokio::sync::Notify;

use crate::call::Reply;
use crate::codec::Codec;
use crate::error::{Error, ErrorKind};
use crate::transport::wire::{Encoder, KEPT, MAX_SMALL_BODY};

/// Above so many bytes of unread answers no more requests are read.
const FULL: usize = 4 << 20;

/// Above so many the stream ends: calls that ran already go on making answers that nobody reads.
const TOO_FULL: usize = 256 << 20;

/// How long one write may be stuck.
const STALL: Duration = Duration::from_secs(15);

/// Collects answers from wherever they are made, and is written by one task. Long answers go part by part, each behind the short
/// ones of that moment, so that nobody waits for somebody else's megabytes.
#[derive(Debug, Default)]
pub(super) struct Outbox {
    state: Mutex<State>,
    filled: Notify,
    emptied: Notify,
}

#[derive(Debug, Default)]
struct State {
    short: Encoder,
    long: VecDeque<Long>,
    long_bytes: usize,
    /// No more answers will come: the task ends when all is written.
    finished: bool,
}

#[derive(Debug)]
struct Long {
    call: u64,
    /// What the first frame says; parts say nothing.
    begins: Option<(Option<Codec>, bool)>,
    rest: Bytes,
}

impl Outbox {
    /// Puts an answer in; one that cannot be encoded becomes a failure.
    pub(super) fn answer(&self, call: u64, name: &str, codec: Codec, result: Result<Reply, Error>) {
        let encode =
            AssertUnwindSafe(|| result.and_then(|reply| Ok((reply.is_app_error(), reply.encode(name, codec)?))));
        // A `Serialize` of the user's that panics is one failed call.
        let encoded = catch_unwind(encode)
            .unwrap_or_else(|_panic| Err(Error::new(ErrorKind::Panicked, name, "the reply's encoding")));
        let mut state = self.lock();
        match encoded {
            Ok((app_error, (codec, body))) if body.len() > MAX_SMALL_BODY => {
                state.long_bytes += body.len();
                state.long.push_back(Long { call, begins: Some((codec, app_error)), rest: body });
            }
            Ok((app_error, (codec, body))) => state.short.reply(call, codec, app_error, &body),
            Err(error) => state.short.failure(call, &error),
        }
    }

    /// Puts frames in that are no answers.
    pub(super) fn put(&self, write: impl FnOnce(&mut Encoder)) {
        write(&mut self.lock().short);
    }

    /// Lets the writing task look. Apart from `answer`, so that a batch of requests wakes it once.
    pub(super) fn ring(&self) {
        self.filled.notify_one();
    }

    /// Lets the writing task end when everything is written.
    pub(super) fn finish(&self) {
        self.lock().finished = true;
        self.ring();
    }

    /// Waits while too many answers are unread.
    pub(super) async fn room(&self) {
        loop {
            let emptied = self.emptied.notified();
            if self.lock().bytes() < FULL {
                return;
            }
            emptied.await;
        }
    }

    /// Writes answers until there will be no more.
    pub(super) async fn write_to(&self, mut writer: impl AsyncWrite + Unpin) -> io::Result<()> {
        let mut bytes = BytesMut::new();
        loop {
            let filled = self.filled.notified();
            if !self.next(&mut bytes)? {
                return writer.shutdown().await;
            }
            if bytes.is_empty() {
                filled.await;
                continue;
            }
            let is_large = bytes.len() > KEPT;
            write(&mut writer, &mut bytes).await?;
            if is_large {
                bytes = BytesMut::new();
            }
            self.emptied.notify_waiters();
        }
    }

    /// Exchanges an empty buffer for what is to be written next: all short answers and one part of a long one. False when there will
    /// be nothing any more.
    fn next(&self, bytes: &mut BytesMut) -> io::Result<bool> {
        let mut state = self.lock();
        let state = &mut *state;
        if state.bytes() > TOO_FULL {
            return Err(io::Error::other("the client does not read its answers"));
        }
        if let Some(mut long) = state.long.pop_front() {
            let part = long.rest.split_to(long.rest.len().min(MAX_SMALL_BODY));
            state.long_bytes -= part.len();
            let more = !long.rest.is_empty();
            match long.begins.take() {
                Some((codec, app_error)) => state.short.reply_begins(long.call, codec, app_error, more, &part),
                None => state.short.part(long.call, more, &part),
            }
            if more {
                state.long.push_back(long);
            }
        }
        let done = state.finished && state.short.is_empty();
        std::mem::swap(state.short.buffer(), bytes);
        Ok(!done)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn write(writer: &mut (impl AsyncWrite + Unpin), bytes: &mut BytesMut) -> io::Result<()> {
    while !bytes.is_empty() {
        match tokio::time::timeout(STALL, writer.write_buf(bytes)).await {
            Ok(Err(cause)) => return Err(cause),
            Ok(Ok(written)) if written > 0 => {}
            _ => return Err(io::Error::new(io::ErrorKind::TimedOut, "the client does not read its answers")),
        }
    }
    writer.flush().await
}

impl State {
    fn bytes(&self) -> usize {
        self.short.len() + self.long_bytes
    }
}
