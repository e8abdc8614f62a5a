//! What has come in on one stream and is not taken yet. While nothing comes, it holds next to
//! nothing.

use std::future::poll_fn;
use std::io;
use std::mem::MaybeUninit;
use std::pin::{Pin, pin};
use std::task::{Context, Poll};

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt, ReadBuf};

use crate::mux::frame::{Decoder, Frame, PREAMBLE, WireError};

/// The room for one read, in bytes: an idle stream borrows it from the stack of whoever polls it.
const ROOM: usize = 16 * 1024;

/// The largest buffer that an idle stream keeps: a small call at a time needs no new one.
const KEPT: usize = 1024;

/// A long frame gets room for so many times what has come of it: its length is only a claim.
const AHEAD: usize = 16;

/// Bytes on their way from a stream to frames.
#[derive(Debug, Default)]
pub(in crate::mux) struct ReadBuffer {
    bytes: BytesMut,
    /// The most that `bytes` has had room for since it was made.
    room: usize,
    /// What the frame lacks whose beginning is in `bytes`.
    lacks: usize,
}

impl ReadBuffer {
    /// Waits for more, and says how many bytes it was; 0 at the end of the stream.
    ///
    /// # Cancel safety
    /// What was read is kept, whether this is waited for or dropped.
    pub(in crate::mux) async fn fill(
        &mut self,
        reader: &mut (impl AsyncRead + Unpin),
    ) -> io::Result<usize> {
        poll_fn(|cx| self.poll_fill(reader, cx)).await
    }

    /// Takes the first bytes of the stream, once they are there.
    pub(in crate::mux) fn preamble(&mut self) -> Option<[u8; PREAMBLE]> {
        let bytes = self.bytes.first_chunk().copied()?;
        self.bytes.advance(PREAMBLE);
        Some(bytes)
    }

    /// How many bytes are there that no frame has taken.
    pub(in crate::mux) fn len(&self) -> usize {
        self.bytes.len()
    }

    /// The length and the call number that the next frame announces, once its head is there.
    pub(in crate::mux) fn head(&self) -> Option<(usize, u64)> {
        Decoder::head(&self.bytes)
    }

    /// Takes the next frame, or nothing if it is not there whole yet.
    pub(in crate::mux) fn frame(&mut self, decoder: Decoder) -> Result<Option<Frame>, WireError> {
        let frame = decoder.decode(&mut self.bytes)?;
        self.lacks = if frame.is_none() { decoder.lacks(&self.bytes) } else { 0 };
        Ok(frame)
    }

    fn poll_fill(
        &mut self,
        reader: &mut (impl AsyncRead + Unpin),
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<usize>> {
        let is_busy = self.room > KEPT && self.bytes.try_reclaim(ROOM);
        if self.bytes.is_empty() && !is_busy {
            return self.poll_fill_aside(reader, cx);
        }
        let ahead = self.lacks.min(self.bytes.len().saturating_mul(AHEAD));
        self.bytes.reserve(ahead.max(ROOM));
        self.room = self.room.max(self.bytes.capacity());
        let read = pin!(reader.read_buf(&mut self.bytes)).poll(cx);
        if read.is_pending() {
            self.let_go();
        }
        read
    }

    /// Reads into room that is not ours, and keeps a copy of what came.
    fn poll_fill_aside(
        &mut self,
        reader: &mut (impl AsyncRead + Unpin),
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<usize>> {
        let mut room = [const { MaybeUninit::uninit() }; ROOM];
        let mut read = ReadBuf::uninit(&mut room);
        let Poll::Ready(result) = Pin::new(reader).poll_read(cx, &mut read) else {
            self.let_go();
            return Poll::Pending;
        };
        result?;
        let read = read.filled();
        if !self.bytes.try_reclaim(read.len()) {
            self.bytes = BytesMut::with_capacity(read.len().max(KEPT));
            self.room = self.bytes.capacity();
        }
        self.bytes.extend_from_slice(read);
        Poll::Ready(Ok(read.len()))
    }

    /// Drops a large buffer with nothing in it.
    fn let_go(&mut self) {
        if self.bytes.is_empty() && self.room > KEPT {
            *self = Self::default();
        }
    }
}

#[cfg(test)]
mod tests;
