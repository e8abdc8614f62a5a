//! Buffer for the received bytes of one stream. It holds next to no memory while the stream is
//! idle.

use std::future::poll_fn;
use std::io;
use std::mem::MaybeUninit;
use std::pin::{Pin, pin};
use std::task::{Context, Poll};

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt, ReadBuf};

use crate::mux::frame::{Decoder, Frame, PREAMBLE, WireError};

/// The size of one read, in bytes. An idle stream reads into a stack buffer of the thread that
/// polls it.
const READ_SIZE: usize = 16 * 1024;

/// The largest buffer that an idle stream keeps: sequential small calls reuse it.
const MAX_RETAINED: usize = 1024;

/// A long frame gets capacity for at most this many times the bytes received of it: its length is
/// only a claim by the peer.
const MAX_READ_AHEAD: usize = 16;

/// Received bytes that are not decoded yet.
#[derive(Debug, Default)]
pub(in crate::mux) struct ReadBuffer {
    bytes: BytesMut,
    /// The largest capacity of `bytes` since it was allocated.
    peak_capacity: usize,
    /// Bytes still missing from the partially received frame.
    missing: usize,
}

impl ReadBuffer {
    /// Waits for more bytes, and returns how many were read; 0 at the end of the stream.
    ///
    /// # Cancel safety
    /// Dropping the future loses nothing: bytes that were read stay in the buffer.
    pub(in crate::mux) async fn fill(
        &mut self,
        reader: &mut (impl AsyncRead + Unpin),
    ) -> io::Result<usize> {
        poll_fn(|cx| self.poll_fill(reader, cx)).await
    }

    /// Takes the preamble of the stream, once it has been received.
    pub(in crate::mux) fn preamble(&mut self) -> Option<[u8; PREAMBLE]> {
        let bytes = self.bytes.first_chunk().copied()?;
        self.bytes.advance(PREAMBLE);
        Some(bytes)
    }

    /// Returns the number of bytes that no frame has taken yet.
    pub(in crate::mux) fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Returns the length and the call number of the next frame, once its head has been received.
    pub(in crate::mux) fn head(&self) -> Option<(usize, u64)> {
        Decoder::head(&self.bytes)
    }

    /// Takes the next frame, or returns `None` until it has been received as a whole.
    pub(in crate::mux) fn frame(&mut self, decoder: Decoder) -> Result<Option<Frame>, WireError> {
        let frame = decoder.decode(&mut self.bytes)?;
        self.missing = if frame.is_none() { decoder.missing(&self.bytes) } else { 0 };
        Ok(frame)
    }

    fn poll_fill(
        &mut self,
        reader: &mut (impl AsyncRead + Unpin),
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<usize>> {
        let is_busy = self.peak_capacity > MAX_RETAINED && self.bytes.try_reclaim(READ_SIZE);
        if self.bytes.is_empty() && !is_busy {
            return self.poll_fill_from_stack(reader, cx);
        }
        let ahead = self.missing.min(self.bytes.len().saturating_mul(MAX_READ_AHEAD));
        self.bytes.reserve(ahead.max(READ_SIZE));
        self.peak_capacity = self.peak_capacity.max(self.bytes.capacity());
        let read = pin!(reader.read_buf(&mut self.bytes)).poll(cx);
        if read.is_pending() {
            self.release_if_large();
        }
        read
    }

    /// Reads into a buffer on the stack, and keeps a copy of the received bytes.
    fn poll_fill_from_stack(
        &mut self,
        reader: &mut (impl AsyncRead + Unpin),
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<usize>> {
        let mut scratch = [const { MaybeUninit::uninit() }; READ_SIZE];
        let mut read = ReadBuf::uninit(&mut scratch);
        let Poll::Ready(result) = Pin::new(reader).poll_read(cx, &mut read) else {
            self.release_if_large();
            return Poll::Pending;
        };
        result?;
        let read = read.filled();
        if !self.bytes.try_reclaim(read.len()) {
            self.bytes = BytesMut::with_capacity(read.len().max(MAX_RETAINED));
            self.peak_capacity = self.bytes.capacity();
        }
        self.bytes.extend_from_slice(read);
        Poll::Ready(Ok(read.len()))
    }

    /// Frees a large buffer that is empty.
    fn release_if_large(&mut self) {
        if self.bytes.is_empty() && self.peak_capacity > MAX_RETAINED {
            *self = Self::default();
        }
    }
}

#[cfg(test)]
mod tests;
