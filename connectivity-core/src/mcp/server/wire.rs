//! Transport on which rmcp runs a server session over two byte streams: the framing, and the limits
//! on a client.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use rmcp::RoleServer;
use rmcp::model::{ClientJsonRpcMessage, ServerJsonRpcMessage, ServerResult};
use rmcp::transport::Transport;
use serde_json::{Value, json};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite};
use tokio::runtime::Handle;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::handler::encoded_size;
use super::line::{End, Line, Stage};
use crate::mcp::protocol::framer::{Framed, Framer};
use crate::mcp::protocol::message::{self, INVALID_REQUEST, PARSE_ERROR, Parsed, refusal};
use crate::mcp::protocol::send_queue::SendQueue;
use crate::mcp::protocol::{MAX_MEMBERS, SHUTDOWN_NOTIFICATION};

/// Parsing or encoding a message above this size takes longer than sockets should wait.
const LARGE_MESSAGE: usize = 64 * 1024;

/// A tool list above this length is a large message.
const LARGE_TOOL_LIST: usize = 64;

/// Returns whether a message takes long to encode as JSON.
fn is_large(message: &ServerJsonRpcMessage) -> bool {
    let ServerJsonRpcMessage::Response(response) = message else { return false };
    match &response.result {
        ServerResult::CallToolResult(result) => encoded_size(result) > LARGE_MESSAGE,
        ServerResult::ListToolsResult(list) => list.tools.len() > LARGE_TOOL_LIST,
        _ => false,
    }
}

/// How long a draining session still refuses requests that were on their way, once all others have
/// their replies.
const LINGER: Duration = Duration::from_millis(200);

/// Whether a session accepts requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum SessionState {
    Open,
    /// Accepts no more: the client was notified, and gets the replies to its requests in flight.
    Closing,
    /// All replies are sent. Requests that crossed the shutdown notification are refused until this
    /// time, so that the client knows that they did not run.
    Lingering(Instant),
    Shut,
}

impl SessionState {
    /// Waits for the next state.
    async fn next(self, line: &Line) -> Self {
        match self {
            Self::Open => {
                line.wait_stage(Stage::Ending).await;
                Self::Closing
            }
            Self::Closing => {
                line.wait_idle().await;
                Self::Lingering(Instant::now() + LINGER)
            }
            Self::Lingering(until) => {
                tokio::time::sleep_until(until).await;
                Self::Shut
            }
            Self::Shut => std::future::pending().await,
        }
    }
}

/// Transport of a server session.
pub(super) struct Wire<R, W> {
    reader: R,
    framer: Framer,
    line: Arc<Line>,
    send_queue: Arc<SendQueue<W>>,
    /// Whether a refusal is queued but not sent. Nothing more is read before it is sent.
    refusal_pending: bool,
    state: SessionState,
    /// Whether a request has arrived. Before that, other messages are ignored.
    started: bool,
    /// Runtime on which large messages are parsed and encoded, `None` for the current one: JSON
    /// takes long, and this may be an IO thread.
    runtime: Option<Handle>,
    /// A large message that is being parsed on that runtime.
    parsing: Option<JoinHandle<Parsed>>,
}

impl<R, W> Wire<R, W>
where
    R: AsyncRead + Unpin + Send + 'static,
    W: AsyncWrite + Unpin + Send + 'static,
{
    /// Creates a transport for messages of at most `limit` bytes. `write_timeout` limits how long a
    /// client may leave a reply unread.
    pub(super) fn new(
        reader: R,
        writer: W,
        line: Arc<Line>,
        limit: usize,
        write_timeout: Option<Duration>,
        runtime: Option<Handle>,
    ) -> Self {
        let send_queue = Arc::new(SendQueue::new(writer, write_timeout));
        Self {
            reader,
            framer: Framer::new(limit, MAX_MEMBERS),
            line,
            send_queue,
            refusal_pending: false,
            state: SessionState::Open,
            started: false,
            runtime,
            parsing: None,
        }
    }

    fn refuse(&mut self, refusal: &Value) {
        let queued = serde_json::to_vec(refusal)
            .map_err(io::Error::other)
            .and_then(|bytes| self.send_queue.push(bytes, None));
        self.refusal_pending = queued.is_ok();
    }

    /// Waits until the queued refusal has been sent.
    async fn flush_refusal(&mut self) {
        if self.refusal_pending {
            if let Err(cause) = self.send_queue.flush_and_wait().await {
                self.line.close_broken(&cause);
            }
            self.refusal_pending = false;
        }
    }

    /// Returns the next buffered message, or `None` until more bytes have been read.
    fn next_buffered(&mut self) -> Option<ClientJsonRpcMessage> {
        while !self.refusal_pending && !self.line.has_ended() {
            let parsed = match self.framer.next()? {
                Framed::Value(bytes) => self.parse(bytes)?,
                Framed::Junk => Parsed::Refused(refusal(None, PARSE_ERROR, "not JSON")),
                Framed::TooManyMembers(bytes) => {
                    let id = message::head(&bytes).and_then(message::Head::request_id);
                    Parsed::Refused(message::too_large(
                        id.as_ref(),
                        "the message has too many members",
                    ))
                }
                Framed::TooLong(prefix) => {
                    let text = format!("the message is over {} bytes", self.framer.limit());
                    Parsed::Refused(message::too_large(message::find_id(&prefix).as_ref(), &text))
                }
                Framed::Endless => {
                    self.line.close(End::TooLong);
                    Parsed::Refused(refusal(
                        None,
                        INVALID_REQUEST,
                        "the message is too long; the session ends",
                    ))
                }
            };
            if let Some(message) = self.accept(parsed) {
                return Some(message);
            }
        }
        None
    }

    /// Parses a message, or starts to parse it on the other runtime if it is large.
    fn parse(&mut self, bytes: Bytes) -> Option<Parsed> {
        match self.runtime.as_ref().filter(|_| bytes.len() > LARGE_MESSAGE) {
            Some(runtime) => {
                self.parsing = Some(runtime.spawn(async move { message::parse(&bytes) }))
            }
            None => return Some(message::parse(&bytes)),
        }
        None
    }

    /// Waits for a large message that is parsed on the other runtime.
    async fn wait_parsed(&mut self) -> Option<ClientJsonRpcMessage> {
        let parsed = self.parsing.as_mut()?.await;
        self.parsing = None;
        match parsed {
            Ok(parsed) => self.accept(parsed),
            Err(_) => {
                // The runtime of the user was shut down.
                self.line.close(End::Broken);
                None
            }
        }
    }

    /// Accepts, refuses or ignores a message.
    fn accept(&mut self, parsed: Parsed) -> Option<ClientJsonRpcMessage> {
        match parsed {
            Parsed::Message(message) => match self.admit(&message) {
                Ok(true) => return Some(*message),
                Ok(false) => {}
                Err(refused) => self.refuse(&refused),
            },
            Parsed::Refused(refused) => self.refuse(&refused),
            Parsed::Ignored => tracing::debug!("a message that asks nothing was passed over"),
        }
        None
    }

    /// Returns whether a message is passed on to the session, or the response that refuses it.
    fn admit(&mut self, message: &ClientJsonRpcMessage) -> Result<bool, Value> {
        if let ClientJsonRpcMessage::Request(request) = message {
            if self.state != SessionState::Open {
                return Err(message::draining(&request.id));
            }
            self.line.admit(&request.id)?;
            self.started = true;
        }
        if let Some(id) = message::cancelled_id(message) {
            self.line.cancel(id);
        }
        Ok(self.started)
    }

    async fn read(&mut self) {
        let buffer = self.framer.buffer();
        buffer.reserve(16 * 1024);
        let read = async {
            self.line.wait_capacity().await;
            self.reader.read_buf(buffer).await
        };
        let ended = tokio::select! {
            biased;
            () = self.line.wait_stage(Stage::Gone) => End::Closed,
            next = self.state.next(&self.line) => return self.transition(next),
            read = read => match read {
                Ok(0) => End::Closed,
                Ok(_) => return,
                Err(cause) => {
                    tracing::debug!(%cause, "a session's requests could not be read");
                    End::Broken
                }
            },
        };
        self.line.close(ended);
    }

    fn transition(&mut self, next: SessionState) {
        self.state = if self.started { next } else { SessionState::Shut };
        match self.state {
            SessionState::Closing => {
                self.refuse(&json!({ "jsonrpc": "2.0", "method": SHUTDOWN_NOTIFICATION }))
            }
            SessionState::Shut => self.line.close(End::Closed),
            SessionState::Open | SessionState::Lingering(_) => {}
        }
    }
}

impl<R, W> Transport<RoleServer> for Wire<R, W>
where
    R: AsyncRead + Unpin + Send + 'static,
    W: AsyncWrite + Unpin + Send + 'static,
{
    type Error = io::Error;

    fn send(
        &mut self,
        message: ServerJsonRpcMessage,
    ) -> impl Future<Output = io::Result<()>> + Send + 'static {
        let (send_queue, line) = (Arc::clone(&self.send_queue), Arc::clone(&self.line));
        let id = match &message {
            ServerJsonRpcMessage::Response(response) => Some(response.id.clone()),
            ServerJsonRpcMessage::Error(error) => error.id.clone(),
            _ => None,
        };
        if let Some(id) = &id {
            line.mark_replied(id);
        }
        let runtime = self.runtime.clone().filter(|_| is_large(&message));
        async move {
            let encode = move || serde_json::to_vec(&message).map_err(io::Error::other);
            let bytes = match runtime {
                Some(runtime) => {
                    runtime.spawn(async move { encode() }).await.map_err(io::Error::other)?
                }
                None => encode(),
            };
            send_queue.push(bytes?, id.map(|id| line.pending_reply(id)))?;
            send_queue.flush().await.inspect_err(|cause| line.close_broken(cause))
        }
    }

    /// Cancel safe at every `.await`: rmcp drops the future whenever something else happens, and
    /// calls this again.
    async fn receive(&mut self) -> Option<ClientJsonRpcMessage> {
        loop {
            self.flush_refusal().await;
            let message = match self.parsing {
                Some(_) => self.wait_parsed().await,
                None => self.next_buffered(),
            };
            if message.is_some() {
                return message;
            }
            if self.refusal_pending || self.parsing.is_some() {
                continue;
            }
            if self.line.has_ended() {
                break;
            }
            self.read().await;
        }
        // rmcp gives calls in flight a few seconds once this returns; they have deadlines of their
        // own.
        tokio::select! {
            () = self.line.wait_idle() => {}
            () = self.line.wait_stage(Stage::Gone) => {}
        }
        None
    }

    async fn close(&mut self) -> io::Result<()> {
        let finished = self.send_queue.finish();
        tokio::select! {
            finished = finished => finished,
            () = self.line.wait_stage(Stage::Gone) => Ok(()),
        }
    }
}
