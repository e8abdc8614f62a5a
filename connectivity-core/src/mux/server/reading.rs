//! Reader of one stream of a server: decodes frames and starts calls.

use std::collections::VecDeque;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use tokio::io::AsyncRead;
use tokio::time::Instant;

use super::backend::MethodEntry;
use super::inline::StreamCall;
use super::large::{LargeCall, Streams};
use super::stream::{Detached, IncomingCall, MAX_IN_FLIGHT, Stream};
use crate::call::{Body, Call};
use crate::codec::Codec;
use crate::context::Context;
use crate::error::{Error, ErrorKind, Sent};
use crate::mux::frame::{
    Decoder, Frame, MAX_SECTIONS, MAX_SMALL_BODY, MAX_SMALL_FRAME, Request, ServerNames, WireError,
};
use crate::mux::read_buffer::ReadBuffer;
use crate::name::Name;
use crate::transport::Drain;
use crate::transport::io::InlineQueue;
use crate::transport::large_requests::{LargePermit, LargeShare, Progress};

/// Flush replies after this many frames even if more requests are buffered.
const BATCH: usize = 16;

/// The longest body of a request.
const MAX_BODY: usize = 16 << 20;

/// The longest frame of a stream for one call, without its head.
const MAX_LARGE_FRAME: usize = MAX_BODY + MAX_SECTIONS + 64;

/// Interval of pongs while requests are not read: a client gives up on a server that is silent for
/// 4.5 s.
const PONG_INTERVAL: Duration = Duration::from_secs(1);

/// Reads the frames of one stream.
pub(super) struct StreamReader {
    stream: Arc<Stream>,
    names: ServerNames<Result<Arc<MethodEntry>, Error>>,
    decoder: Decoder,
    /// On a stream for one call: the limits of its body.
    large: Option<LargeAdmission>,
    /// Whether the call of a stream for one call has been received.
    call_received: bool,
    /// The queue for inline polls, if the stream is on an IO thread.
    inline_queue: Option<InlineQueue<StreamCall>>,
    /// Calls of this batch that are queued for an inline poll.
    inline: VecDeque<StreamCall>,
    /// The time at which the current batch of frames was read: one clock read serves the whole
    /// batch.
    clock: Instant,
}

/// Admission of the body of a large request.
struct LargeAdmission {
    share: LargeShare,
    progress: Progress,
    permit: Option<LargePermit>,
    streams: Option<Arc<dyn Streams>>,
}

impl StreamReader {
    /// Reads a stream that many calls share.
    pub(super) fn shared(
        stream: Arc<Stream>,
        inline_queue: Option<InlineQueue<StreamCall>>,
    ) -> Self {
        Self { inline_queue, ..Self::new(stream, MAX_SMALL_FRAME, None) }
    }

    /// Reads a stream for one call, whose body takes memory of its origin's share.
    pub(super) fn single(
        stream: Arc<Stream>,
        share: LargeShare,
        streams: Option<Arc<dyn Streams>>,
    ) -> Self {
        let large =
            LargeAdmission { progress: Progress::new(share.clone()), share, permit: None, streams };
        Self::new(stream, MAX_LARGE_FRAME, Some(large))
    }

    fn new(stream: Arc<Stream>, limit: usize, large: Option<LargeAdmission>) -> Self {
        let (names, decoder) = (ServerNames::default(), Decoder::new(limit));
        Self {
            stream,
            names,
            decoder,
            large,
            call_received: false,
            inline_queue: None,
            inline: VecDeque::new(),
            clock: Instant::now(),
        }
    }

    /// Reads frames and starts calls until the client closes the stream or the drain is over.
    pub(super) async fn run(
        &mut self,
        reader: &mut (impl AsyncRead + Unpin),
        read_buffer: &mut ReadBuffer,
        drain: &mut Drain,
    ) -> std::io::Result<()> {
        let mut draining = false;
        loop {
            if let Err((call, error)) = self.admit(read_buffer).await {
                self.stream.send_queue.push(|encoder| encoder.failure(call, &error));
                return Ok(());
            }
            self.process_received(read_buffer).await?;
            let (stream, received) = (Arc::clone(&self.stream), read_buffer.len());
            let call = read_buffer.head().map(|(_, call)| call);
            let read_more = async {
                wait_for_room(&stream).await;
                read_buffer.fill(reader).await
            };
            tokio::select! {
                // Poll the drain first: a client that never pauses must not hide it.
                biased;
                () = next_drain_phase(drain, draining) => {
                    if draining {
                        return Ok(());
                    }
                    draining = true;
                    self.stream.send_queue.push(|encoder| encoder.goaway());
                }
                () = self.too_slow(received) => {
                    let error = Error::new(ErrorKind::Timeout, "", "the request came too slowly");
                    let (call, error) = (call.unwrap_or_default(), error.with_sent(Sent::No));
                    self.stream.send_queue.push(|encoder| encoder.failure(call, &error));
                    return Ok(());
                }
                read = read_more => if read? == 0 { return Ok(()) },
            }
        }
    }

    /// Acquires memory for the body of a large request once part of it has been received. Returns
    /// the error for the client if there is none.
    async fn admit(&mut self, read_buffer: &ReadBuffer) -> Result<(), (u64, Error)> {
        let Some(large) = self.large.as_mut().filter(|large| large.permit.is_none()) else {
            return Ok(());
        };
        let Some((length, call)) = read_buffer.head() else { return Ok(()) };
        let refused =
            |kind, message: String| Err((call, Error::new(kind, "", message).with_sent(Sent::No)));
        if length > MAX_LARGE_FRAME {
            return refused(ErrorKind::TooLarge, too_large_message());
        }
        // A client that sends no more than a frame's head has only announced a length, and takes no
        // memory.
        if length <= MAX_SMALL_BODY || read_buffer.len() < MAX_SMALL_BODY {
            return Ok(());
        }
        large.permit = large.share.acquire(length).await;
        large.progress.resume();
        match large.permit {
            Some(_) => Ok(()),
            None => {
                refused(ErrorKind::Overloaded, "too many large requests are under way".to_owned())
            }
        }
    }

    /// Completes when a large body arrives too slowly.
    async fn too_slow(&mut self, received: usize) {
        match &mut self.large {
            Some(large) if !self.call_received => large.progress.too_slow(received).await,
            _ => std::future::pending().await,
        }
    }

    /// Processes the received frames, batch by batch.
    async fn process_received(&mut self, read_buffer: &mut ReadBuffer) -> std::io::Result<()> {
        loop {
            let is_done = self.process_batch(read_buffer);
            self.poll_inline();
            let is_done = is_done?;
            self.stream.send_queue.notify();
            self.stream.inline_polled().await;
            if is_done {
                return Ok(());
            }
            yield_to_writer().await;
        }
    }

    /// Queues the calls of a batch for the IO thread that polls them.
    fn poll_inline(&mut self) {
        if let Some(queue) = self.inline_queue.as_ref().filter(|_| !self.inline.is_empty()) {
            self.stream.queue_inline(self.inline.len());
            queue.append(&mut self.inline);
        }
    }

    /// Processes a batch of the received frames. Returns `false` if there may be more.
    fn process_batch(&mut self, read_buffer: &mut ReadBuffer) -> std::io::Result<bool> {
        self.clock = Instant::now();
        for _ in 0..BATCH {
            match read_buffer
                .frame(self.decoder)
                .and_then(|frame| frame.map(|frame| self.process(frame)).transpose())
            {
                Ok(Some(())) => {}
                Ok(None) => return Ok(true),
                Err(cause) => {
                    return Err(std::io::Error::new(std::io::ErrorKind::InvalidData, cause));
                }
            }
        }
        Ok(false)
    }

    fn process(&mut self, frame: Frame) -> Result<(), WireError> {
        let send_queue = &self.stream.send_queue;
        match frame {
            Frame::Request(_) if self.call_received => return Err(WireError::SecondCall),
            Frame::Request(request) => {
                self.call_received = self.large.is_some();
                return self.process_request(request);
            }
            Frame::Cancel { call } => self.cancel(call),
            Frame::Ping { nonce } => send_queue.push(|encoder| encoder.pong(nonce)),
            Frame::Unsupported { call } => {
                let error = Error::new(
                    ErrorKind::Unimplemented,
                    "",
                    "this version has no streams of items",
                );
                send_queue.push(|encoder| encoder.failure(call, &error));
            }
            _ => {}
        }
        Ok(())
    }

    fn cancel(&mut self, number: u64) {
        match self.inline.iter().position(|call| call.number() == number) {
            Some(at) => drop(self.inline.remove(at)),
            None => self.stream.cancel(number),
        }
    }

    fn process_request(&mut self, request: Request) -> Result<(), WireError> {
        let backend = &self.stream.backend;
        let method = self.names.resolve(&request, |declaration| backend.declare(declaration))?;
        let method = match method {
            Ok(method) => Arc::clone(method),
            // The name was not served when it was declared; it may be by now.
            Err(error) => match backend.inbound.method(error.name()) {
                Ok(_) => Arc::new(MethodEntry::of(
                    backend,
                    Name::parse(error.name()).map_err(|_| WireError::Name)?,
                    None,
                )),
                Err(error) => return self.refuse(request.call, &error),
            },
        };
        // The frame may be a little longer than its body, because of the sections.
        if request.body.len() > MAX_BODY {
            let error = Error::new(ErrorKind::TooLarge, &method.name, too_large_message())
                .with_sent(Sent::No);
            return self.refuse(request.call, &error);
        }
        if request.codec == Some(Codec::Bincode) && !method.same_contract {
            let message = format!("the contracts differ; here it is `{}`", method.shape);
            return self
                .refuse(request.call, &Error::new(ErrorKind::Contract, &method.name, message));
        }
        let (in_flight, is_duplicate) = self.stream.in_flight(request.call);
        if is_duplicate {
            return Err(WireError::CallTwice);
        }
        if in_flight >= MAX_IN_FLIGHT {
            let message = format!("a connection has at most {MAX_IN_FLIGHT} calls in flight");
            return self
                .refuse(request.call, &Error::new(ErrorKind::Overloaded, &method.name, message));
        }
        match self.context(&request) {
            Ok(context) => self.start(request, method, context),
            Err(error) => return self.refuse(request.call, &error),
        }
        Ok(())
    }

    fn refuse(&self, call: u64, error: &Error) -> Result<(), WireError> {
        self.stream.send_queue.push(|encoder| encoder.failure(call, error));
        Ok(())
    }

    /// Builds the context that travels with the call.
    fn context(&self, request: &Request) -> Result<Context, Error> {
        let mut context = Context::new();
        for (key, value) in &request.meta {
            context = context.with_meta(key.as_str(), value.as_str())?;
        }
        if request.timeout_ms > 0 {
            context = context
                .with_deadline(self.clock + Duration::from_millis(request.timeout_ms.into()));
        }
        if let Some(trace_parent) = &request.trace_parent {
            context = context.with_trace_parent(trace_parent);
        }
        Ok(context.with_shared_peer(self.stream.peer.clone()))
    }

    fn start(&mut self, request: Request, method: Arc<MethodEntry>, context: Context) {
        let Request { call: number, codec, body, .. } = request;
        let (name, size) = (method.name.clone(), body.len());
        let mut message = match codec {
            Some(codec) => Call::received(name, Body::Encoded(codec, body), context),
            None => Call::received(name, Body::Raw(body), context),
        };
        if method.no_cancel {
            message.hold(Arc::new(Detached::new(&self.stream)));
        }
        let (stream, codec) = (Arc::clone(&self.stream), codec.unwrap_or(Codec::Json));
        let run = |large: &mut LargeAdmission| {
            Some(LargeCall::start(large.permit.take()?, large.streams.as_ref()))
        };
        let large = self.large.as_mut().and_then(run);
        // Decoding a large body takes a while, so it happens on the user's runtime.
        let inline =
            self.large.is_none() && self.inline_queue.is_some() && method.policy.allows_inline();
        let call = IncomingCall { stream, method, number, codec, message, size, large };
        if inline {
            self.inline.push_back(StreamCall::new(call));
        } else {
            self.stream.start(call);
        }
    }
}

fn too_large_message() -> String {
    format!("the request is over the {MAX_BODY} bytes that the server takes")
}

/// Backpressure: waits until the stream may take more calls. Sends pongs meanwhile, so that the
/// client does not give up.
async fn wait_for_room(stream: &Stream) {
    while !stream.has_room() {
        if tokio::time::timeout(PONG_INTERVAL, stream.wait_for_room()).await.is_err() {
            stream.send_queue.push(|encoder| encoder.pong(0));
            stream.send_queue.notify();
        }
    }
}

/// Yields once, so that the other half of the task can write the queued replies.
async fn yield_to_writer() {
    let mut yielded = false;
    std::future::poll_fn(|cx| {
        if yielded {
            return Poll::Ready(());
        }
        yielded = true;
        cx.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

/// Waits for the beginning of a drain, and once it has begun, for its end.
async fn next_drain_phase(drain: &mut Drain, draining: bool) {
    if draining { drain.over().await } else { drain.begun().await }
}
