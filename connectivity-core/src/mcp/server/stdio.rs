//! Session over the standard input and output of this process, which an agent's host has started.

use std::io::{self, Read};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::thread;

use bytes::{Buf, Bytes};
use tokio::io::{AsyncRead, ReadBuf};
use tokio::sync::mpsc;

use super::Inner;
use super::line::End;
use super::session::{self, Limits};

/// Maximum bytes of one read.
const CHUNK_SIZE: usize = 64 * 1024;

/// Serves the only session of this process.
pub(super) async fn serve(inner: Arc<Inner>) -> io::Result<()> {
    // No timeouts: a host that does not read delays no other client, and backpressure bounds the
    // replies that are queued.
    let limits = Limits { open_timeout: None, write_timeout: None, max_message: inner.max_message };
    let streams = (Stdin::open()?, tokio::io::stdout());
    match session::serve(inner, None, streams, limits, None).await {
        End::Closed => Ok(()),
        End::TooLong => Err(io::Error::new(io::ErrorKind::InvalidData, "a message had no end")),
        End::Broken => Err(io::ErrorKind::BrokenPipe.into()),
    }
}

/// Standard input, read by a thread of its own. Tokio's would keep a runtime from shutting down
/// until the next line arrives.
struct Stdin {
    chunks: mpsc::Receiver<io::Result<Bytes>>,
    rest: Bytes,
}

impl Stdin {
    fn open() -> io::Result<Self> {
        let (sender, chunks) = mpsc::channel(1);
        thread::Builder::new()
            .name("connectivity-mcp-stdin".to_owned())
            .spawn(move || read(&sender))?;
        Ok(Self { chunks, rest: Bytes::new() })
    }
}

/// Reads until the input ends or the receiver is dropped.
fn read(sender: &mpsc::Sender<io::Result<Bytes>>) {
    let mut chunk = vec![0; CHUNK_SIZE];
    loop {
        let read = match io::stdin().lock().read(&mut chunk) {
            Ok(0) => return,
            Ok(read) => Ok(Bytes::copy_from_slice(&chunk[..read])),
            Err(cause) if cause.kind() == io::ErrorKind::Interrupted => continue,
            Err(cause) => Err(cause),
        };
        if read.is_err() | sender.blocking_send(read).is_err() {
            return;
        }
    }
}

impl AsyncRead for Stdin {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.rest.is_empty() {
            match ready!(self.chunks.poll_recv(cx)) {
                Some(chunk) => self.rest = chunk?,
                None => return Poll::Ready(Ok(())),
            }
        }
        let taken = self.rest.len().min(buffer.remaining());
        buffer.put_slice(&self.rest[..taken]);
        self.rest.advance(taken);
        Poll::Ready(Ok(()))
    }
}
