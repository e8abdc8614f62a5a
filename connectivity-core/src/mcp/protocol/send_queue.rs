//! The way out of a session. Messages leave in the order in which they were put in; whoever puts
//! one in also writes, unless somebody does already: a task of its own for writing would be one
//! more to wake for each message.

use std::collections::VecDeque;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::{Buf, Bytes};
use tokio::io::{AsyncWrite, AsyncWriteExt};
use tokio::sync::Mutex as AsyncMutex;

/// Hears when its message begins to leave.
pub(crate) trait SendObserver: Send + Sync {
    /// Returns whether it is still wanted to.
    fn on_sent(&self) -> bool;
}

/// The outbox.
pub(crate) struct SendQueue<W> {
    waiting: Mutex<Waiting>,
    writing: AsyncMutex<Writing<W>>,
    /// How long the other side may leave what is written unread.
    stall: Option<Duration>,
}

#[derive(Default)]
struct Waiting {
    messages: VecDeque<Outgoing>,
    /// Nothing leaves any more.
    is_over: bool,
}

struct Outgoing {
    bytes: Bytes,
    observer: Option<Arc<dyn SendObserver>>,
}

struct Writing<W> {
    writer: W,
    /// What is left of the message that is leaving; who writes it may be dropped in the middle.
    rest: Bytes,
}

impl<W: AsyncWrite + Unpin> SendQueue<W> {
    pub(crate) fn new(writer: W, stall: Option<Duration>) -> Self {
        let writing = Writing { writer, rest: Bytes::new() };
        Self { waiting: Mutex::default(), writing: AsyncMutex::new(writing), stall }
    }

    /// Puts a message in, to which a newline is added.
    ///
    /// # Errors
    /// When nothing leaves any more.
    pub(crate) fn put(
        &self,
        mut message: Vec<u8>,
        observer: Option<Arc<dyn SendObserver>>,
    ) -> io::Result<()> {
        message.push(b'\n');
        let mut waiting = self.waiting();
        if waiting.is_over {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        waiting.messages.push_back(Outgoing { bytes: message.into(), observer });
        Ok(())
    }

    /// Writes what is there, unless somebody does: then that one goes on until there is nothing.
    ///
    /// # Errors
    /// When the other side does not read, or has gone; what was not written is dropped.
    ///
    /// # Cancel safety
    /// What a dropped future has not written waits for the next one.
    pub(crate) async fn flush(&self) -> io::Result<()> {
        while !self.waiting().messages.is_empty() {
            // Whoever gives it back looks again.
            let Ok(mut writing) = self.writing.try_lock() else { return Ok(()) };
            self.write(&mut writing).await?;
        }
        Ok(())
    }

    /// Writes what is there, and waits until it has left.
    ///
    /// # Errors
    /// As for [`flush`](Self::flush).
    pub(crate) async fn drained(&self) -> io::Result<()> {
        self.write(&mut *self.writing.lock().await).await?;
        // What came in the last moment found the writer taken.
        self.flush().await
    }

    /// Says the other side that no more comes, after what is there.
    pub(crate) async fn finish(&self) -> io::Result<()> {
        let mut writing = self.writing.lock().await;
        self.write(&mut writing).await?;
        self.waiting().is_over = true;
        writing.writer.shutdown().await
    }

    async fn write(&self, writing: &mut Writing<W>) -> io::Result<()> {
        let written = self.write_all(writing).await;
        if written.is_err() {
            let mut waiting = self.waiting();
            waiting.is_over = true;
            waiting.messages.clear();
        }
        written
    }

    async fn write_all(&self, Writing { writer, rest }: &mut Writing<W>) -> io::Result<()> {
        loop {
            while !rest.is_empty() {
                let written = within(self.stall, writer.write(rest)).await?;
                if written == 0 {
                    return Err(io::ErrorKind::WriteZero.into());
                }
                rest.advance(written);
            }
            let Some(next) = self.waiting().messages.pop_front() else { break };
            if next.observer.is_none_or(|observer| observer.on_sent()) {
                *rest = next.bytes;
            }
        }
        within(self.stall, writer.flush()).await
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn within<T>(
    stall: Option<Duration>,
    work: impl Future<Output = io::Result<T>>,
) -> io::Result<T> {
    let stuck =
        |_elapsed| Err(io::Error::new(io::ErrorKind::TimedOut, "the other side does not read"));
    match stall {
        Some(stall) => tokio::time::timeout(stall, work).await.unwrap_or_else(stuck),
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
        let (ours, mut theirs) = duplex(64);
        let send_queue = Arc::new(SendQueue::new(ours, None));
        for n in 0..100 {
            send_queue.put(format!("message {n}").into_bytes(), None).unwrap();
        }
        let writers: Vec<_> = (0..3)
            .map(|_| {
                let send_queue = Arc::clone(&send_queue);
                tokio::spawn(async move { send_queue.flush().await })
            })
            .collect();
        let mut read = String::new();
        let reading = async {
            theirs.read_to_string(&mut read).await.unwrap();
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
        assert!(send_queue.put(Vec::new(), None).is_err(), "nothing leaves any more");
    }

    #[tokio::test(start_paused = true)]
    async fn a_writer_that_is_dropped_loses_nothing() {
        let (ours, mut theirs) = duplex(4);
        let send_queue = SendQueue::new(ours, None);
        send_queue.put(b"abcdefgh".to_vec(), None).unwrap();
        let cut = tokio::time::timeout(Duration::from_secs(1), send_queue.drained()).await;
        assert!(cut.is_err());
        let mut read = [0; 9];
        let (written, _) = tokio::join!(send_queue.drained(), theirs.read_exact(&mut read));
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
        send_queue.put(b"a".to_vec(), None).unwrap();
        send_queue.put(b"b".to_vec(), Some(Arc::new(Unwanted))).unwrap();
        send_queue.put(b"c".to_vec(), None).unwrap();
        send_queue.drained().await.unwrap();
        drop(send_queue);
        assert_eq!(written, b"a\nc\n");
    }

    #[tokio::test(start_paused = true)]
    async fn what_comes_while_the_last_is_flushed_leaves_too() {
        let (flushing, mut theirs) = Flushing::new();
        let send_queue = Arc::new(SendQueue::new(flushing, None));
        send_queue.put(b"first".to_vec(), None).unwrap();
        let drained = tokio::spawn({
            let send_queue = Arc::clone(&send_queue);
            async move { send_queue.drained().await }
        });
        let mut read = [0; 6];
        theirs.read_exact(&mut read).await.unwrap();
        send_queue.put(b"second".to_vec(), None).unwrap();
        send_queue.flush().await.unwrap();
        let mut read = [0; 7];
        let second = tokio::time::timeout(Duration::from_secs(10), theirs.read_exact(&mut read));
        let (second, drained) = tokio::join!(second, drained);
        second.expect("it leaves by itself").unwrap();
        drained.unwrap().unwrap();
        assert_eq!(&read, b"second\n");
    }

    /// Takes one turn of the runtime for each flush, as a standard output does.
    struct Flushing {
        inner: tokio::io::DuplexStream,
        turned: bool,
    }

    impl Flushing {
        fn new() -> (Self, tokio::io::DuplexStream) {
            let (ours, theirs) = duplex(64);
            (Self { inner: ours, turned: false }, theirs)
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
        let (ours, _theirs) = duplex(4);
        let send_queue = SendQueue::new(ours, Some(Duration::from_secs(10)));
        send_queue.put(b"abcdefgh".to_vec(), None).unwrap();
        assert_eq!(send_queue.flush().await.unwrap_err().kind(), io::ErrorKind::TimedOut);
        assert!(send_queue.put(b"more".to_vec(), None).is_err());
    }
}
