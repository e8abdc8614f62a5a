//! Send queue of a session. Messages are sent in the order in which they were queued. The task that
//! queues a message also writes it, unless another task is writing already: a dedicated writer task
//! would have to be woken for each message.

use std::collections::VecDeque;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::{Buf, Bytes};
use tokio::io::{AsyncWrite, AsyncWriteExt};
use tokio::sync::Mutex as AsyncMutex;

/// Observes when its message starts to be sent.
pub(crate) trait SendObserver: Send + Sync {
    /// Called before the first byte is written. Returns false to drop the message instead.
    fn on_sent(&self) -> bool;
}

/// Send queue of a session.
pub(crate) struct SendQueue<W> {
    queue: Mutex<Queue>,
    writing: AsyncMutex<Writing<W>>,
    /// Write timeout: how long the peer may leave written bytes unread.
    write_timeout: Option<Duration>,
}

#[derive(Default)]
struct Queue {
    messages: VecDeque<Outgoing>,
    /// Whether the queue is closed: no more messages are sent.
    closed: bool,
}

struct Outgoing {
    bytes: Bytes,
    observer: Option<Arc<dyn SendObserver>>,
}

struct Writing<W> {
    writer: W,
    /// Unwritten rest of the current message. It stays here if the writing task is dropped midway.
    unwritten: Bytes,
}

impl<W: AsyncWrite + Unpin> SendQueue<W> {
    pub(crate) fn new(writer: W, write_timeout: Option<Duration>) -> Self {
        let writing = Writing { writer, unwritten: Bytes::new() };
        Self { queue: Mutex::default(), writing: AsyncMutex::new(writing), write_timeout }
    }

    /// Queues a message and adds a newline to it.
    ///
    /// # Errors
    /// Fails if the queue is closed.
    pub(crate) fn push(
        &self,
        mut message: Vec<u8>,
        observer: Option<Arc<dyn SendObserver>>,
    ) -> io::Result<()> {
        message.push(b'\n');
        let mut queue = self.queue();
        if queue.closed {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        queue.messages.push_back(Outgoing { bytes: message.into(), observer });
        Ok(())
    }

    /// Writes the queued messages. If another task is writing, returns at once: that task continues
    /// until the queue is empty.
    ///
    /// # Errors
    /// Fails if the peer does not read or has gone; unwritten messages are dropped.
    ///
    /// # Cancel safety
    /// What a dropped future has not written is left to the next one.
    pub(crate) async fn flush(&self) -> io::Result<()> {
        while !self.queue().messages.is_empty() {
            // The task that holds the lock checks the queue again after it releases it.
            let Ok(mut writing) = self.writing.try_lock() else { return Ok(()) };
            self.write(&mut writing).await?;
        }
        Ok(())
    }

    /// Writes the queued messages and waits until all have been written.
    ///
    /// # Errors
    /// As for [`flush`](Self::flush).
    pub(crate) async fn flush_and_wait(&self) -> io::Result<()> {
        self.write(&mut *self.writing.lock().await).await?;
        // The task that queued a message just now found the writer locked.
        self.flush().await
    }

    /// Writes the queued messages, then shuts down the writer.
    pub(crate) async fn finish(&self) -> io::Result<()> {
        let mut writing = self.writing.lock().await;
        self.write(&mut writing).await?;
        self.queue().closed = true;
        writing.writer.shutdown().await
    }

    async fn write(&self, writing: &mut Writing<W>) -> io::Result<()> {
        let written = self.write_all(writing).await;
        if written.is_err() {
            let mut queue = self.queue();
            queue.closed = true;
            queue.messages.clear();
        }
        written
    }

    async fn write_all(&self, Writing { writer, unwritten }: &mut Writing<W>) -> io::Result<()> {
        loop {
            while !unwritten.is_empty() {
                let written = with_timeout(self.write_timeout, writer.write(unwritten)).await?;
                if written == 0 {
                    return Err(io::ErrorKind::WriteZero.into());
                }
                unwritten.advance(written);
            }
            let Some(next) = self.queue().messages.pop_front() else { break };
            if next.observer.is_none_or(|observer| observer.on_sent()) {
                *unwritten = next.bytes;
            }
        }
        with_timeout(self.write_timeout, writer.flush()).await
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn with_timeout<T>(
    write_timeout: Option<Duration>,
    work: impl Future<Output = io::Result<T>>,
) -> io::Result<T> {
    let stuck =
        |_elapsed| Err(io::Error::new(io::ErrorKind::TimedOut, "the other side does not read"));
    match write_timeout {
        Some(write_timeout) => {
            tokio::time::timeout(write_timeout, work).await.unwrap_or_else(stuck)
        }
        None => work.await,
    }
}

#[cfg(test)]
mod tests {
    use std::pin::Pin;
    use std::task::{Context, Poll};

    use tokio::io::{AsyncReadExt, duplex};

    use super::*;

    #[tokio::test]
    async fn messages_leave_in_order_whoever_writes() {
        let (local, mut peer) = duplex(64);
        let send_queue = Arc::new(SendQueue::new(local, None));
        for n in 0..100 {
            send_queue.push(format!("message {n}").into_bytes(), None).unwrap();
        }
        let writers: Vec<_> = (0..3)
            .map(|_| {
                let send_queue = Arc::clone(&send_queue);
                tokio::spawn(async move { send_queue.flush().await })
            })
            .collect();
        let mut read = String::new();
        let reading = async {
            peer.read_to_string(&mut read).await.unwrap();
        };
        let writing = async {
            for writer in writers {
                writer.await.unwrap().unwrap();
            }
            send_queue.finish().await.unwrap();
        };
        tokio::join!(reading, writing);
        let expected: Vec<_> = (0..100).map(|n| format!("message {n}")).collect();
        assert_eq!(read.lines().collect::<Vec<_>>(), expected);
        assert!(send_queue.push(Vec::new(), None).is_err(), "nothing leaves any more");
    }

    #[tokio::test(start_paused = true)]
    async fn a_writer_that_is_dropped_loses_nothing() {
        let (local, mut peer) = duplex(4);
        let send_queue = SendQueue::new(local, None);
        send_queue.push(b"abcdefgh".to_vec(), None).unwrap();
        let cut = tokio::time::timeout(Duration::from_secs(1), send_queue.flush_and_wait()).await;
        assert!(cut.is_err());
        let mut read = [0; 9];
        let (written, _) = tokio::join!(send_queue.flush_and_wait(), peer.read_exact(&mut read));
        written.unwrap();
        assert_eq!(&read, b"abcdefgh\n");
    }

    struct Unwanted;

    impl SendObserver for Unwanted {
        fn on_sent(&self) -> bool {
            false
        }
    }

    #[tokio::test]
    async fn what_nobody_wants_any_more_does_not_leave() {
        let mut written = Vec::new();
        let send_queue = SendQueue::new(&mut written, None);
        send_queue.push(b"a".to_vec(), None).unwrap();
        send_queue.push(b"b".to_vec(), Some(Arc::new(Unwanted))).unwrap();
        send_queue.push(b"c".to_vec(), None).unwrap();
        send_queue.flush_and_wait().await.unwrap();
        drop(send_queue);
        assert_eq!(written, b"a\nc\n");
    }

    #[tokio::test(start_paused = true)]
    async fn what_comes_while_the_last_is_flushed_leaves_too() {
        let (flushing, mut peer) = Flushing::new();
        let send_queue = Arc::new(SendQueue::new(flushing, None));
        send_queue.push(b"first".to_vec(), None).unwrap();
        let drained = tokio::spawn({
            let send_queue = Arc::clone(&send_queue);
            async move { send_queue.flush_and_wait().await }
        });
        let mut read = [0; 6];
        peer.read_exact(&mut read).await.unwrap();
        send_queue.push(b"second".to_vec(), None).unwrap();
        send_queue.flush().await.unwrap();
        let mut read = [0; 7];
        let second = tokio::time::timeout(Duration::from_secs(10), peer.read_exact(&mut read));
        let (second, drained) = tokio::join!(second, drained);
        second.expect("it leaves by itself").unwrap();
        drained.unwrap().unwrap();
        assert_eq!(&read, b"second\n");
    }

    /// Completes a flush only after other tasks have run, as standard output does.
    struct Flushing {
        inner: tokio::io::DuplexStream,
        turned: bool,
    }

    impl Flushing {
        fn new() -> (Self, tokio::io::DuplexStream) {
            let (local, peer) = duplex(64);
            (Self { inner: local, turned: false }, peer)
        }
    }

    impl AsyncWrite for Flushing {
        fn poll_write(
            mut self: Pin<&mut Self>,
            cx: &mut Context<'_>,
            bytes: &[u8],
        ) -> Poll<io::Result<usize>> {
            Pin::new(&mut self.inner).poll_write(cx, bytes)
        }

        fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
            self.turned = !self.turned;
            if self.turned {
                let waker = cx.waker().clone();
                tokio::spawn(async move {
                    for _ in 0..10 {
                        tokio::task::yield_now().await;
                    }
                    waker.wake();
                });
                return Poll::Pending;
            }
            Poll::Ready(Ok(()))
        }

        fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
            Pin::new(&mut self.inner).poll_shutdown(cx)
        }
    }

    #[tokio::test(start_paused = true)]
    async fn who_does_not_read_is_given_up() {
        let (local, _peer) = duplex(4);
        let send_queue = SendQueue::new(local, Some(Duration::from_secs(10)));
        send_queue.push(b"abcdefgh".to_vec(), None).unwrap();
        assert_eq!(send_queue.flush().await.unwrap_err().kind(), io::ErrorKind::TimedOut);
        assert!(send_queue.push(b"more".to_vec(), None).is_err());
    }
}
