//! The client's side of one stream: a task that writes, a task that reads, and the calls between
//! them.

use std::any::Any;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::{Notify, mpsc, oneshot};

use super::pending::{Pending, Taken};
use super::request::Outgoing;
use super::writer::Writing;
use crate::call::BoxFuture;
use crate::codec::Codec;
use crate::mux::frame::{CallFailure, Decoder, Frame, MAX_SMALL_FRAME, Role};
use crate::mux::read_buffer::ReadBuffer;
use crate::transport::link::Connected;

/// The most calls that wait on one connection, and the bytes of their bodies: the other side may
/// read slowly.
const MAX_IN_FLIGHT: usize = 16 * 1024;
const MAX_BYTES: usize = 256 << 20;

/// A read of so many bytes is part of a long reply: other tasks have a turn before the next one.
const LONG: usize = 32 * 1024;

/// Where a connection's task reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Feed {
    /// At the socket itself.
    #[cfg(any(feature = "unix", test))]
    Socket,
    /// What another task has read there. That one gives others their turns; if this one did too, it
    /// would only come late.
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

/// How a call on a connection ended.
#[derive(Debug)]
pub(crate) enum CallOutcome {
    Reply {
        codec: Option<Codec>,
        app_error: bool,
        body: Bytes,
    },
    CallFailure(CallFailure),
    /// The reply is over its limit.
    TooLarge,
    /// The connection broke, or is at its limit, before the request left.
    NotSent,
    /// The connection broke while the call waited: it may have run.
    Lost(String),
    /// The connection broke before the whole request was written: it did not run.
    CutOff(String),
    /// Too many calls wait already.
    Overloaded,
}

/// What the writer is to do.
pub(super) enum Work {
    Call {
        call: u64,
        outgoing: Outgoing,
        answer: oneshot::Sender<CallOutcome>,
        place: InFlightPermit,
    },
    /// Asks for a sign of life.
    Ping,
    /// The caller has gone.
    Cancel(u64),
    /// The call has ended here, and its reply still comes in.
    Stop(u64),
    /// Answers the last ping.
    Pong,
}

/// A stream that calls share.
pub(crate) struct Connection {
    work: mpsc::UnboundedSender<Work>,
    shared: Arc<Shared>,
    next: AtomicU64,
    /// Says, once the connection is lost, whether the other side never saw it.
    unserved: Option<Box<dyn Fn() -> bool + Send + Sync>>,
}

/// What the tasks of a connection share with its callers.
pub(super) struct Shared {
    pub(super) pending: Pending,
    pub(super) in_flight: AtomicUsize,
    /// Bytes of the bodies of calls in flight.
    bytes: AtomicUsize,
    /// The last ping that has not been answered. A peer that pings without end gets one pong at a
    /// time.
    pong: Mutex<Option<u64>>,
    /// On a stream for one call: whether its request has been written as a whole.
    pub(super) written: AtomicBool,
    /// Counts reads, so that the writer sees whether the other side is alive.
    pub(super) reads: AtomicU64,
    /// The other side asked for no more calls.
    leaving: AtomicBool,
    /// Tells the writer that it may have nothing left to do.
    pub(super) left: Notify,
    /// Tells who waits for the first sign of life, or for the end.
    turn: Notify,
}

impl Shared {
    pub(super) fn leave(&self) {
        self.leaving.store(true, Ordering::Release);
        self.left.notify_one();
        self.turn.notify_waiters();
    }

    pub(super) fn close(&self, why: &str) {
        self.pending.close(why);
        self.turn.notify_waiters();
    }

    /// The ping to answer.
    pub(super) fn pong(&self) -> MutexGuard<'_, Option<u64>> {
        self.pong.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_usable(&self) -> bool {
        !self.leaving.load(Ordering::Relaxed) && !self.pending.is_closed()
    }

    /// Says whether the connection can be closed without losing a call.
    pub(super) fn is_done(&self) -> bool {
        self.leaving.load(Ordering::Acquire) && self.in_flight.load(Ordering::Acquire) == 0
    }
}

impl Connection {
    /// Takes a stream into use on this runtime. `owner` lives as long as the connection does.
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
        let shared = Arc::new(Shared {
            pending: Pending::default(),
            in_flight: AtomicUsize::new(0),
            bytes: AtomicUsize::new(0),
            pong: Mutex::default(),
            written: AtomicBool::new(role == Role::Shared),
            reads: AtomicU64::new(0),
            leaving: AtomicBool::new(false),
            left: Notify::new(),
            turn: Notify::new(),
        });
        let (reading, pongs) = (Arc::clone(&shared), work.downgrade());
        let reading = tokio::spawn(async move {
            let _end = EndOf(Arc::clone(&reading));
            let why = read(&reading, feed, reader, &pongs).await;
            reading.close(&why);
        });
        let end = EndOf(Arc::clone(&shared));
        let mut writing = Writing::new(Arc::clone(&shared), reading, role);
        tokio::spawn(async move {
            let (_owner, _end) = (owner, end);
            writing.run(queue, writer).await;
        });
        Self { work, shared, next: AtomicU64::new(1), unserved: None }
    }

    /// Says how to find out, when the connection is lost, that the other side never saw it: then
    /// its call did not run.
    #[cfg(feature = "quic")]
    pub(crate) fn with_unserved(self, unserved: impl Fn() -> bool + Send + Sync + 'static) -> Self {
        Self { unserved: Some(Box::new(unserved)), ..self }
    }

    /// Waits until the other side has answered for the first time: until then it may still refuse
    /// the connection.
    ///
    /// # Errors
    /// Why the connection ended instead.
    pub(crate) async fn ready(&self) -> Result<(), String> {
        let _ = self.work.send(Work::Ping);
        loop {
            let turn = self.shared.turn.notified();
            if let Some(why) = self.closed() {
                return Err(why);
            }
            if self.shared.reads.load(Ordering::Relaxed) > 0 {
                return Ok(());
            }
            turn.await;
        }
    }

    /// Sends a call and waits for how it ends. Dropping the future cancels the call on the other
    /// side too.
    pub(crate) async fn call(&self, outgoing: Outgoing) -> CallOutcome {
        let Some(place) = InFlightPermit::take(&self.shared, outgoing.body.len()) else {
            return CallOutcome::Overloaded;
        };
        let call = self.next.fetch_add(1, Ordering::Relaxed);
        let (answer, answered) = oneshot::channel();
        if self.work.send(Work::Call { call, outgoing, answer, place }).is_err() {
            return CallOutcome::NotSent;
        }
        let mut cancel = CancelOnDrop { call: Some(call), work: &self.work };
        let outcome = answered.await;
        cancel.call = None;
        match outcome {
            Ok(CallOutcome::Lost(_))
                if self.unserved.as_ref().is_some_and(|unserved| unserved()) =>
            {
                CallOutcome::NotSent
            }
            Ok(CallOutcome::Lost(why)) if !self.shared.written.load(Ordering::Acquire) => {
                CallOutcome::CutOff(why)
            }
            Ok(outcome) => outcome,
            // The writer drops what it has not sent; everything it has sent is told by `Pending`.
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
                let turn = shared.turn.notified();
                if !shared.is_usable() {
                    return;
                }
                turn.await;
            }
        })
    }
}

impl std::fmt::Debug for Connection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Connection").field("closed", &self.closed()).finish_non_exhaustive()
    }
}

/// A call that counts as in flight: from when it is queued until it was answered, or forgotten by
/// the writer.
pub(super) struct InFlightPermit {
    shared: Arc<Shared>,
    bytes: usize,
}

impl InFlightPermit {
    fn take(shared: &Arc<Shared>, bytes: usize) -> Option<Self> {
        let place = Self { shared: Arc::clone(shared), bytes };
        let calls = shared.in_flight.fetch_add(1, Ordering::Relaxed);
        let before = shared.bytes.fetch_add(bytes, Ordering::Relaxed);
        (calls < MAX_IN_FLIGHT && before < MAX_BYTES).then_some(place)
    }
}

impl std::fmt::Debug for InFlightPermit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("InFlightPermit")
    }
}

impl Drop for InFlightPermit {
    fn drop(&mut self) {
        self.shared.bytes.fetch_sub(self.bytes, Ordering::Relaxed);
        self.shared.in_flight.fetch_sub(1, Ordering::AcqRel);
        if self.shared.is_done() {
            self.shared.left.notify_one();
        }
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

/// Closes the connection when one of its tasks ends, also when its runtime takes the task away.
struct EndOf(Arc<Shared>);

impl Drop for EndOf {
    fn drop(&mut self) {
        self.0.close("the connection's runtime ended");
    }
}

/// The task that reads: until the stream ends, and says why it did.
async fn read(
    shared: &Shared,
    feed: Feed,
    mut reader: impl AsyncRead + Unpin,
    work: &mpsc::WeakUnboundedSender<Work>,
) -> String {
    let decoder = Decoder::new(MAX_SMALL_FRAME);
    let mut read_buffer = ReadBuffer::default();
    loop {
        // A stream of QUIC has no budget of its own: one that always has more must not keep the
        // thread.
        tokio::task::consume_budget().await;
        let length = match read_buffer.fill(&mut reader).await {
            Ok(0) => return "the other side closed the connection".to_owned(),
            Ok(length) => length,
            Err(cause) => return format!("cannot read: {cause}"),
        };
        if shared.reads.fetch_add(1, Ordering::Relaxed) == 0 {
            shared.turn.notify_waiters();
        }
        loop {
            match read_buffer.frame(decoder) {
                Ok(Some(frame)) => take(shared, frame, work),
                Ok(None) => break,
                Err(cause) => {
                    return format!("the other side does not speak this protocol: {cause}");
                }
            }
        }
        if length > LONG && feed.is_socket() {
            tokio::task::yield_now().await;
        }
    }
}

fn take(shared: &Shared, frame: Frame, work: &mpsc::WeakUnboundedSender<Work>) {
    // The writer may have ended already; then there is nobody to tell.
    let tell = |item| work.upgrade().is_some_and(|work| work.send(item).is_ok());
    match frame {
        Frame::Goaway => shared.leave(),
        Frame::Ping { nonce } if shared.pong().replace(nonce).is_none() => _ = tell(Work::Pong),
        Frame::Reply(_) | Frame::Part { .. } | Frame::CallFailure(_) => {
            let call = match &frame {
                Frame::Part { call, .. } => *call,
                _ => 0,
            };
            if shared.pending.take(frame) == Taken::TooLarge {
                tell(Work::Stop(call));
            }
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests;
