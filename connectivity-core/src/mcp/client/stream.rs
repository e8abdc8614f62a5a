//! A session's two streams of bytes, as the transport that rmcp runs its client on: the framing,
//! and what bounds a server.

use std::collections::HashSet;
use std::fmt::Display;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use rmcp::RoleClient;
use rmcp::model::{
    ClientJsonRpcMessage, ErrorCode, ErrorData, GetExtensions, RequestId, ServerJsonRpcMessage,
};
use rmcp::transport::Transport;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite};
use tokio::sync::watch;

use super::session::Ticket;
use crate::error::ErrorKind;
use crate::mcp::protocol::framer::{Framed, Framer};
use crate::mcp::protocol::send_queue::{SendObserver, SendQueue};
use crate::mcp::protocol::{LEAVING, message};

/// How long a server may leave a message unread.
const STALL: Duration = Duration::from_secs(10);

/// How long what was written last may take to leave.
const GOODBYE: Duration = Duration::from_secs(1);

/// An answer of more commas than this is not parsed: each takes much more memory than its bytes on
/// the wire.
const MAX_MEMBERS: usize = 1 << 20;

/// The notice that is heard once.
const TOOLS_CHANGED: &str = "notifications/tools/list_changed";

/// After so many things in a row that are no messages, a server is given up.
const MAX_JUNK: usize = 1_000;

/// What ended a session.
#[derive(Clone, Debug)]
pub(super) struct Cause {
    /// `TooLarge` where a call's repetition would end the next session too, else `Closed`.
    pub(super) kind: ErrorKind,
    pub(super) text: String,
}

impl Cause {
    pub(super) fn closed(text: impl Display) -> Self {
        Self { kind: ErrorKind::Closed, text: text.to_string() }
    }
}

/// Why a session has ended, for those who wait for answers.
#[derive(Clone, Debug)]
pub(super) struct CloseReason(watch::Sender<Option<Cause>>);

impl CloseReason {
    pub(super) fn new() -> Self {
        Self(watch::Sender::new(None))
    }

    fn is(&self, cause: Cause) {
        self.0.send_if_modified(|why| {
            let is_first = why.is_none();
            why.get_or_insert(cause);
            is_first
        });
    }

    /// Takes the place of what only followed from it.
    pub(super) fn is_in_fact(&self, cause: String) {
        self.0.send_replace(Some(Cause::closed(cause)));
    }

    pub(super) fn get(&self) -> Option<Cause> {
        self.0.borrow().clone()
    }

    async fn known(&self) {
        // The sender is here.
        let _ = self.0.subscribe().wait_for(Option::is_some).await;
    }
}

/// The transport.
pub(super) struct Stream<R, W, O> {
    reader: R,
    framer: Framer,
    why: CloseReason,
    send_queue: Arc<SendQueue<W>>,
    /// Messages in a row that could not be understood.
    junk: usize,
    /// The requests that wait for a response.
    pending: HashSet<RequestId>,
    /// The server has said that its tools have changed.
    tools_changed: bool,
    /// Lives as long as the session does.
    _owner: O,
}

impl<R, W, O> Stream<R, W, O>
where
    R: AsyncRead + Unpin + Send + 'static,
    W: AsyncWrite + Unpin + Send + 'static,
    O: Send + 'static,
{
    /// Reads and writes a session; an answer is at most `limit` bytes long.
    pub(super) fn new(reader: R, writer: W, limit: usize, why: CloseReason, owner: O) -> Self {
        let send_queue = Arc::new(SendQueue::new(writer, Some(STALL)));
        Self {
            reader,
            framer: Framer::new(limit, MAX_MEMBERS),
            why,
            send_queue,
            junk: 0,
            pending: HashSet::new(),
            tools_changed: false,
            _owner: owner,
        }
    }

    /// Returns whether a message is a notification that says nothing new, or a response to no
    /// pending request. A flood of them costs no more than reading the head of each.
    fn is_ignored(&mut self, bytes: &[u8]) -> bool {
        let Some(head) = message::head(bytes) else { return false };
        match (&head.id, head.method()) {
            (None, None | Some(LEAVING)) | (Some(_), Some(_)) => false,
            (None, Some(TOOLS_CHANGED)) => std::mem::replace(&mut self.tools_changed, true),
            (None, Some(_)) => true,
            (Some(_), None) => head.request_id().is_some_and(|id| !self.pending.remove(&id)),
        }
    }

    /// Keeps track of the requests that wait for a response.
    fn track(&mut self, message: &ClientJsonRpcMessage) {
        if let ClientJsonRpcMessage::Request(request) = message {
            self.pending.insert(request.id.clone());
        }
        if let Some(id) = message::cancels(message) {
            self.pending.remove(id);
        }
    }

    /// Takes an answer that is there already; `None` until more was read.
    fn take(&mut self) -> Option<Result<ServerJsonRpcMessage, Cause>> {
        loop {
            let message = match self.framer.next()? {
                Framed::Value(bytes) if self.is_ignored(&bytes) => continue,
                Framed::Value(bytes) => match read(&bytes) {
                    Understood::Message(message) => Some(*message),
                    Understood::AsksNothing => continue,
                    Understood::Not => None,
                },
                Framed::TooManyMembers(bytes) => {
                    id_of(&bytes).map(|id| unreadable(id, "the answer has too many members"))
                }
                Framed::Junk => None,
                Framed::TooLong(_) | Framed::Endless => {
                    let text =
                        format!("a message of the server is over {} bytes", self.framer.limit());
                    return Some(Err(Cause { kind: ErrorKind::TooLarge, text }));
                }
            };
            if let Some(message) = message {
                self.junk = 0;
                return Some(Ok(message));
            }
            self.junk += 1;
            if self.junk > MAX_JUNK {
                return Some(Err(Cause::closed("the other side does not speak this protocol")));
            }
        }
    }
}

impl<R, W, O> Transport<RoleClient> for Stream<R, W, O>
where
    R: AsyncRead + Unpin + Send + 'static,
    W: AsyncWrite + Unpin + Send + 'static,
    O: Send + 'static,
{
    type Error = io::Error;

    /// Puts the message into the outbox at once: a call's cancellation must not overtake it. A call
    /// holds one of the session's places until it has left, so there are no more in the outbox than
    /// a session has places; an answer is waited for.
    fn send(
        &mut self,
        message: ClientJsonRpcMessage,
    ) -> impl Future<Output = io::Result<()>> + Send + 'static {
        let (ticket, is_answer): (Option<Arc<Ticket>>, _) = match &message {
            ClientJsonRpcMessage::Request(request) => {
                (request.request.extensions().get().cloned(), false)
            }
            ClientJsonRpcMessage::Notification(_) => (None, false),
            _ => (None, true),
        };
        self.track(&message);
        let put = serde_json::to_vec(&message).map_err(io::Error::other);
        let put = put.and_then(|bytes| {
            self.send_queue.put(bytes, ticket.map(|ticket| ticket as Arc<dyn SendObserver>))
        });
        let (send_queue, why) = (Arc::clone(&self.send_queue), self.why.clone());
        async move {
            put?;
            let sent =
                if is_answer { send_queue.drained().await } else { send_queue.flush().await };
            sent.inspect_err(|cause| why.is(Cause::closed(format_args!("cannot write: {cause}"))))
        }
    }

    /// Can be dropped at an `.await` and begun again: rmcp does so whenever something else happens.
    async fn receive(&mut self) -> Option<ServerJsonRpcMessage> {
        loop {
            // A stream of QUIC has no budget of its own: one that always has more must not keep the
            // thread.
            tokio::task::consume_budget().await;
            match self.take() {
                Some(Ok(message)) => return Some(message),
                Some(Err(cause)) => {
                    self.why.is(cause);
                    return None;
                }
                None => {}
            }
            self.framer.buffer().reserve(16 * 1024);
            let read = tokio::select! {
                biased;
                read = self.reader.read_buf(self.framer.buffer()) => read,
                () = self.why.known() => return None,
            };
            match read {
                Ok(0) => self.why.is(Cause::closed("the other side closed the session")),
                Ok(_) => continue,
                Err(cause) => self.why.is(Cause::closed(format_args!("cannot read: {cause}"))),
            }
            return None;
        }
    }

    async fn close(&mut self) -> io::Result<()> {
        // What does not leave in time has nobody to wait for it.
        let _ = tokio::time::timeout(GOODBYE, self.send_queue.finish()).await;
        Ok(())
    }
}

/// What a value is to a client of tools.
enum Understood {
    Message(Box<ServerJsonRpcMessage>),
    /// A notice or a question in a form of its own.
    AsksNothing,
    Not,
}

/// Understands a message. A parser that bounds the depth reads it.
fn read(bytes: &Bytes) -> Understood {
    if let Ok(message) = serde_json::from_slice(bytes) {
        return Understood::Message(Box::new(message));
    }
    match message::head(bytes) {
        Some(head) if head.method().is_some() => Understood::AsksNothing,
        // Whoever waits for it is not left to wait until the deadline.
        Some(head) => head.request_id().map_or(Understood::Not, |id| {
            Understood::Message(Box::new(unreadable(id, "the answer is no message of JSON-RPC")))
        }),
        None => Understood::Not,
    }
}

/// The call that an answer is for, as far as that can be told.
fn id_of(bytes: &[u8]) -> Option<RequestId> {
    message::head(bytes).filter(|head| head.method().is_none())?.request_id()
}

/// The code of what stands for an answer that cannot be read: none of JSON-RPC's, and no server's.
pub(super) const UNREADABLE: ErrorCode = ErrorCode(i32::MIN);

fn unreadable(id: RequestId, why: &'static str) -> ServerJsonRpcMessage {
    ServerJsonRpcMessage::error(ErrorData::new(UNREADABLE, why, None), Some(id))
}

#[cfg(test)]
mod tests {
    use std::pin::Pin;
    use std::task::{Context, Poll};

    use tokio::io::ReadBuf;

    use super::*;

    /// Has notices that say nothing new whenever it is read, until so many bytes are left.
    struct Flood(usize);

    impl AsyncRead for Flood {
        fn poll_read(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
            buffer: &mut ReadBuf<'_>,
        ) -> Poll<io::Result<()>> {
            let notice = b"{\"jsonrpc\":\"2.0\",\"method\":\"notifications/progress\"}\n";
            while buffer.remaining() >= notice.len() && self.0 >= notice.len() {
                buffer.put_slice(notice);
                self.0 -= notice.len();
            }
            Poll::Ready(Ok(()))
        }
    }

    #[tokio::test]
    async fn a_server_that_never_pauses_leaves_the_thread_to_others() {
        let mut stream =
            Stream::new(Flood(16 << 20), tokio::io::sink(), 1 << 20, CloseReason::new(), ());
        let reading = tokio::spawn(async move { stream.receive().await });
        tokio::task::yield_now().await;
        assert!(!reading.is_finished(), "all was read in one go");
        assert!(reading.await.unwrap().is_none());
    }
}
