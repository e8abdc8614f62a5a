//! A session over the standard input and output of this process: an agent's host has started it.

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

/// How much is read at once.
const PIECE: usize = 64 * 1024;

/// Serves the one session that there is.
pub(super) async fn serve(inner: Arc<Inner>) -> io::Result<()> {
    // No limit for a host that does not read: it has nobody else to keep waiting, and backpressure
    // bounds what waits for it.
    let limits = Limits { opening: None, stall: None, message: inner.max_message };
    let streams = (Stdin::open()?, tokio::io::stdout());
    match session::serve(inner, None, streams, limits, None).await {
        End::Closed => Ok(()),
        End::TooLong => Err(io::Error::new(io::ErrorKind::InvalidData, "a message had no end")),
        End::Broken => Err(io::ErrorKind::BrokenPipe.into()),
    }
}

/// The standard input, read by a thread of its own. Tokio's would keep a runtime from ending until
/// the next line comes.
struct Stdin {
    pieces: mpsc::Receiver<io::Result<Bytes>>,
    rest: Bytes,
}

impl Stdin {
    fn open() -> io::Result<Self> {
        let (sender, pieces) = mpsc::channel(1);
        thread::Builder::new()
            .name("connectivity-mcp-stdin".to_owned())
            .spawn(move || read(&sender))?;
        Ok(Self { pieces, rest: Bytes::new() })
    }
}

/// Reads until the input ends, or nobody wants it.
fn read(sender: &mpsc::Sender<io::Result<Bytes>>) {
    let mut piece = vec![0; PIECE];
    loop {
        let read = match io::stdin().lock().read(&mut piece) {
            Ok(0) => return,
            Ok(read) => Ok(Bytes::copy_from_slice(&piece[..read])),
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
            match ready!(self.pieces.poll_recv(cx)) {
                Some(piece) => self.rest = piece?,
                None => return Poll::Ready(Ok(())),
            }
        }
        let taken = self.rest.len().min(buffer.remaining());
        buffer.put_slice(&self.rest[..taken]);
        self.rest.advance(taken);
        Poll::Ready(Ok(()))
    }
}
