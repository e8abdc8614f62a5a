//! The reader of one stream of a server: frames in, calls begun.

use std::collections::VecDeque;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use tokio::io::AsyncRead;
use tokio::time::Instant;

use super::inline::StreamCall;
use super::large::{LargeCall, Streams};
use super::serving::Serving;
use super::stream::{Detached, IncomingCall, MAX_IN_FLIGHT, MethodEntry, Stream};
use crate::call::{Body, Call, MethodDesc};
use crate::codec::Codec;
use crate::context::Context;
use crate::error::{Error, ErrorKind, Sent};
use crate::mux::frame::{
    Declaration, Decoder, Frame, MAX_SECTIONS, MAX_SMALL_BODY, MAX_SMALL_FRAME, Request,
    ServerNames, WireError,
};
use crate::mux::read_buffer::ReadBuffer;
use crate::name::Name;
use crate::transport::Drain;
use crate::transport::large_requests::{LargePermit, LargeShare, Progress};

/// Flush replies after this many frames even if more requests are buffered.
const BATCH: usize = 16;

/// The longest body of a request.
const MAX_BODY: usize = 16 << 20;

/// The longest frame of a stream for one call, without its head.
const MAX_LARGE_FRAME: usize = MAX_BODY + MAX_SECTIONS + 64;

/// A client gives up a server that is silent for 4.5 s. While its requests are not read, it hears
/// from us this often.
const SIGN_OF_LIFE: Duration = Duration::from_secs(1);

/// Reads one stream.
pub(super) struct Reading {
    stream: Arc<Stream>,
    names: ServerNames<Result<Arc<MethodEntry>, Error>>,
    decoder: Decoder,
    /// On a stream for one call: what bounds its body.
    large: Option<Large>,
    /// Whether the call of a stream for one has come.
    had_its_call: bool,
    /// Calls of this batch that are to be polled inline.
    inline: VecDeque<StreamCall>,
    /// The time of the last batch of frames: one look at the clock is enough for all of them.
    clock: Instant,
}

/// The body of a large request on its way in.
struct Large {
    share: LargeShare,
    progress: Progress,
    permit: Option<LargePermit>,
    streams: Option<Arc<dyn Streams>>,
}

impl Reading {
    /// Reads a stream that many calls share.
    pub(super) fn shared(stream: Arc<Stream>) -> Self {
        Self::new(stream, MAX_SMALL_FRAME, None)
    }

    /// Reads a stream for one call, whose body takes memory of a share.
    pub(super) fn single(
        stream: Arc<Stream>,
        share: LargeShare,
        streams: Option<Arc<dyn Streams>>,
    ) -> Self {
        let large = Large { progress: Progress::new(share.clone()), share, permit: None, streams };
        Self::new(stream, MAX_LARGE_FRAME, Some(large))
    }

    fn new(stream: Arc<Stream>, limit: usize, large: Option<Large>) -> Self {
        let (names, decoder) = (ServerNames::default(), Decoder::new(limit));
        Self {
            stream,
            names,
            decoder,
            large,
            had_its_call: false,
            inline: VecDeque::new(),
            clock: Instant::now(),
        }
    }

    /// Reads and begins calls until the client closes, or the drain is over.
    pub(super) async fn run(
        &mut self,
        reader: &mut (impl AsyncRead + Unpin),
        read_buffer: &mut ReadBuffer,
        drain: &mut Drain,
    ) -> std::io::Result<()> {
        let mut draining = false;
        loop {
            if let Err((call, error)) = self.admit(read_buffer).await {
                self.stream.send_queue.put(|encoder| encoder.failure(call, &error));
                return Ok(());
            }
            self.take_all(read_buffer).await?;
            let (stream, received) = (Arc::clone(&self.stream), read_buffer.len());
            let call = read_buffer.head().map(|(_, call)| call);
            let more = async {
                has_room(&stream).await;
                read_buffer.fill(reader).await
            };
            tokio::select! {
                // A client that never pauses must not keep the end from being seen.
                biased;
                () = next_of(drain, draining) => {
                    if draining {
                        return Ok(());
                    }
                    draining = true;
                    self.stream.send_queue.put(|encoder| encoder.goaway());
                }
                () = self.too_slow(received) => {
                    let error = Error::new(ErrorKind::Timeout, "", "the request came too slowly").with_sent(Sent::No);
                    self.stream.send_queue.put(|encoder| encoder.failure(call.unwrap_or_default(), &error));
                    return Ok(());
                }
                read = more => if read? == 0 { return Ok(()) },
            }
        }
    }

    /// Takes memory for the body of a large request once a part of it is there, or tells why not.
    async fn admit(&mut self, read_buffer: &ReadBuffer) -> Result<(), (u64, Error)> {
        let Some(large) = self.large.as_mut().filter(|large| large.permit.is_none()) else {
            return Ok(());
        };
        let Some((length, call)) = read_buffer.head() else { return Ok(()) };
        let refused =
            |kind, message: String| Err((call, Error::new(kind, "", message).with_sent(Sent::No)));
        if length > MAX_LARGE_FRAME {
            return refused(ErrorKind::TooLarge, over_the_limit());
        }
        // Who sends no more than the head has announced a length, and takes nothing.
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

    /// Completes when a large body comes too slowly.
    async fn too_slow(&mut self, received: usize) {
        match &mut self.large {
            Some(large) if !self.had_its_call => large.progress.too_slow(received).await,
            _ => std::future::pending().await,
        }
    }

    /// Begins the calls that have come in, batch by batch.
    async fn take_all(&mut self, read_buffer: &mut ReadBuffer) -> std::io::Result<()> {
        loop {
            let all = self.take_batch(read_buffer);
            self.poll_inline();
            let all = all?;
            self.stream.send_queue.notify();
            self.stream.inline_polled().await;
            if all {
                return Ok(());
            }
            yield_to_writer().await;
        }
    }

    /// Hands the calls of a batch to the thread that polls them.
    fn poll_inline(&mut self) {
        if let Some(queue) = self.stream.serving.inline.as_ref().filter(|_| !self.inline.is_empty())
        {
            self.stream.queue_inline(self.inline.len());
            queue.append(&mut self.inline);
        }
    }

    /// Takes a batch of the frames that came in; false if there may be more.
    fn take_batch(&mut self, read_buffer: &mut ReadBuffer) -> std::io::Result<bool> {
        self.clock = Instant::now();
        for _ in 0..BATCH {
            match read_buffer
                .frame(self.decoder)
                .and_then(|frame| frame.map(|frame| self.take(frame)).transpose())
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

    fn take(&mut self, frame: Frame) -> Result<(), WireError> {
        let send_queue = &self.stream.send_queue;
        match frame {
            Frame::Request(_) if self.had_its_call => return Err(WireError::SecondCall),
            Frame::Request(request) => {
                self.had_its_call = self.large.is_some();
                return self.request(request);
            }
            Frame::Cancel { call } => self.cancel(call),
            Frame::Ping { nonce } => send_queue.put(|encoder| encoder.pong(nonce)),
            Frame::Unsupported { call } => {
                let error = Error::new(
                    ErrorKind::Unimplemented,
                    "",
                    "this version has no streams of items",
                );
                send_queue.put(|encoder| encoder.failure(call, &error));
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

    fn request(&mut self, request: Request) -> Result<(), WireError> {
        let serving = &self.stream.serving;
        let known = self.names.resolve(&request, |declaration| learn(serving, declaration))?;
        let known = match known {
            Ok(known) => Arc::clone(known),
            // The name was not served when it was declared; it may be by now.
            Err(error) => match serving.inbound.method(error.name()) {
                Ok(_) => Arc::new(MethodEntry::of(
                    serving,
                    Name::parse(error.name()).map_err(|_| WireError::Name)?,
                    None,
                )),
                Err(error) => return self.refuse(request.call, &error),
            },
        };
        // The frame may be a little longer, for what stands before the body.
        if request.body.len() > MAX_BODY {
            let error =
                Error::new(ErrorKind::TooLarge, &known.name, over_the_limit()).with_sent(Sent::No);
            return self.refuse(request.call, &error);
        }
        if request.codec == Some(Codec::Bincode) && !known.same_contract {
            let message = format!("the contracts differ; here it is `{}`", known.shape);
            return self
                .refuse(request.call, &Error::new(ErrorKind::Contract, &known.name, message));
        }
        let (in_flight, twice) = self.stream.in_flight(request.call);
        if twice {
            return Err(WireError::CallTwice);
        }
        if in_flight >= MAX_IN_FLIGHT {
            let message = format!("a connection has at most {MAX_IN_FLIGHT} calls in flight");
            return self
                .refuse(request.call, &Error::new(ErrorKind::Overloaded, &known.name, message));
        }
        match self.context(&request) {
            Ok(context) => self.begin(request, known, context),
            Err(error) => return self.refuse(request.call, &error),
        }
        Ok(())
    }

    fn refuse(&self, call: u64, error: &Error) -> Result<(), WireError> {
        self.stream.send_queue.put(|encoder| encoder.failure(call, error));
        Ok(())
    }

    /// What travels with the call.
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

    fn begin(&mut self, request: Request, known: Arc<MethodEntry>, context: Context) {
        let Request { call: number, codec, body, .. } = request;
        let (name, size) = (known.name.clone(), body.len());
        let mut message = match codec {
            Some(codec) => Call::received(name, Body::Encoded(codec, body), context),
            None => Call::received(name, Body::Raw(body), context),
        };
        if known.no_cancel {
            message.hold(Arc::new(Detached::new(&self.stream)));
        }
        let (stream, codec) = (Arc::clone(&self.stream), codec.unwrap_or(Codec::Json));
        let run =
            |large: &mut Large| Some(LargeCall::run(large.permit.take()?, large.streams.as_ref()));
        let large = self.large.as_mut().and_then(run);
        // Decoding a large body takes a while; that is for the user's runtime.
        let inline =
            self.large.is_none() && stream.serving.inline.is_some() && known.policy.allows_inline();
        let call = IncomingCall { stream, known, number, codec, message, size, large };
        if inline {
            self.inline.push_back(StreamCall::new(call));
        } else {
            self.stream.begin(call);
        }
    }
}

fn over_the_limit() -> String {
    format!("the request is over the {MAX_BODY} bytes that the server takes")
}

/// Backpressure: waits until the stream may have more calls. The client hears from us meanwhile.
async fn has_room(stream: &Stream) {
    while !stream.has_room() {
        if tokio::time::timeout(SIGN_OF_LIFE, stream.room()).await.is_err() {
            stream.send_queue.put(|encoder| encoder.pong(0));
            stream.send_queue.notify();
        }
    }
}

/// Lets the other half of the task write what is there, and goes on.
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

/// Waits for the beginning of a drain, then for its end.
async fn next_of(drain: &mut Drain, draining: bool) {
    if draining { drain.over().await } else { drain.begun().await }
}

fn learn(serving: &Serving, declaration: &Declaration) -> Result<Arc<MethodEntry>, Error> {
    let no_name = |cause: crate::NameError| {
        Error::new(ErrorKind::NotRoutable, &declaration.name, cause.to_string())
    };
    let name = Name::parse(&declaration.name).map_err(no_name)?;
    serving.inbound.method(name.as_str())?;
    Ok(Arc::new(MethodEntry::of(serving, name, Some(declaration.fingerprint))))
}

impl MethodEntry {
    fn of(serving: &Serving, name: Name, fingerprint: Option<u64>) -> Self {
        let method = serving.inbound.method(name.as_str()).ok().flatten();
        let same_contract = method.is_none_or(|method| fingerprint == Some(method.fingerprint()));
        let shape = method
            .filter(|_| !same_contract)
            .map(|method| method.contract().text.clone())
            .unwrap_or_default();
        let no_cancel = method.is_some_and(MethodDesc::is_no_cancel);
        Self { policy: serving.policies.of(name.as_str()), name, same_contract, shape, no_cancel }
    }
}
