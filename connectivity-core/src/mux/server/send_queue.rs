//! Queue of the replies of one stream, and the task that writes them.

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
use crate::mux::frame::{Encoder, MAX_RETAINED, MAX_SMALL_BODY};
use crate::transport::unsent::Unsent;

/// Backpressure: while this many reply bytes are unsent, no more requests are read and no more
/// replies are encoded.
const HIGH_WATER_MARK: usize = 4 << 20;

/// A stream ends when this many reply bytes are unsent.
const MAX_UNSENT: usize = 256 << 20;

/// The longest time that one write may make no progress.
const WRITE_TIMEOUT: Duration = Duration::from_secs(15);

/// Queues replies from any thread; one task writes them. Long replies are written part by part,
/// each part behind the short replies that are queued by then, so that no caller waits for the
/// megabytes of another.
#[derive(Debug, Default)]
pub(super) struct SendQueue {
    state: Mutex<State>,
    queued: Notify,
    room_freed: Notify,
}

#[derive(Debug, Default)]
struct State {
    /// Short replies, parts of long ones, and other frames.
    frames: Encoder,
    long_replies: VecDeque<LongReply>,
    long_reply_bytes: usize,
    /// No more replies will be queued: the task ends once all are written.
    finished: bool,
    /// The unsent bytes of this stream, counted among those of all streams of the process.
    unsent: Unsent,
}

#[derive(Debug)]
struct LongReply {
    call: u64,
    /// The codec and the error flag for the first frame; `None` once it is written, since parts
    /// carry neither.
    head: Option<(Option<Codec>, bool)>,
    remaining: Bytes,
}

impl SendQueue {
    /// Queues a reply. If it cannot be encoded, an error is sent instead.
    pub(super) fn reply(&self, call: u64, name: &str, codec: Codec, result: Result<Reply, Error>) {
        let encode = AssertUnwindSafe(|| {
            result.and_then(|reply| Ok((reply.is_app_error(), reply.encode(name, codec)?)))
        });
        // A panic in a user's `Serialize` fails one call only.
        let encoded = catch_unwind(encode).unwrap_or_else(|_panic| {
            Err(Error::new(ErrorKind::Panicked, name, "the reply's encoding"))
        });
        let mut state = self.lock();
        match encoded {
            Ok((app_error, (codec, body))) if body.len() > MAX_SMALL_BODY => {
                state.long_reply_bytes += body.len();
                state.long_replies.push_back(LongReply {
                    call,
                    head: Some((codec, app_error)),
                    remaining: body,
                });
            }
            Ok((app_error, (codec, body))) => state.frames.reply(call, codec, app_error, &body),
            Err(error) => state.frames.failure(call, &error),
        }
        state.update_unsent();
    }

    /// Queues frames other than replies.
    pub(super) fn push(&self, write: impl FnOnce(&mut Encoder)) {
        write(&mut self.lock().frames);
    }

    /// Wakes the writing task. [`reply`](Self::reply) does not, so that a batch of replies wakes it
    /// once.
    pub(super) fn notify(&self) {
        self.queued.notify_one();
    }

    /// Lets the writing task end once everything is written.
    pub(super) fn finish(&self) {
        self.lock().finished = true;
        self.notify();
    }

    /// Waits while too many reply bytes are unsent, on this stream or in the whole process.
    pub(super) async fn wait_for_room(&self) {
        loop {
            let room_freed = self.room_freed.notified();
            if self.lock().has_room() {
                return;
            }
            room_freed.await;
        }
    }

    /// Returns whether [`wait_for_room`](Self::wait_for_room) would return at once.
    pub(super) fn has_room(&self) -> bool {
        self.lock().has_room()
    }

    /// Writes replies until the queue is finished and empty. Calls `on_written` after each write,
    /// when there may be room again.
    pub(super) async fn write_to(
        &self,
        mut writer: impl AsyncWrite + Unpin,
        on_written: impl Fn(),
    ) -> io::Result<()> {
        let mut bytes = BytesMut::new();
        loop {
            let queued = self.queued.notified();
            if !self.next_batch(&mut bytes)? {
                return writer.shutdown().await;
            }
            if bytes.is_empty() {
                queued.await;
                continue;
            }
            let is_large = bytes.len() > MAX_RETAINED;
            write(&mut writer, &mut bytes).await?;
            if is_large {
                bytes = BytesMut::new();
            }
            self.room_freed.notify_waiters();
            on_written();
        }
    }

    /// Replaces the empty buffer with the next bytes to write: all short replies and one part of a
    /// long one. Returns whether more may follow.
    fn next_batch(&self, bytes: &mut BytesMut) -> io::Result<bool> {
        let mut state = self.lock();
        let state = &mut *state;
        if state.bytes() > MAX_UNSENT {
            return Err(io::Error::other("the client does not read its replies"));
        }
        if let Some(mut reply) = state.long_replies.pop_front() {
            let part = reply.remaining.split_to(reply.remaining.len().min(MAX_SMALL_BODY));
            state.long_reply_bytes -= part.len();
            let more = !reply.remaining.is_empty();
            match reply.head.take() {
                Some((codec, app_error)) => {
                    state.frames.begin_reply(reply.call, codec, app_error, more, &part)
                }
                None => state.frames.part(reply.call, more, &part),
            }
            if more {
                state.long_replies.push_back(reply);
            }
        }
        let done = state.finished && state.frames.is_empty();
        std::mem::swap(state.frames.buffer(), bytes);
        state.update_unsent();
        Ok(!done)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn write(writer: &mut (impl AsyncWrite + Unpin), bytes: &mut BytesMut) -> io::Result<()> {
    while !bytes.is_empty() {
        match tokio::time::timeout(WRITE_TIMEOUT, writer.write_buf(bytes)).await {
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
        self.frames.len() + self.long_reply_bytes
    }

    fn has_room(&self) -> bool {
        self.bytes() < HIGH_WATER_MARK && self.unsent.has_room()
    }

    fn update_unsent(&mut self) {
        self.unsent.set(self.frames.len() + self.long_reply_bytes);
    }
}
