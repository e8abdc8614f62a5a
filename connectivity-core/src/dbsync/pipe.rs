//! Bytes between a connection, which is asynchronous, and a thread that reads and writes files.

use std::io::{self, Read, Write};

use bytes::{Buf, Bytes, BytesMut};
use tokio::sync::mpsc;

/// Pieces that wait in a pipe, and the length of a piece that is written.
const PIECES: usize = 8;
const PIECE: usize = 64 << 10;

/// Creates a pipe from a connection to a thread.
pub(super) fn to_thread() -> (mpsc::Sender<io::Result<Bytes>>, PipeReader) {
    let (sender, receiver) = mpsc::channel(PIECES);
    (sender, PipeReader { receiver, piece: Bytes::new() })
}

/// Creates a pipe from a thread to a connection.
pub(super) fn from_thread() -> (PipeWriter, mpsc::Receiver<Bytes>) {
    let (sender, receiver) = mpsc::channel(PIECES);
    (PipeWriter { sender, piece: BytesMut::with_capacity(PIECE) }, receiver)
}

/// Reads what a connection received. Blocks its thread.
pub(super) struct PipeReader {
    receiver: mpsc::Receiver<io::Result<Bytes>>,
    piece: Bytes,
}

impl Read for PipeReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.piece.is_empty() {
            match self.receiver.blocking_recv() {
                Some(piece) => self.piece = piece?,
                None => return Ok(0),
            }
        }
        let length = self.piece.len().min(buffer.len());
        self.piece.copy_to_slice(buffer.get_mut(..length).unwrap_or_default());
        Ok(length)
    }
}

/// Writes what a connection sends. Blocks its thread. Dropping it without a flush loses what it
/// holds.
pub(super) struct PipeWriter {
    sender: mpsc::Sender<Bytes>,
    piece: BytesMut,
}

impl Write for PipeWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.piece.len() >= PIECE {
            self.flush()?;
        }
        let length = bytes.len().min(PIECE);
        self.piece.extend_from_slice(bytes.get(..length).unwrap_or_default());
        Ok(length)
    }

    fn flush(&mut self) -> io::Result<()> {
        let piece = std::mem::replace(&mut self.piece, BytesMut::with_capacity(PIECE)).freeze();
        match piece.is_empty() {
            true => Ok(()),
            false => {
                self.sender.blocking_send(piece).map_err(|_closed| io::ErrorKind::BrokenPipe.into())
            }
        }
    }
}
