//! The other side of one stream: requests in, answers out.

use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context as TaskContext, Poll, Waker};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::runtime::Handle;
use tokio::task::AbortHandle;
use tokio::time::Instant;

use super::intake::Intake;
use super::outbox::Outbox;
use super::pace::{Pace, Paces};
#[cfg(feature = "unix")]
use super::turns::Shares;
use super::turns::{Turn, Turns};
use crate::call::{Body, BoxFuture, Call, Reply};
use crate::codec::Codec;
use crate::context::{Context, Peer};
use crate::error::{Error, ErrorKind, Sent};
use crate::name::Name;
use crate::router::Inbound;
use crate::transport::Drain;
use crate::transport::wire::{
    Declaration, Decoder, Frame, MAX_SECTIONS, MAX_SMALL_FRAME, Request, Role, ServerNames, WireError, read_preamble,
};

/// How long a client may take for the first bytes of a stream.
const PREAMBLE_TIMEOUT: Duration = Duration::from_secs(10);

/// How long the answers that are ready at the end of a drain may take.
const LAST_ANSWERS: Duration = Duration::from_millis(200);

/// Calls in flight on one stream; what is over it is refused as `Overloaded`.
const MAX_IN_FLIGHT: usize = 4096;

/// After so many frames answers are written, though more requests are there: the client goes on with the first while the last are
/// computed.
const BATCH: usize = 16;

/// The longest body of a request.
const MAX_BODY: usize = 16 << 20;

/// What every stream of one peer shares.
#[derive(Clone)]
pub(crate) struct Serving {
    inbound: Inbound,
    /// Where implementations belong: their timers, their sockets, and what they spawn.
    user: Handle,
    paces: Paces,
    turns: Turns,
}

impl Serving {
    /// For a listener that is started on the runtime its implementations belong to.
    pub(crate) fn new(inbound: Inbound) -> Self {
        Self { inbound, user: Handle::current(), paces: Paces::default(), turns: Turns::new() }
    }

    /// For another peer of the same listener.
    #[cfg(feature = "quic")]
    pub(crate) fn of_another_peer(&self) -> Self {
        Self { turns: self.turns.of_another(), ..self.clone() }
    }

    /// For another connection of a peer, which the system knows by a number.
    #[cfg(feature = "unix")]
    pub(crate) fn of_peer(&self, peer: Option<i32>, shares: &mut Shares) -> Self {
        Self { turns: shares.of(peer, &self.turns), ..self.clone() }
    }

    /// The runtime that implementations belong to.
    #[cfg(feature = "unix")]
    pub(crate) fn user(&self) -> &Handle {
        &self.user
    }
}

/// The first bytes of a stream: what it is for, and what was read after that.
pub(crate) struct Beginning {
    role: Role,
    rest: Intake,
}

impl Beginning {
    /// Reads how a stream begins; `None` when it is none of ours, or takes too long.
    pub(crate) async fn read(reader: &mut (impl AsyncRead + Unpin)) -> Option<Self> {
        let mut rest = Intake::default();
        match tokio::time::timeout(PREAMBLE_TIMEOUT, preamble(reader, &mut rest)).await {
            Ok(Ok(role)) => return Some(Self { role, rest }),
            Ok(Err(cause)) => tracing::debug!(%cause, "a stream was not begun"),
            Err(_elapsed) => tracing::debug!("a stream was not begun in time"),
        }
        None
    }

    /// Says whether the stream is for one call with a large body.
    #[cfg(feature = "unix")]
    pub(crate) fn is_single(&self) -> bool {
        matches!(self.role, Role::Single)
    }
}

/// Serves one stream until its client closes it, or the drain ends it.
pub(crate) async fn serve<R, W>(
    serving: Serving,
    peer: Option<Peer>,
    beginning: Beginning,
    mut reader: R,
    writer: W,
    mut drain: Drain,
) where
    R: AsyncRead + Unpin + Send,
    W: AsyncWrite + Unpin + Send,
{
    let Beginning { role, rest: mut intake } = beginning;
    let (limit, large) = match role {
        Role::Shared => (MAX_SMALL_FRAME, None),
        Role::Single => match serving.turns.clone().wait().await {
            Some(large) => (MAX_BODY + MAX_SECTIONS + 64, Some(large)),
            None => return tracing::debug!("a large request did not get its turn"),
        },
    };
    let stream =
        Arc::new(Stream { serving, peer: peer.map(Arc::new), outbox: Outbox::default(), running: Mutex::default() });
    let (names, decoder) = (ServerNames::default(), Decoder::new(limit));
    let mut reading =
        Reading { stream: Arc::clone(&stream), names, decoder, large, had_its_call: false, clock: Instant::now() };
    // When the client has gone, or this future is dropped, nobody waits for what still runs.
    let _end = EndOfCalls(Arc::clone(&stream));
    let mut cut = drain.clone();
    let reads = async {
        let ended = reading.run(&mut reader, &mut intake, &mut drain).await;
        stream.outbox.finish();
        ended
    };
    let ended = tokio::select! {
        // In this order the writer sees in the same turn what the reader has put into the outbox.
        biased;
        ended = both(reads, stream.outbox.write_to(writer)) => ended,
        () = over(&mut cut) => Ok(()),
    };
    if let Err(cause) = ended {
        tracing::debug!(%cause, "a stream ended");
    }
}

/// Reads and writes until both are done, or one fails.
async fn both(
    reads: impl Future<Output = std::io::Result<()>>,
    writes: impl Future<Output = std::io::Result<()>>,
) -> std::io::Result<()> {
    let (mut reads, mut writes) = (pin!(reads), pin!(writes));
    let mut reading = true;
    let mut ended = Ok(());
    loop {
        tokio::select! {
            biased;
            read = &mut reads, if reading => {
                // What was answered before a peer's mistake is still written.
                (reading, ended) = (false, read);
            }
            written = &mut writes => return ended.and(written),
        }
    }
}

/// Waits until what is left of a stream is to be cut: a moment after the drain, for the last answers.
async fn over(drain: &mut Drain) {
    drain.over().await;
    tokio::time::sleep(LAST_ANSWERS).await;
}

/// Ends the calls of a stream, whichever way the stream ends.
struct EndOfCalls(Arc<Stream>);

impl Drop for EndOfCalls {
    fn drop(&mut self) {
        let running = self.0.with_running(std::mem::take);
        running.into_values().flatten().for_each(|task| task.abort());
    }
}

async fn preamble(reader: &mut (impl AsyncRead + Unpin), intake: &mut Intake) -> Result<Role, WireError> {
    loop {
        if let Some(bytes) = intake.preamble() {
            return read_preamble(bytes);
        }
        match intake.fill(reader).await {
            Ok(read) if read > 0 => {}
            _ => return Err(WireError::Preamble),
        }
    }
}

/// What the tasks of one stream share.
struct Stream {
    serving: Serving,
    peer: Option<Arc<Peer>>,
    outbox: Outbox,
    /// Calls that run in tasks of their own; without a handle until their task has been started.
    running: Mutex<Running>,
}

type Running = HashMap<u64, Option<AbortHandle>>;

impl Stream {
    fn with_running<T>(&self, f: impl FnOnce(&mut Running) -> T) -> T {
        f(&mut self.running.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// What a method number of this stream stands for.
struct Known {
    name: Name,
    /// Whether arguments in a positional codec mean the same here.
    same_contract: bool,
    /// The shape here, in words, for a caller whose contract differs.
    shape: String,
    pace: Arc<Pace>,
}

struct Reading {
    stream: Arc<Stream>,
    names: ServerNames<Result<Arc<Known>, Error>>,
    decoder: Decoder,
    /// The turn of a large request, on a stream for one call; the call takes it along.
    large: Option<Turn>,
    /// Whether the call of a stream for one has come.
    had_its_call: bool,
    /// The time after the last frame, which is when the next one begins: one look at the clock for each is enough.
    clock: Instant,
}

impl Reading {
    /// Reads and starts calls until the client closes, or the drain is over.
    async fn run(
        &mut self,
        reader: &mut (impl AsyncRead + Unpin),
        intake: &mut Intake,
        drain: &mut Drain,
    ) -> std::io::Result<()> {
        let mut draining = false;
        loop {
            while !self.take_frames(intake)? {
                self.stream.outbox.ring();
                let_write().await;
            }
            self.stream.outbox.ring();
            let more = async {
                self.stream.outbox.room().await;
                intake.fill(reader).await
            };
            tokio::select! {
                // A client that never pauses must not keep the end from being seen.
                biased;
                () = next_of(drain, draining) => {
                    if draining {
                        return Ok(());
                    }
                    draining = true;
                    self.stream.outbox.put(|encoder| encoder.goaway());
                }
                () = Turn::over(self.large.as_ref()) => return Err(std::io::ErrorKind::TimedOut.into()),
                read = more => if read? == 0 { return Ok(()) },
            }
        }
    }

    /// Takes a batch of the frames that came in; false if there may be more.
    fn take_frames(&mut self, intake: &mut Intake) -> std::io::Result<bool> {
        let user = self.stream.serving.user.clone();
        let _user = user.enter();
        self.clock = Instant::now();
        for _ in 0..BATCH {
            match intake.frame(self.decoder).and_then(|frame| frame.map(|frame| self.take(frame)).transpose()) {
                Ok(Some(())) => {}
                Ok(None) => return Ok(true),
                Err(cause) => return Err(std::io::Error::new(std::io::ErrorKind::InvalidData, cause)),
            }
        }
        Ok(false)
    }

    fn take(&mut self, frame: Frame) -> Result<(), WireError> {
        let outbox = &self.stream.outbox;
        match frame {
            Frame::Request(_) if self.had_its_call => return Err(WireError::SecondCall),
            Frame::Request(request) => {
                self.had_its_call = self.large.is_some();
                return self.request(request);
            }
            Frame::Cancel { call } => {
                if let Some(Some(task)) = self.stream.with_running(|running| running.remove(&call)) {
                    task.abort();
                }
            }
            Frame::Ping { nonce } => outbox.put(|encoder| encoder.pong(nonce)),
            Frame::Unsupported { call } => {
                let error = Error::new(ErrorKind::Unimplemented, "", "this version has no streams of items");
                outbox.put(|encoder| encoder.failure(call, &error));
            }
            _ => {}
        }
        Ok(())
    }

    fn request(&mut self, request: Request) -> Result<(), WireError> {
        let serving = &self.stream.serving;
        let known = self.names.resolve(&request, |declaration| learn(serving, declaration))?;
        let known = match known {
            Ok(known) => Arc::clone(known),
            // The name was not served when it was declared; it may be by now.
            Err(error) => match serving.inbound.method(error.name()) {
                Ok(_) => Arc::new(Known::of(serving, Name::parse(error.name()).map_err(|_| WireError::Name)?, None)),
                Err(error) => return self.refuse(request.call, &error),
            },
        };
        if request.codec == Some(Codec::Bincode) && !known.same_contract {
            let message = format!("the contracts differ; here it is `{}`", known.shape);
            return self.refuse(request.call, &Error::new(ErrorKind::Contract, &known.name, message));
        }
        let (in_flight, twice) =
            self.stream.with_running(|running| (running.len(), running.contains_key(&request.call)));
        if twice {
            return Err(WireError::CallTwice);
        }
        if in_flight >= MAX_IN_FLIGHT {
            let message = format!("a connection has at most {MAX_IN_FLIGHT} calls in flight");
            return self.refuse(request.call, &Error::new(ErrorKind::Overloaded, &known.name, message));
        }
        match self.context(&request) {
            Ok(context) => self.start(request, &known, context),
            Err(error) => return self.refuse(request.call, &error),
        }
        Ok(())
    }

    fn refuse(&self, call: u64, error: &Error) -> Result<(), WireError> {
        self.stream.outbox.put(|encoder| encoder.failure(call, error));
        Ok(())
    }

    /// What travels with the call.
    fn context(&self, request: &Request) -> Result<Context, Error> {
        let mut context = Context::new();
        for (key, value) in &request.meta {
            context = context.with_meta(key.as_str(), value.as_str())?;
        }
        if request.timeout_ms > 0 {
            context = context.with_deadline(self.clock + Duration::from_millis(request.timeout_ms.into()));
        }
        if let Some(trace_parent) = &request.trace_parent {
            context = context.with_trace_parent(trace_parent);
        }
        Ok(context.with_shared_peer(self.stream.peer.clone()))
    }

    /// Polls the implementation once, here, where the request was read: what is ready at once costs no task and no wake-up.
    fn start(&mut self, request: Request, known: &Known, context: Context) {
        let Request { call, codec, body, .. } = request;
        let name = known.name.clone();
        let message = match codec {
            Some(codec) => Call::received(name.clone(), Body::Encoded(codec, body), context),
            None => Call::received(name.clone(), Body::Raw(body), context),
        };
        let mut work = self.stream.serving.inbound.send(message);
        let codec = codec.unwrap_or(Codec::Json);
        if known.pace.is_slow() {
            self.spawn(call, name, codec, work);
            // Waking the runtime may have taken a while; that is not the next call's.
            self.clock = Instant::now();
            return;
        }
        // Implementations are caught where they run; this is for a layer of the user's.
        let poll = AssertUnwindSafe(|| work.as_mut().poll(&mut TaskContext::from_waker(Waker::noop())));
        let poll = catch_unwind(poll)
            .unwrap_or_else(|_panic| Poll::Ready(Err(Error::new(ErrorKind::Panicked, &name, "a layer of the server"))));
        let began = std::mem::replace(&mut self.clock, Instant::now());
        known.pace.note(self.clock - began);
        match poll {
            Poll::Ready(result) => {
                self.large = None;
                self.stream.outbox.answer(call, name.as_str(), codec, result);
            }
            Poll::Pending => {
                self.spawn(call, name, codec, work);
                self.clock = Instant::now();
            }
        }
    }

    /// Lets the user's runtime go on with a call.
    fn spawn(&mut self, call: u64, name: Name, codec: Codec, work: BoxFuture<'static, Result<Reply, Error>>) {
        let (stream, large) = (Arc::clone(&self.stream), self.large.take());
        let mut unanswered = Unanswered { stream, call, name, codec, answered: false, _large: large };
        self.stream.with_running(|running| running.insert(call, None));
        // Not under the lock: on a runtime that is shut down the task is dropped, and answers, before this returns.
        let task = self.stream.serving.user.spawn(async move {
            let result = work.await;
            unanswered.answer(result);
        });
        self.stream.with_running(|running| {
            if let Some(running) = running.get_mut(&call) {
                *running = Some(task.abort_handle());
            }
        });
    }
}

/// Lets the other half of the task write what is there, and goes on.
async fn let_write() {
    let mut written = false;
    std::future::poll_fn(|cx| {
        if written {
            return Poll::Ready(());
        }
        written = true;
        cx.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

/// Waits for the beginning of a drain, then for its end.
async fn next_of(drain: &mut Drain, draining: bool) {
    if draining { drain.over().await } else { drain.begun().await }
}

/// A call that runs in a task of its own. If the task ends without an answer (its runtime is shut down, say), the caller hears so.
struct Unanswered {
    stream: Arc<Stream>,
    call: u64,
    name: Name,
    codec: Codec,
    answered: bool,
    /// The turn of a large request: its body is held as long as the call runs.
    _large: Option<Turn>,
}

impl Unanswered {
    fn answer(&mut self, result: Result<Reply, Error>) {
        self.stream.with_running(|running| running.remove(&self.call));
        self.stream.outbox.answer(self.call, self.name.as_str(), self.codec, result);
        self.answered = true;
        self.stream.outbox.ring();
    }
}

impl Drop for Unanswered {
    fn drop(&mut self) {
        if !self.answered {
            let error = Error::new(ErrorKind::Cancelled, &self.name, "the work was cancelled").with_sent(Sent::Maybe);
            self.answer(Err(error));
        }
    }
}

fn learn(serving: &Serving, declaration: &Declaration) -> Result<Arc<Known>, Error> {
    let no_name = |cause: crate::NameError| Error::new(ErrorKind::NotRoutable, &declaration.name, cause.to_string());
    let name = Name::parse(&declaration.name).map_err(no_name)?;
    serving.inbound.method(name.as_str())?;
    Ok(Arc::new(Known::of(serving, name, Some(declaration.fingerprint))))
}

impl Known {
    fn of(serving: &Serving, name: Name, fingerprint: Option<u64>) -> Self {
        let method = serving.inbound.method(name.as_str()).ok().flatten();
        let same_contract = method.is_none_or(|method| fingerprint == Some(method.fingerprint()));
        let shape = method.filter(|_| !same_contract).map(|method| method.contract().text.clone()).unwrap_or_default();
        Self { pace: serving.paces.of(name.as_str()), name, same_contract, shape }
    }
}
