//! Client side of one stream: a task that writes, a task that reads, and the calls they share.

use std::any::Any;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::{mpsc, oneshot};

use super::pending::Delivery;
use super::request::{CallOutcome, Outgoing};
use super::shared::{Shared, Work};
use super::writer::StreamWriter;
use crate::call::BoxFuture;
use crate::mux::frame::{Decoder, Frame, MAX_SMALL_FRAME, Role};
use crate::mux::read_buffer::ReadBuffer;
use crate::transport::link::Connected;

/// A read of this many bytes is part of a long reply: yield to other tasks before the next read.
const LONG_READ: usize = 32 * 1024;

/// The source of a connection's bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Feed {
    /// The task reads from the socket itself.
    #[cfg(any(feature = "unix", test))]
    Socket,
    /// The task reads what quinn's task has received. That task yields already; another yield here
    /// would only delay the reads.
    #[cfg(feature = "quic")]
    Task,
}

impl Feed {
    fn is_socket(self) -> bool {
        match self {
            #[cfg(any(feature = "unix", test))]
            Self::Socket => true,
            #[cfg(feature = "quic")]
            Self::Task => false,
        }
    }
}

/// A stream that calls share.
pub(crate) struct Connection {
    work: mpsc::UnboundedSender<Work>,
    shared: Arc<Shared>,
    next_call: AtomicU64,
    /// Returns, once the connection is lost, whether the server never saw it.
    unserved: Option<Box<dyn Fn() -> bool + Send + Sync>>,
}

impl Connection {
    /// Starts the tasks of a stream on the current runtime. `owner` is dropped when the connection
    /// ends.
    pub(crate) fn start<R, W>(
        feed: Feed,
        (reader, writer): (R, W),
        role: Role,
        owner: impl Any + Send,
    ) -> Self
    where
        R: AsyncRead + Unpin + Send + 'static,
        W: AsyncWrite + Unpin + Send + 'static,
    {
        let (work, queue) = mpsc::unbounded_channel();
        let shared = Arc::new(Shared::new(role));
        let (reader_shared, weak_work) = (Arc::clone(&shared), work.downgrade());
        let reading = tokio::spawn(async move {
            let _end = CloseOnDrop(Arc::clone(&reader_shared));
            let reason = read(&reader_shared, feed, reader, &weak_work).await;
            reader_shared.close(&reason);
        });
        let end = CloseOnDrop(Arc::clone(&shared));
        let mut stream_writer = StreamWriter::new(Arc::clone(&shared), reading, role);
        tokio::spawn(async move {
            let (_owner, _end) = (owner, end);
            stream_writer.run(queue, writer).await;
        });
        Self { work, shared, next_call: AtomicU64::new(1), unserved: None }
    }

    /// Sets how to find out, once the connection is lost, whether the server never saw the stream.
    /// If so, its call did not run.
    #[cfg(feature = "quic")]
    pub(crate) fn with_unserved(self, unserved: impl Fn() -> bool + Send + Sync + 'static) -> Self {
        Self { unserved: Some(Box::new(unserved)), ..self }
    }

    /// Waits for the first bytes from the server: until then it may still refuse the connection.
    ///
    /// # Errors
    /// The reason why the connection ended instead.
    ///
    /// # Cancel safety
    /// Dropping the future only stops the wait; the ping is still sent.
    pub(crate) async fn ready(&self) -> Result<(), String> {
        let _ = self.work.send(Work::Ping);
        loop {
            let changed = self.shared.state_changed.notified();
            if let Some(reason) = self.closed() {
                return Err(reason);
            }
            if self.shared.reads.load(Ordering::Relaxed) > 0 {
                return Ok(());
            }
            changed.await;
        }
    }

    /// Sends a call and waits for its outcome.
    ///
    /// # Cancel safety
    /// Dropping the future cancels the call on the server too.
    pub(crate) async fn call(&self, outgoing: Outgoing) -> CallOutcome {
        let Some(permit) = self.shared.in_flight.acquire(outgoing.body.len()) else {
            return CallOutcome::Overloaded;
        };
        let call = self.next_call.fetch_add(1, Ordering::Relaxed);
        let (reply_tx, reply_rx) = oneshot::channel();
        if self.work.send(Work::Call { call, outgoing, reply_tx, permit }).is_err() {
            return CallOutcome::NotSent;
        }
        let mut cancel = CancelOnDrop { call: Some(call), work: &self.work };
        let outcome = reply_rx.await;
        cancel.call = None;
        match outcome {
            Ok(CallOutcome::Lost(_))
                if self.unserved.as_ref().is_some_and(|unserved| unserved()) =>
            {
                CallOutcome::NotSent
            }
            Ok(CallOutcome::Lost(reason)) if !self.shared.fully_written.load(Ordering::Acquire) => {
                CallOutcome::CutOff(reason)
            }
            Ok(outcome) => outcome,
            // The writer drops what it has not sent; `Pending` reports the outcome of everything it
            // has sent.
            Err(_dropped) => CallOutcome::NotSent,
        }
    }
}

impl Connected for Connection {
    fn is_usable(&self) -> bool {
        self.shared.is_usable() && !self.work.is_closed()
    }

    fn closed(&self) -> Option<String> {
        self.shared.pending.closed()
    }

    fn ended(&self) -> BoxFuture<'static, ()> {
        let shared = Arc::clone(&self.shared);
        Box::pin(async move {
            loop {
                let changed = shared.state_changed.notified();
                if !shared.is_usable() {
                    return;
                }
                changed.await;
            }
        })
    }
}

impl std::fmt::Debug for Connection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Connection").field("closed", &self.closed()).finish_non_exhaustive()
    }
}

struct CancelOnDrop<'a> {
    call: Option<u64>,
    work: &'a mpsc::UnboundedSender<Work>,
}

impl Drop for CancelOnDrop<'_> {
    fn drop(&mut self) {
        if let Some(call) = self.call {
            let _ = self.work.send(Work::Cancel(call));
        }
    }
}

/// Closes the connection when one of its tasks ends, also when its runtime shuts down.
struct CloseOnDrop(Arc<Shared>);

impl Drop for CloseOnDrop {
    fn drop(&mut self) {
        self.0.close("the connection's runtime ended");
    }
}

/// Reads until the stream ends, and returns the reason.
async fn read(
    shared: &Shared,
    feed: Feed,
    mut reader: impl AsyncRead + Unpin,
    work: &mpsc::WeakUnboundedSender<Work>,
) -> String {
    let decoder = Decoder::new(MAX_SMALL_FRAME);
    let mut read_buffer = ReadBuffer::default();
    loop {
        // A QUIC stream has no coop budget of its own: a stream that always has more bytes must not
        // starve the thread.
        tokio::task::consume_budget().await;
        let length = match read_buffer.fill(&mut reader).await {
            Ok(0) => return "the other side closed the connection".to_owned(),
            Ok(length) => length,
            Err(cause) => return format!("cannot read: {cause}"),
        };
        if shared.reads.fetch_add(1, Ordering::Relaxed) == 0 {
            shared.state_changed.notify_waiters();
        }
        loop {
            match read_buffer.frame(decoder) {
                Ok(Some(frame)) => handle_frame(shared, frame, work),
                Ok(None) => break,
                Err(cause) => {
                    return format!("the other side does not speak this protocol: {cause}");
                }
            }
        }
        if length > LONG_READ && feed.is_socket() {
            tokio::task::yield_now().await;
        }
    }
}

fn handle_frame(shared: &Shared, frame: Frame, work: &mpsc::WeakUnboundedSender<Work>) {
    // If the writer has already ended, the work is dropped.
    let queue_work = |item| work.upgrade().is_some_and(|work| work.send(item).is_ok());
    match frame {
        Frame::Goaway => shared.start_drain(),
        Frame::Ping { nonce } if shared.unanswered_ping().replace(nonce).is_none() => {
            _ = queue_work(Work::Pong)
        }
        Frame::Reply(_) | Frame::Part { .. } | Frame::CallFailure(_) => {
            let call = match &frame {
                Frame::Part { call, .. } => *call,
                _ => 0,
            };
            if shared.pending.deliver(frame) == Delivery::TooLarge {
                queue_work(Work::Stop(call));
            }
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests;
