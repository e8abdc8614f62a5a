//! Replies on their way out of one stream of a server.

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
use crate::mux::frame::{Encoder, KEPT, MAX_SMALL_BODY};
use crate::transport::unsent::Unsent;

/// Backpressure: while this many reply bytes are unsent, no more requests are read and no more
/// replies are encoded.
const FULL: usize = 4 << 20;

/// A stream ends when this many reply bytes are unsent.
const TOO_FULL: usize = 256 << 20;

/// How long one write may be stuck.
const STALL: Duration = Duration::from_secs(15);

/// Collects replies from wherever they are made; one task writes them. Long replies are written
/// part by part, each behind the short ones of that moment, so that no caller waits for another's
/// megabytes.
#[derive(Debug, Default)]
pub(super) struct SendQueue {
    state: Mutex<State>,
    filled: Notify,
    emptied: Notify,
}

#[derive(Debug, Default)]
struct State {
    short: Encoder,
    long: VecDeque<Long>,
    long_bytes: usize,
    /// No more replies will come: the task ends when all is written.
    finished: bool,
    /// What this stream counts for among all streams of the process.
    unsent: Unsent,
}

#[derive(Debug)]
struct Long {
    call: u64,
    /// What the first frame says; parts say nothing.
    begins: Option<(Option<Codec>, bool)>,
    rest: Bytes,
}

impl SendQueue {
    /// Queues a reply; one that cannot be encoded becomes a failure.
    pub(super) fn reply(&self, call: u64, name: &str, codec: Codec, result: Result<Reply, Error>) {
        let encode = AssertUnwindSafe(|| {
            result.and_then(|reply| Ok((reply.is_app_error(), reply.encode(name, codec)?)))
        });
        // A `Serialize` of the user's that panics is one failed call.
        let encoded = catch_unwind(encode).unwrap_or_else(|_panic| {
            Err(Error::new(ErrorKind::Panicked, name, "the reply's encoding"))
        });
        let mut state = self.lock();
        match encoded {
            Ok((app_error, (codec, body))) if body.len() > MAX_SMALL_BODY => {
                state.long_bytes += body.len();
                state.long.push_back(Long { call, begins: Some((codec, app_error)), rest: body });
            }
            Ok((app_error, (codec, body))) => state.short.reply(call, codec, app_error, &body),
            Err(error) => state.short.failure(call, &error),
        }
        state.count();
    }

    /// Queues frames that are no replies.
    pub(super) fn put(&self, write: impl FnOnce(&mut Encoder)) {
        write(&mut self.lock().short);
    }

    /// Wakes the writing task. Apart from [`reply`](Self::reply), so that a batch of replies wakes
    /// it once.
    pub(super) fn notify(&self) {
        self.filled.notify_one();
    }

    /// Lets the writing task end when everything is written.
    pub(super) fn finish(&self) {
        self.lock().finished = true;
        self.notify();
    }

    /// Waits while too many reply bytes are unsent, here or in the whole process.
    pub(super) async fn room(&self) {
        loop {
            let emptied = self.emptied.notified();
            if self.lock().has_room() {
                return;
            }
            emptied.await;
        }
    }

    /// Returns whether [`room`](Self::room) would not wait.
    pub(super) fn has_room(&self) -> bool {
        self.lock().has_room()
    }

    /// Writes replies until there will be no more. After each write there may be room again.
    pub(super) async fn write_to(
        &self,
        mut writer: impl AsyncWrite + Unpin,
        written: impl Fn(),
    ) -> io::Result<()> {
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
            written();
        }
    }

    /// Exchanges an empty buffer for what is to be written next: all short replies and one part of
    /// a long one. Returns whether there will be more.
    fn next(&self, bytes: &mut BytesMut) -> io::Result<bool> {
        let mut state = self.lock();
        let state = &mut *state;
        if state.bytes() > TOO_FULL {
            return Err(io::Error::other("the client does not read its replies"));
        }
        if let Some(mut long) = state.long.pop_front() {
            let part = long.rest.split_to(long.rest.len().min(MAX_SMALL_BODY));
            state.long_bytes -= part.len();
            let more = !long.rest.is_empty();
            match long.begins.take() {
                Some((codec, app_error)) => {
                    state.short.reply_begins(long.call, codec, app_error, more, &part)
                }
                None => state.short.part(long.call, more, &part),
            }
            if more {
                state.long.push_back(long);
            }
        }
        let done = state.finished && state.short.is_empty();
        std::mem::swap(state.short.buffer(), bytes);
        state.count();
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
            _ => {
                return Err(io::Error::new(
                    io::ErrorKind::TimedOut,
                    "the client does not read its answers",
                ));
            }
        }
    }
    writer.flush().await
}

impl State {
    fn bytes(&self) -> usize {
        self.short.len() + self.long_bytes
    }

    fn has_room(&self) -> bool {
        self.bytes() < FULL && self.unsent.has_room()
    }

    fn count(&mut self) {
        self.unsent.set(self.short.len() + self.long_bytes);
    }
}
