//! A session's two streams of bytes, as the transport that rmcp runs it on: the framing, and what
//! bounds a client.

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

use super::handler::size;
use super::line::{End, Line, Stage};
use crate::mcp::protocol::framer::{Framed, Framer};
use crate::mcp::protocol::message::{self, INVALID_REQUEST, PARSE_ERROR, Read, refusal};
use crate::mcp::protocol::send_queue::SendQueue;
use crate::mcp::protocol::{LEAVING, MAX_MEMBERS};

/// Reading and writing a message of more bytes takes longer than sockets should wait.
const LARGE: usize = 64 * 1024;

/// A list of more tools is a large message.
const MANY_TOOLS: usize = 64;

/// Returns whether an answer takes a while to be written as JSON.
fn is_large(message: &ServerJsonRpcMessage) -> bool {
    let ServerJsonRpcMessage::Response(response) = message else { return false };
    match &response.result {
        ServerResult::CallToolResult(result) => size(result) > LARGE,
        ServerResult::ListToolsResult(list) => list.tools.len() > MANY_TOOLS,
        _ => false,
    }
}

/// How long a session that is to end refuses requests that were on their way, once all others were
/// answered.
const LINGER: Duration = Duration::from_millis(200);

/// Whether requests are taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum SessionState {
    Open,
    /// Not any more: the client was told, and gets the answers that are under way.
    Closing,
    /// There are none: what crossed the notice on its way is refused until then, so that it is
    /// known not to have run.
    Lingering(Instant),
    Shut,
}

impl SessionState {
    /// Waits until it is moved.
    async fn next(self, line: &Line) -> Self {
        match self {
            Self::Open => {
                line.reached(Stage::Ending).await;
                Self::Closing
            }
            Self::Closing => {
                line.is_idle().await;
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

/// The transport.
pub(super) struct Wire<R, W> {
    reader: R,
    framer: Framer,
    line: Arc<Line>,
    send_queue: Arc<SendQueue<W>>,
    /// An answer of ours that has not left yet: nothing more is read before.
    refused: bool,
    state: SessionState,
    /// Whether a request has come: before that nothing else is understood.
    begun: bool,
    /// Where large messages are read and written, unless here: JSON takes a while, and this may be
    /// an IO thread.
    user: Option<Handle>,
    /// A large message that is being read there.
    reading: Option<JoinHandle<Read>>,
}

impl<R, W> Wire<R, W>
where
    R: AsyncRead + Unpin + Send + 'static,
    W: AsyncWrite + Unpin + Send + 'static,
{
    /// Reads and writes a session. A message is at most `limit` bytes long, and an answer is not
    /// left unread for longer than `stall`.
    pub(super) fn new(
        reader: R,
        writer: W,
        line: Arc<Line>,
        limit: usize,
        stall: Option<Duration>,
        user: Option<Handle>,
    ) -> Self {
        let send_queue = Arc::new(SendQueue::new(writer, stall));
        Self {
            reader,
            framer: Framer::new(limit, MAX_MEMBERS),
            line,
            send_queue,
            refused: false,
            state: SessionState::Open,
            begun: false,
            user,
            reading: None,
        }
    }

    fn refuse(&mut self, refusal: &Value) {
        let put = serde_json::to_vec(refusal)
            .map_err(io::Error::other)
            .and_then(|bytes| self.send_queue.put(bytes, None));
        self.refused = put.is_ok();
    }

    /// Waits until an answer of ours has left.
    async fn refusal_leaves(&mut self) {
        if self.refused {
            if let Err(cause) = self.send_queue.drained().await {
                self.line.broken(&cause);
            }
            self.refused = false;
        }
    }

    /// Takes what is there already; `None` until more was read.
    fn take(&mut self) -> Option<ClientJsonRpcMessage> {
        while !self.refused && !self.line.has_ended() {
            let read = match self.framer.next()? {
                Framed::Value(bytes) => self.parse(bytes)?,
                Framed::Junk => Read::Refused(refusal(None, PARSE_ERROR, "not JSON")),
                Framed::TooManyMembers(bytes) => {
                    let id = message::head(&bytes).and_then(message::Head::request_id);
                    Read::Refused(message::too_large(
                        id.as_ref(),
                        "the message has too many members",
                    ))
                }
                Framed::TooLong(beginning) => {
                    let text = format!("the message is over {} bytes", self.framer.limit());
                    Read::Refused(message::too_large(message::id_in(&beginning).as_ref(), &text))
                }
                Framed::Endless => {
                    self.line.close(End::TooLong);
                    Read::Refused(refusal(
                        None,
                        INVALID_REQUEST,
                        "the message is too long; the session ends",
                    ))
                }
            };
            if let Some(message) = self.accept(read) {
                return Some(message);
            }
        }
        None
    }

    /// Reads a message, here or, a large one, elsewhere.
    fn parse(&mut self, bytes: Bytes) -> Option<Read> {
        match self.user.as_ref().filter(|_| bytes.len() > LARGE) {
            Some(user) => self.reading = Some(user.spawn(async move { message::read(&bytes) })),
            None => return Some(message::read(&bytes)),
        }
        None
    }

    /// Waits for a large message that is read elsewhere.
    async fn parsed(&mut self) -> Option<ClientJsonRpcMessage> {
        let read = self.reading.as_mut()?.await;
        self.reading = None;
        match read {
            Ok(read) => self.accept(read),
            Err(_) => {
                // The user's runtime is shut down.
                self.line.close(End::Broken);
                None
            }
        }
    }

    /// Takes, refuses or passes over a message.
    fn accept(&mut self, read: Read) -> Option<ClientJsonRpcMessage> {
        match read {
            Read::Message(message) => match self.admit(&message) {
                Ok(true) => return Some(*message),
                Ok(false) => {}
                Err(refused) => self.refuse(&refused),
            },
            Read::Refused(refused) => self.refuse(&refused),
            Read::PassedOver => tracing::debug!("a message that asks nothing was passed over"),
        }
        None
    }

    /// Says whether a message goes on to the session.
    fn admit(&mut self, message: &ClientJsonRpcMessage) -> Result<bool, Value> {
        if let ClientJsonRpcMessage::Request(request) = message {
            if self.state != SessionState::Open {
                return Err(message::too_late(&request.id));
            }
            self.line.admit(&request.id)?;
            self.begun = true;
        }
        if let Some(id) = message::cancels(message) {
            self.line.cancelled(id);
        }
        Ok(self.begun)
    }

    async fn read(&mut self) {
        let buffer = self.framer.buffer();
        buffer.reserve(16 * 1024);
        let read = async {
            self.line.room().await;
            self.reader.read_buf(buffer).await
        };
        let ended = tokio::select! {
            biased;
            () = self.line.reached(Stage::Gone) => End::Closed,
            next = self.state.next(&self.line) => return self.pass(next),
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

    fn pass(&mut self, next: SessionState) {
        self.state = if self.begun { next } else { SessionState::Shut };
        match self.state {
            SessionState::Closing => self.refuse(&json!({ "jsonrpc": "2.0", "method": LEAVING })),
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
            line.answers(id);
        }
        let elsewhere = self.user.clone().filter(|_| is_large(&message));
        async move {
            let encode = move || serde_json::to_vec(&message).map_err(io::Error::other);
            let bytes = match elsewhere {
                Some(user) => {
                    user.spawn(async move { encode() }).await.map_err(io::Error::other)?
                }
                None => encode(),
            };
            send_queue.put(bytes?, id.map(|id| line.answer(id)))?;
            send_queue.flush().await.inspect_err(|cause| line.broken(cause))
        }
    }

    /// Everything in here can be dropped at an `.await` and begun again: rmcp does so whenever
    /// something else happens.
    async fn receive(&mut self) -> Option<ClientJsonRpcMessage> {
        loop {
            self.refusal_leaves().await;
            let message = match self.reading {
                Some(_) => self.parsed().await,
                None => self.take(),
            };
            if message.is_some() {
                return message;
            }
            if self.refused || self.reading.is_some() {
                continue;
            }
            if self.line.has_ended() {
                break;
            }
            self.read().await;
        }
        // rmcp gives answers that are under way a few seconds when this is over; calls have
        // deadlines of their own.
        tokio::select! {
            () = self.line.is_idle() => {}
            () = self.line.reached(Stage::Gone) => {}
        }
        None
    }

    async fn close(&mut self) -> io::Result<()> {
        let finished = self.send_queue.finish();
        tokio::select! {
            finished = finished => finished,
            () = self.line.reached(Stage::Gone) => Ok(()),
        }
    }
}
