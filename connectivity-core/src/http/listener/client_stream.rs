//! The stream of an untrusted client: a write times out when the client does not read its response,
//! and the close lets a response through to a client that is still sending.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep};

/// How long a closed connection goes on reading what its client still sends.
const LINGER: Duration = Duration::from_secs(2);

/// Limits the time for which a write may make no progress; the timer runs only while a write is
/// stuck.
///
/// Closing a socket with unread input resets the connection, and the reset can overtake the
/// response: a client that sends too much would never read its 413. So `shutdown` closes the write
/// half first, and discards input for a moment (RFC 9112, 9.6).
pub(super) struct ClientStream<S> {
    stream: S,
    limit: Duration,
    write_timer: Option<Pin<Box<Sleep>>>,
    linger_timer: Option<Pin<Box<Sleep>>>,
}

impl<S: AsyncWrite + Unpin> ClientStream<S> {
    pub(super) fn new(stream: S, limit: Duration) -> Self {
        Self { stream, limit, write_timer: None, linger_timer: None }
    }

    fn with_timeout<T>(
        &mut self,
        poll: Poll<io::Result<T>>,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<T>> {
        if poll.is_ready() {
            self.write_timer = None;
            return poll;
        }
        let end = Instant::now() + self.limit;
        let write_timer =
            self.write_timer.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(end)));
        ready!(write_timer.as_mut().poll(cx));
        Poll::Ready(Err(io::Error::new(
            io::ErrorKind::TimedOut,
            "the client does not read its answer",
        )))
    }
}

impl<S: AsyncRead + Unpin> ClientStream<S> {
    /// Discards input until the client closes the connection or the time is over.
    fn poll_linger(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let end = Instant::now() + LINGER;
        let linger_timer =
            self.linger_timer.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(end)));
        let mut scratch = [0; 16 * 1024];
        while linger_timer.as_mut().poll(cx).is_pending() {
            let mut buf = ReadBuf::new(&mut scratch);
            match ready!(Pin::new(&mut self.stream).poll_read(cx, &mut buf)) {
                Ok(()) if !buf.filled().is_empty() => {}
                _ => break,
            }
        }
        Poll::Ready(())
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for ClientStream<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for ClientStream<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let poll = Pin::new(&mut self.stream).poll_write(cx, buf);
        self.with_timeout(poll, cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let poll = Pin::new(&mut self.stream).poll_write_vectored(cx, bufs);
        self.with_timeout(poll, cx)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let poll = Pin::new(&mut self.stream).poll_flush(cx);
        self.with_timeout(poll, cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.linger_timer.is_none() {
            let poll = Pin::new(&mut self.stream).poll_shutdown(cx);
            ready!(self.with_timeout(poll, cx))?;
        }
        self.poll_linger(cx).map(Ok)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_write_that_nobody_reads_fails_at_the_limit() {
        let (stream, mut peer) = tokio::io::duplex(16);
        let mut stream = ClientStream::new(stream, Duration::from_secs(15));
        let start = Instant::now();
        let error = stream.write_all(&[0; 64]).await.unwrap_err();
        assert_eq!((error.kind(), start.elapsed().as_secs()), (io::ErrorKind::TimedOut, 15));

        let (slow, mut reader) = tokio::io::duplex(16);
        let mut slow = ClientStream::new(slow, Duration::from_secs(15));
        let reading = tokio::spawn(async move {
            let mut buf = [0; 16];
            for _ in 0..8 {
                tokio::time::sleep(Duration::from_secs(10)).await;
                reader.read_exact(&mut buf).await.unwrap();
            }
        });
        slow.write_all(&[0; 128]).await.unwrap();
        reading.await.unwrap();
        peer.read_exact(&mut [0; 16]).await.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn a_close_lets_the_answer_through_to_a_client_that_still_sends() {
        let (stream, mut client) = tokio::io::duplex(16);
        let mut stream = ClientStream::new(stream, Duration::from_secs(15));
        let client = tokio::spawn(async move {
            client.write_all(&[0; 4096]).await.unwrap();
            let mut answer = Vec::new();
            client.read_to_end(&mut answer).await.unwrap();
            answer
        });
        stream.write_all(b"too large").await.unwrap();
        stream.shutdown().await.unwrap();
        assert_eq!(client.await.unwrap(), b"too large");

        let (stream, _silent) = tokio::io::duplex(16);
        let start = Instant::now();
        ClientStream::new(stream, Duration::from_secs(15)).shutdown().await.unwrap();
        assert_eq!(start.elapsed(), LINGER);
    }
}
