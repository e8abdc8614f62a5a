//! The task that writes a client's side of one stream, and looks whether the other side is alive.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use tokio::io::{AsyncWrite, AsyncWriteExt};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio::time::{Instant, Interval, MissedTickBehavior};

use super::connection::{CallOutcome, InFlightPermit, Shared, Work};
use super::request::Outgoing;
use crate::mux::frame::{
    ClientNames, Encoder, KEPT, MAX_SMALL_BODY, RequestHead, Role, write_preamble,
};

/// Above this many calls in flight the writer lets other tasks run once before it writes, so that
/// one write carries many frames; below, the pause would cost more than it saves.
const BATCH_FROM: usize = 16;

/// How often the writer looks whether the other side is alive. After one silent look it asks, after
/// the next it gives up: a dead peer is known within three looks.
const LOOK: Duration = Duration::from_millis(1500);

/// How long writing may take, beside the time for its bytes at the slowest rate that counts as
/// progress.
const STUCK: Duration = Duration::from_millis(4500);

/// Bytes a second below which the other side does not read.
const SLOWEST: u64 = 256 * 1024;

/// After so much of a long request other tasks of the runtime have a turn: a small call of somebody
/// else's is a matter of microseconds.
const PIECE: usize = 64 * 1024;

/// How long a large request may wait for its turn on the other side.
const TURN: Duration = Duration::from_secs(30);

/// The task that writes.
pub(super) struct Writing {
    shared: Arc<Shared>,
    names: ClientNames,
    encoder: Encoder,
    /// The calls whose requests are in `encoder`.
    batch: Vec<u64>,
    /// A large body, which is written behind what is encoded without being copied there.
    body: Bytes,
    /// The other task, until it has ended.
    reading: Option<JoinHandle<()>>,
    patience: Patience,
}

/// Why a batch could not be written, and whether any byte of it was.
struct Stuck {
    why: String,
    wrote: bool,
}

/// How long the writer waits for the other side.
#[derive(Clone, Copy)]
struct Patience {
    /// Whether silence means anything: on a stream with one large request nothing comes back before
    /// it was read whole.
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
    /// Begins with the preamble; `reading` is the task at the other side of the stream.
    pub(super) fn new(shared: Arc<Shared>, reading: JoinHandle<()>, role: Role) -> Self {
        let mut encoder = Encoder::default();
        encoder.buffer().extend_from_slice(&write_preamble(role));
        let (names, patience) = (ClientNames::default(), Patience::of(role));
        Self {
            shared,
            names,
            encoder,
            batch: Vec::new(),
            body: Bytes::new(),
            reading: Some(reading),
            patience,
        }
    }

    /// Writes what comes out of the queue until the connection ends.
    pub(super) async fn run(
        &mut self,
        mut queue: mpsc::UnboundedReceiver<Work>,
        mut writer: impl AsyncWrite + Unpin,
    ) {
        let mut looks = tokio::time::interval_at(Instant::now() + LOOK, LOOK);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut watch = Watch::default();
        let mut unsent = Vec::new();
        let why = loop {
            match self.flush(&mut writer).await {
                Ok(()) => {}
                Err(Stuck { why, wrote }) => {
                    if !wrote {
                        unsent = self.shared.pending.take_back(&self.batch);
                    }
                    self.hear_why().await;
                    break why;
                }
            }
            match self.next(&mut queue, &mut looks, &mut watch).await {
                Ok(true) => {}
                Ok(false) => break "nobody needs the connection any more".to_owned(),
                Err(why) => break why,
            }
        };
        self.shared.close(&why);
        // What waits in the queue, or was to be written next, was not sent, and hears so now.
        drop((queue, unsent));
        // A moment for the other side to close in its turn; one that is stuck must not keep the
        // socket.
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

    /// Waits for the reason that a server gives for taking no more of a large request.
    async fn hear_why(&mut self) {
        if !self.patience.looks && self.reading.is_some() {
            let _ = tokio::time::timeout(LOOK, ended(&mut self.reading)).await;
        }
    }

    /// Waits for something to write and encodes it, with all that came meanwhile. False when
    /// nothing will come any more.
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
        // Nothing may get between a large body and the beginning of its frame.
        while self.body.is_empty()
            && let Ok(work) = queue.try_recv()
        {
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

    async fn flush(&mut self, writer: &mut (impl AsyncWrite + Unpin)) -> Result<(), Stuck> {
        if self.encoder.is_empty() {
            return Ok(());
        }
        let encoded = self.encoder.len();
        let length = encoded + self.body.len();
        let end =
            Instant::now() + self.patience.stuck + Duration::from_secs(length as u64 / SLOWEST);
        let mut bytes = self.encoder.buffer().chain(&mut self.body);
        let mut wrote = false;
        while bytes.has_remaining() {
            let mut piece = (&mut bytes).take(PIECE);
            let written = tokio::time::timeout_at(end, writer.write_buf(&mut piece)).await;
            match written {
                Ok(Ok(0)) | Err(_) => {
                    return Err(Stuck { why: "the other side does not read".to_owned(), wrote });
                }
                Ok(Ok(_)) => wrote = true,
                Ok(Err(cause)) => {
                    return Err(Stuck { why: format!("cannot write: {cause}"), wrote });
                }
            }
            if bytes.has_remaining() {
                tokio::task::yield_now().await;
            }
        }
        if length > MAX_SMALL_BODY {
            self.shared.written.store(true, Ordering::Release);
        }
        self.body = Bytes::new();
        if encoded > KEPT {
            *self.encoder.buffer() = BytesMut::new();
        }
        self.batch.clear();
        writer.flush().await.map_err(|cause| Stuck { why: format!("cannot write: {cause}"), wrote })
    }

    fn encode(&mut self, work: Work) {
        match work {
            Work::Call { call, outgoing, answer, place } => {
                self.encode_call(call, &outgoing, (answer, place))
            }
            Work::Cancel(call) if self.shared.pending.forget(call) => self.encoder.cancel(call),
            Work::Cancel(_) => {}
            Work::Stop(call) => self.encoder.cancel(call),
            Work::Ping => self.encoder.ping(0),
            Work::Pong => {
                if let Some(nonce) = self.shared.pong().take() {
                    self.encoder.pong(nonce);
                }
            }
        }
    }

    fn encode_call(
        &mut self,
        call: u64,
        outgoing: &Outgoing,
        (answer, place): (oneshot::Sender<CallOutcome>, InFlightPermit),
    ) {
        if answer.is_closed() {
            return;
        }
        let Some((method, is_new)) = self.names.number(&outgoing.name) else {
            // More methods than a connection has numbers for: let it end, and begin anew on the
            // next one.
            self.shared.leave();
            return;
        };
        if self.shared.pending.insert(call, outgoing.max_reply, answer, place).is_err() {
            return;
        }
        let fingerprint = || outgoing.method.map_or(0, |method| method.fingerprint());
        self.batch.push(call);
        let declaration = is_new.then(|| (outgoing.name.as_str(), fingerprint()));
        // The clock is read for each call: one that is older than the call would give it more time
        // than it has.
        let (now, context) = (Instant::now(), &outgoing.context);
        let head = RequestHead { call, method, declaration, codec: outgoing.codec, context, now };
        if outgoing.body.len() > MAX_SMALL_BODY {
            self.encoder.request_begins(&head, outgoing.body.len());
            self.body = outgoing.body.clone();
        } else {
            self.encoder.request(&head, &outgoing.body);
        }
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
