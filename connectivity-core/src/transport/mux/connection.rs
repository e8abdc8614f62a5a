//! The client's side of one stream: a task that writes, a task that reads, and the calls between them.

use std::any::Any;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::{Notify, mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio::time::{Instant, Interval, MissedTickBehavior};

use super::pending::{Pending, Taken};
use super::request::Outgoing;
use crate::codec::Codec;
use crate::transport::wire::{
    ClientNames, Decoder, Encoder, Failure, Frame, MAX_SMALL_FRAME, RequestHead, Role, write_preamble,
};

/// The most calls that wait on one connection.
const MAX_IN_FLIGHT: usize = 16 * 1024;

/// Above this many calls in flight the writer lets other tasks run once before it writes, so that one write carries many
/// frames; below, the pause would cost more than it saves.
const BATCH_FROM: usize = 16;

/// How often the writer looks whether the other side is alive. After one silent look it asks, after the next it gives up: a dead
/// peer is known within three looks.
const LOOK: Duration = Duration::from_millis(1500);

/// How long writing may take, beside the time for its bytes at the slowest rate that counts as progress.
const STUCK: Duration = Duration::from_millis(4500);

/// Bytes a second below which the other side does not read.
const SLOWEST: u64 = 256 * 1024;

/// How long a large request may wait for its turn on the other side.
const TURN: Duration = Duration::from_secs(30);

/// How a call on a connection ended.
#[derive(Debug)]
pub(crate) enum Outcome {
    Reply {
        codec: Option<Codec>,
        app_error: bool,
        body: Bytes,
    },
    Failure(Failure),
    /// The reply is over its limit.
    TooLarge,
    /// The connection broke, or is at its limit, before the request left.
    NotSent,
    /// The connection broke while the call waited: it may have run.
    Lost(String),
    /// Too many calls wait already.
    Overloaded,
}

enum Work {
    Call {
        call: u64,
        outgoing: Outgoing,
        answer: oneshot::Sender<Outcome>,
        place: Place,
    },
    /// Asks for a sign of life.
    #[cfg(feature = "quic")]
    Ping,
    /// The caller has gone.
    Cancel(u64),
    /// The call has ended here, and its reply still comes in.
    Stop(u64),
    Pong(u64),
}

/// A stream that calls share.
pub(crate) struct Connection {
    work: mpsc::UnboundedSender<Work>,
    shared: Arc<Shared>,
    next: AtomicU64,
}

struct Shared {
    pending: Pending,
    in_flight: AtomicUsize,
    /// Counts reads, so that the writer sees whether the other side is alive.
    reads: AtomicU64,
    /// The other side asked for no more calls.
    leaving: AtomicBool,
    /// Tells the writer that it may have nothing left to do.
    left: Notify,
    /// Tells who waits for the first sign of life, or for the end.
    alive: Notify,
}

impl Shared {
    fn leave(&self) {
        self.leaving.store(true, Ordering::Release);
        self.left.notify_one();
    }

    fn close(&self, why: &str) {
        self.pending.close(why);
        self.alive.notify_waiters();
    }

    /// Says whether the connection can be closed without losing a call.
    fn is_done(&self) -> bool {
        self.leaving.load(Ordering::Acquire) && self.in_flight.load(Ordering::Acquire) == 0
    }
}

impl Connection {
    /// Takes a stream into use on this runtime. `owner` lives as long as the connection does.
    pub(crate) fn start<R, W>(reader: R, writer: W, role: Role, owner: impl Any + Send) -> Self
    where
        R: AsyncRead + Unpin + Send + 'static,
        W: AsyncWrite + Unpin + Send + 'static,
    {
        let (work, queue) = mpsc::unbounded_channel();
        let shared = Arc::new(Shared {
            pending: Pending::default(),
            in_flight: AtomicUsize::new(0),
            reads: AtomicU64::new(0),
            leaving: AtomicBool::new(false),
            left: Notify::new(),
            alive: Notify::new(),
        });
        let mut encoder = Encoder::default();
        encoder.buffer().extend_from_slice(&write_preamble(role));
        let (reading, pongs) = (Arc::clone(&shared), work.downgrade());
        let reading = tokio::spawn(async move {
            let _end = EndOf(Arc::clone(&reading));
            let why = read(&reading, reader, &pongs).await;
            reading.close(&why);
        });
        let (names, patience) = (ClientNames::default(), Patience::of(role));
        let mut writing = Writing { shared: Arc::clone(&shared), names, encoder, reading: Some(reading), patience };
        tokio::spawn(async move {
            let _owner = owner;
            let _end = EndOf(Arc::clone(&writing.shared));
            writing.run(queue, writer).await;
        });
        Self { work, shared, next: AtomicU64::new(1) }
    }

    /// Says whether a new call may go on this connection.
    pub(crate) fn is_usable(&self) -> bool {
        !self.shared.leaving.load(Ordering::Relaxed) && !self.work.is_closed() && !self.shared.pending.is_closed()
    }

    /// Says why the connection broke, if it did.
    pub(crate) fn closed(&self) -> Option<String> {
        self.shared.pending.closed()
    }

    /// Waits until the other side has answered for the first time: until then it may still refuse the connection.
    ///
    /// # Errors
    /// Why the connection ended instead.
    #[cfg(feature = "quic")]
    pub(crate) async fn ready(&self) -> Result<(), String> {
        let _ = self.work.send(Work::Ping);
        loop {
            let alive = self.shared.alive.notified();
            if let Some(why) = self.closed() {
                return Err(why);
            }
            if self.shared.reads.load(Ordering::Relaxed) > 0 {
                return Ok(());
            }
            alive.await;
        }
    }

    /// Sends a call and waits for how it ends. Dropping the future cancels the call on the other side too.
    pub(crate) async fn call(&self, outgoing: Outgoing) -> Outcome {
        let Some(place) = Place::take(&self.shared) else { return Outcome::Overloaded };
        let call = self.next.fetch_add(1, Ordering::Relaxed);
        let (answer, answered) = oneshot::channel();
        if self.work.send(Work::Call { call, outgoing, answer, place }).is_err() {
            return Outcome::NotSent;
        }
        let mut cancel = CancelOnDrop { call: Some(call), work: &self.work };
        let outcome = answered.await;
        cancel.call = None;
        // The writer drops what it has not sent; everything it has sent is told by `Pending`.
        outcome.unwrap_or(Outcome::NotSent)
    }
}

impl std::fmt::Debug for Connection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Connection").field("closed", &self.closed()).finish_non_exhaustive()
    }
}

/// A call that counts as in flight: from when it is queued until it was answered, or forgotten by the writer.
pub(super) struct Place(Arc<Shared>);

impl Place {
    fn take(shared: &Arc<Shared>) -> Option<Self> {
        let place = Self(Arc::clone(shared));
        (shared.in_flight.fetch_add(1, Ordering::Relaxed) < MAX_IN_FLIGHT).then_some(place)
    }
}

impl std::fmt::Debug for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Place")
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.in_flight.fetch_sub(1, Ordering::AcqRel);
        if self.0.is_done() {
            self.0.left.notify_one();
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

/// The task that writes.
struct Writing {
    shared: Arc<Shared>,
    names: ClientNames,
    encoder: Encoder,
    /// The other task, until it has ended.
    reading: Option<JoinHandle<()>>,
    patience: Patience,
}

/// How long the writer waits for the other side.
#[derive(Clone, Copy)]
struct Patience {
    /// Whether silence means anything: on a stream with one large request nothing comes back before it was read whole.
    looks: bool,
    /// How long a write may be stuck, beside the time that its length takes.
    stuck: Duration,
}

impl Patience {
    fn of(role: Role) -> Self {
        match role {
            Role::Shared => Self { looks: true, stuck: STUCK },
            Role::Single => Self { looks: false, stuck: STUCK + TURN },
        }
    }
}

impl Writing {
    async fn run(&mut self, mut queue: mpsc::UnboundedReceiver<Work>, mut writer: impl AsyncWrite + Unpin) {
        let mut looks = tokio::time::interval_at(Instant::now() + LOOK, LOOK);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut watch = Watch::default();
        let why = loop {
            if let Err(why) = self.flush(&mut writer).await {
                break why;
            }
            match self.next(&mut queue, &mut looks, &mut watch).await {
                Ok(true) => {}
                Ok(false) => break "nobody needs the connection any more".to_owned(),
                Err(why) => break why,
            }
        };
        self.shared.close(&why);
        // What waits in the queue was not sent, and hears so now.
        drop(queue);
        // A moment for the other side to close in its turn; one that is stuck must not keep the socket.
        let goodbye = async {
            let _ = writer.shutdown().await;
            if self.reading.is_some() {
                ended(&mut self.reading).await;
            }
        };
        let stuck = tokio::time::timeout(LOOK, goodbye).await.is_err();
        if let Some(reading) = self.reading.take().filter(|_| stuck) {
            reading.abort();
        }
    }

    /// Waits for something to write and encodes it, with all that came meanwhile. False when nothing will come any more.
    async fn next(
        &mut self,
        queue: &mut mpsc::UnboundedReceiver<Work>,
        looks: &mut Interval,
        watch: &mut Watch,
    ) -> Result<bool, String> {
        let first = tokio::select! {
            biased;
            work = queue.recv() => work,
            () = ended(&mut self.reading) => return Err(self.shared.pending.closed().unwrap_or_default()),
            () = self.shared.left.notified() => return Ok(!self.shared.is_done()),
            _ = looks.tick(), if self.patience.looks => return self.look(watch).map(|()| true),
        };
        let Some(first) = first else { return Ok(false) };
        if self.shared.in_flight.load(Ordering::Relaxed) > BATCH_FROM {
            tokio::task::yield_now().await;
        }
        self.encode(first);
        while let Ok(work) = queue.try_recv() {
            self.encode(work);
        }
        if self.shared.pending.is_closed() {
            return Err(self.shared.pending.closed().unwrap_or_default());
        }
        Ok(true)
    }

    fn look(&mut self, watch: &mut Watch) -> Result<(), String> {
        match watch.look(self.shared.reads.load(Ordering::Relaxed)) {
            0 => Ok(()),
            1 => {
                self.encoder.ping(0);
                Ok(())
            }
            _ => Err("the other side does not answer".to_owned()),
        }
    }

    async fn flush(&mut self, writer: &mut (impl AsyncWrite + Unpin)) -> Result<(), String> {
        if self.encoder.is_empty() {
            return Ok(());
        }
        let mut bytes = self.encoder.buffer().split();
        let seconds = bytes.len() as u64 / SLOWEST;
        let end = Instant::now() + self.patience.stuck + Duration::from_secs(seconds);
        while !bytes.is_empty() {
            let written = tokio::time::timeout_at(end, writer.write_buf(&mut bytes)).await;
            match written {
                Ok(Ok(0)) | Err(_) => return Err("the other side does not read".to_owned()),
                Ok(Ok(_)) => {}
                Ok(Err(cause)) => return Err(format!("cannot write: {cause}")),
            }
        }
        writer.flush().await.map_err(|cause| format!("cannot write: {cause}"))
    }

    fn encode(&mut self, work: Work) {
        match work {
            Work::Call { call, outgoing, answer, place } => self.encode_call(call, &outgoing, (answer, place)),
            Work::Cancel(call) if self.shared.pending.forget(call) => self.encoder.cancel(call),
            Work::Cancel(_) => {}
            Work::Stop(call) => self.encoder.cancel(call),
            #[cfg(feature = "quic")]
            Work::Ping => self.encoder.ping(0),
            Work::Pong(nonce) => self.encoder.pong(nonce),
        }
    }

    fn encode_call(&mut self, call: u64, outgoing: &Outgoing, (answer, place): (oneshot::Sender<Outcome>, Place)) {
        if answer.is_closed() {
            return;
        }
        let Some((method, is_new)) = self.names.number(&outgoing.name) else {
            // More methods than a connection has numbers for: let it end, and begin anew on the next one.
            self.shared.leave();
            return;
        };
        if self.shared.pending.insert(call, outgoing.max_reply, answer, place).is_err() {
            return;
        }
        let fingerprint = || outgoing.method.map_or(0, |method| method.fingerprint());
        let declaration = is_new.then(|| (outgoing.name.as_str(), fingerprint()));
        // The clock is read for each call: one that is older than the call would give it more time than it has.
        let (now, context) = (Instant::now(), &outgoing.context);
        let head = RequestHead { call, method, declaration, codec: outgoing.codec, context, now };
        self.encoder.request(&head, &outgoing.body);
    }
}

/// Waits until the other task has ended; for ever, if that was seen before.
async fn ended(reading: &mut Option<JoinHandle<()>>) {
    match reading {
        Some(task) => {
            let _ = task.await;
            *reading = None;
        }
        None => std::future::pending().await,
    }
}

/// Counts the looks since something was read.
#[derive(Default)]
struct Watch {
    reads: u64,
    silent: u32,
}

impl Watch {
    fn look(&mut self, reads: u64) -> u32 {
        self.silent = if reads == self.reads { self.silent + 1 } else { 0 };
        self.reads = reads;
        self.silent
    }
}

/// The task that reads: until the stream ends, and says why it did.
async fn read(shared: &Shared, mut reader: impl AsyncRead + Unpin, work: &mpsc::WeakUnboundedSender<Work>) -> String {
    let decoder = Decoder::new(MAX_SMALL_FRAME);
    let mut buffer = BytesMut::with_capacity(64 * 1024);
    loop {
        match reader.read_buf(&mut buffer).await {
            Ok(0) => return "the other side closed the connection".to_owned(),
            Ok(_) => {}
            Err(cause) => return format!("cannot read: {cause}"),
        }
        if shared.reads.fetch_add(1, Ordering::Relaxed) == 0 {
            shared.alive.notify_waiters();
        }
        loop {
            match decoder.decode(&mut buffer) {
                Ok(Some(frame)) => take(shared, frame, work),
                Ok(None) => break,
                Err(cause) => return format!("the other side does not speak this protocol: {cause}"),
            }
        }
        buffer.reserve(16 * 1024);
    }
}

fn take(shared: &Shared, frame: Frame, work: &mpsc::WeakUnboundedSender<Work>) {
    // The writer may have ended already; then there is nobody to tell.
    let tell = |item| work.upgrade().is_some_and(|work| work.send(item).is_ok());
    match frame {
        Frame::Goaway => shared.leave(),
        Frame::Ping { nonce } => _ = tell(Work::Pong(nonce)),
        Frame::Reply(_) | Frame::Part { .. } | Frame::Failure(_) => {
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
mod tests {
    use super::*;

    /// Tells how the task ended that owned it.
    struct Owner(Option<oneshot::Sender<bool>>);

    impl Drop for Owner {
        fn drop(&mut self) {
            let _ = self.0.take().map(|ended| ended.send(std::thread::panicking()));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_that_the_other_side_closes_ends_in_order() {
        let (ours, mut theirs) = tokio::io::duplex(1024);
        let (reader, writer) = tokio::io::split(ours);
        let (ended, panicked) = oneshot::channel();
        let connection = Connection::start(reader, writer, Role::Shared, Owner(Some(ended)));
        // With the preamble read, the writer waits, and hears of the end from the reader.
        theirs.read_exact(&mut [0; 8]).await.unwrap();
        drop(theirs);
        assert!(!panicked.await.unwrap());
        assert_eq!(connection.closed().unwrap(), "the other side closed the connection");
    }
}
