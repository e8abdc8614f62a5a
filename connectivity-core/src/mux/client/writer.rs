//! The task that writes a client's stream and checks that the server is alive.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use tokio::io::{AsyncWrite, AsyncWriteExt};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio::time::{Instant, Interval, MissedTickBehavior};

use super::in_flight::InFlightPermit;
use super::request::{CallOutcome, Outgoing};
use super::shared::{Shared, Work};
use crate::mux::frame::{
    ClientNames, Encoder, MAX_RETAINED, MAX_SMALL_BODY, RequestHead, Role, write_preamble,
};

/// Above this many calls in flight the writer yields once before it writes, so that one write
/// carries many frames. Below, the pause would cost more than it saves.
const BATCH_FROM: usize = 16;

/// Interval of liveness checks. After one silent interval the client pings, after the next it gives
/// up, so a dead server is detected within three intervals.
const LIVENESS_INTERVAL: Duration = Duration::from_millis(1500);

/// The longest time for a write, in addition to the time its bytes take at the slowest rate that
/// counts as progress.
const WRITE_TIMEOUT: Duration = Duration::from_millis(4500);

/// The slowest rate, in bytes per second, at which the server counts as reading.
const MIN_WRITE_RATE: u64 = 256 * 1024;

/// Yields to other tasks of the runtime after this many bytes of a large request: a small call of
/// another task takes microseconds.
const YIELD_BYTES: usize = 64 * 1024;

/// The longest time that a large request may wait for admission by the server.
const ADMISSION_TIMEOUT: Duration = Duration::from_secs(30);

/// The writing task of a stream.
pub(super) struct StreamWriter {
    shared: Arc<Shared>,
    names: ClientNames,
    encoder: Encoder,
    /// The calls whose requests are in `encoder`.
    batch: Vec<u64>,
    /// A large body, which is written directly behind the encoded bytes instead of being copied
    /// there.
    body: Bytes,
    /// The reading task, until it has ended.
    reader_task: Option<JoinHandle<()>>,
    timeouts: Timeouts,
}

/// Why a batch could not be written, and whether any byte of it was.
struct WriteError {
    reason: String,
    wrote: bool,
}

/// Timeouts towards the server.
#[derive(Clone, Copy)]
struct Timeouts {
    /// Whether silence indicates a dead server. On a stream with one large request nothing comes
    /// back before it was read as a whole.
    checks_liveness: bool,
    /// The longest time for a write, in addition to the time that its length takes.
    write: Duration,
}

impl Timeouts {
    fn of(role: Role) -> Self {
        match role {
            Role::Shared => Self { checks_liveness: true, write: WRITE_TIMEOUT },
            Role::Single => {
                Self { checks_liveness: false, write: WRITE_TIMEOUT + ADMISSION_TIMEOUT }
            }
        }
    }
}

impl StreamWriter {
    /// Creates the task, with the preamble as its first bytes; `reading` is the task that reads the
    /// same stream.
    pub(super) fn new(shared: Arc<Shared>, reader_task: JoinHandle<()>, role: Role) -> Self {
        let mut encoder = Encoder::default();
        encoder.buffer().extend_from_slice(&write_preamble(role));
        let (names, timeouts) = (ClientNames::default(), Timeouts::of(role));
        Self {
            shared,
            names,
            encoder,
            batch: Vec::new(),
            body: Bytes::new(),
            reader_task: Some(reader_task),
            timeouts,
        }
    }

    /// Writes the queued work until the connection ends.
    pub(super) async fn run(
        &mut self,
        mut queue: mpsc::UnboundedReceiver<Work>,
        mut writer: impl AsyncWrite + Unpin,
    ) {
        let mut checks =
            tokio::time::interval_at(Instant::now() + LIVENESS_INTERVAL, LIVENESS_INTERVAL);
        checks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut liveness = Liveness::default();
        let mut unsent = Vec::new();
        let reason = loop {
            match self.flush(&mut writer).await {
                Ok(()) => {}
                Err(WriteError { reason, wrote }) => {
                    if !wrote {
                        unsent = self.shared.pending.take_unsent(&self.batch);
                    }
                    self.wait_for_refusal().await;
                    break reason;
                }
            }
            match self.encode_next(&mut queue, &mut checks, &mut liveness).await {
                Ok(true) => {}
                Ok(false) => break "nobody needs the connection any more".to_owned(),
                Err(reason) => break reason,
            }
        };
        self.shared.close(&reason);
        // Tells the callers of queued calls, and of those in the unwritten batch, that nothing was
        // sent.
        drop((queue, unsent));
        // Give the server a moment to close its side; one that is stuck must not keep the socket
        // open.
        let closing = async {
            let _ = writer.shutdown().await;
            if self.reader_task.is_some() {
                ended(&mut self.reader_task).await;
            }
        };
        let timed_out = tokio::time::timeout(LIVENESS_INTERVAL, closing).await.is_err();
        if let Some(reader_task) = self.reader_task.take().filter(|_| timed_out) {
            reader_task.abort();
        }
    }

    /// Waits for the error with which a server refuses the rest of a large request.
    async fn wait_for_refusal(&mut self) {
        if !self.timeouts.checks_liveness && self.reader_task.is_some() {
            let _ = tokio::time::timeout(LIVENESS_INTERVAL, ended(&mut self.reader_task)).await;
        }
    }

    /// Waits for work and encodes it, with everything that was queued meanwhile. Returns `false`
    /// when no more work will come.
    async fn encode_next(
        &mut self,
        queue: &mut mpsc::UnboundedReceiver<Work>,
        checks: &mut Interval,
        liveness: &mut Liveness,
    ) -> Result<bool, String> {
        let first = tokio::select! {
            biased;
            work = queue.recv() => work,
            () = ended(&mut self.reader_task) => {
                return Err(self.shared.pending.closed().unwrap_or_default());
            }
            () = self.shared.in_flight.maybe_done() => return Ok(!self.shared.in_flight.is_done()),
            _ = checks.tick(), if self.timeouts.checks_liveness => {
                return self.check_liveness(liveness).map(|()| true);
            }
        };
        let Some(first) = first else { return Ok(false) };
        if self.shared.in_flight.calls() > BATCH_FROM {
            tokio::task::yield_now().await;
        }
        self.encode(first);
        // A large body must follow the beginning of its frame directly.
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

    fn check_liveness(&mut self, liveness: &mut Liveness) -> Result<(), String> {
        match liveness.check(self.shared.reads.load(Ordering::Relaxed)) {
            0 => Ok(()),
            1 => {
                self.encoder.ping(0);
                Ok(())
            }
            _ => Err("the other side does not answer".to_owned()),
        }
    }

    async fn flush(&mut self, writer: &mut (impl AsyncWrite + Unpin)) -> Result<(), WriteError> {
        if self.encoder.is_empty() {
            return Ok(());
        }
        let encoded = self.encoder.len();
        let length = encoded + self.body.len();
        let deadline = Instant::now()
            + self.timeouts.write
            + Duration::from_secs(length as u64 / MIN_WRITE_RATE);
        let mut bytes = self.encoder.buffer().chain(&mut self.body);
        let mut wrote = false;
        while bytes.has_remaining() {
            let mut chunk = (&mut bytes).take(YIELD_BYTES);
            let written = tokio::time::timeout_at(deadline, writer.write_buf(&mut chunk)).await;
            match written {
                Ok(Ok(0)) | Err(_) => {
                    return Err(WriteError {
                        reason: "the other side does not read".to_owned(),
                        wrote,
                    });
                }
                Ok(Ok(_)) => wrote = true,
                Ok(Err(cause)) => {
                    return Err(WriteError { reason: format!("cannot write: {cause}"), wrote });
                }
            }
            if bytes.has_remaining() {
                tokio::task::yield_now().await;
            }
        }
        if length > MAX_SMALL_BODY {
            self.shared.fully_written.store(true, Ordering::Release);
        }
        self.body = Bytes::new();
        if encoded > MAX_RETAINED {
            *self.encoder.buffer() = BytesMut::new();
        }
        self.batch.clear();
        writer
            .flush()
            .await
            .map_err(|cause| WriteError { reason: format!("cannot write: {cause}"), wrote })
    }

    fn encode(&mut self, work: Work) {
        match work {
            Work::Call { call, outgoing, reply_tx, permit } => {
                self.encode_call(call, &outgoing, (reply_tx, permit))
            }
            Work::Cancel(call) if self.shared.pending.remove(call) => self.encoder.cancel(call),
            Work::Cancel(_) => {}
            Work::Stop(call) => self.encoder.cancel(call),
            Work::Ping => self.encoder.ping(0),
            Work::Pong => {
                if let Some(nonce) = self.shared.unanswered_ping().take() {
                    self.encoder.pong(nonce);
                }
            }
        }
    }

    fn encode_call(
        &mut self,
        call: u64,
        outgoing: &Outgoing,
        (reply_tx, permit): (oneshot::Sender<CallOutcome>, InFlightPermit),
    ) {
        if reply_tx.is_closed() {
            return;
        }
        let Some((method, is_new)) = self.names.number(&outgoing.name) else {
            // The connection has no method numbers left: drain it, and start over on the next one.
            self.shared.start_drain();
            return;
        };
        if self.shared.pending.insert(call, outgoing.max_reply, reply_tx, permit).is_err() {
            return;
        }
        let fingerprint = || outgoing.method.map_or(0, |method| method.fingerprint());
        self.batch.push(call);
        let declaration = is_new.then(|| (outgoing.name.as_str(), fingerprint()));
        // Read the clock for each call: a time before the call would give it more time than it has.
        let (now, context) = (Instant::now(), &outgoing.context);
        let head = RequestHead { call, method, declaration, codec: outgoing.codec, context, now };
        if outgoing.body.len() > MAX_SMALL_BODY {
            self.encoder.begin_request(&head, outgoing.body.len());
            self.body = outgoing.body.clone();
        } else {
            self.encoder.request(&head, &outgoing.body);
        }
    }
}

/// Waits until the reading task has ended; pending forever if that was seen before.
async fn ended(reader_task: &mut Option<JoinHandle<()>>) {
    match reader_task {
        Some(task) => {
            let _ = task.await;
            *reader_task = None;
        }
        None => std::future::pending().await,
    }
}

/// Counts the liveness checks since the last read.
#[derive(Default)]
struct Liveness {
    reads: u64,
    silent: u32,
}

impl Liveness {
    fn check(&mut self, reads: u64) -> u32 {
        self.silent = if reads == self.reads { self.silent + 1 } else { 0 };
        self.reads = reads;
        self.silent
    }
}
