//! Transport on which rmcp runs a client session over two byte streams: the framing, and the limits
//! on a server.

use std::collections::HashSet;
use std::fmt::Display;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use rmcp::RoleClient;
use rmcp::model::{ClientJsonRpcMessage, GetExtensions, RequestId, ServerJsonRpcMessage};
use rmcp::transport::Transport;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite};
use tokio::sync::watch;

use super::refusal::unreadable;
use super::response_filter::MAX_QUEUED_REPLIES;
use super::ticket::Ticket;
use crate::error::ErrorKind;
use crate::mcp::protocol::framer::{Framed, Framer};
use crate::mcp::protocol::send_queue::{SendObserver, SendQueue};
use crate::mcp::protocol::{SHUTDOWN_NOTIFICATION, message};

/// Write timeout: how long a server may leave a message unread.
const WRITE_TIMEOUT: Duration = Duration::from_secs(10);

/// Timeout for sending the last messages when the session closes.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);

/// A reply with more commas than this is not parsed: each member takes much more memory than its
/// bytes on the wire.
const MAX_MEMBERS: usize = 1 << 20;

/// Method of the notification that is handled once per session.
const TOOLS_CHANGED: &str = "notifications/tools/list_changed";

/// Number of invalid messages in a row after which the session ends.
const MAX_INVALID: usize = 1_000;

/// Reason why a session ended.
#[derive(Clone, Debug)]
pub(super) struct Cause {
    /// `TooLarge` if a retry of the call would end the next session too, else `Closed`.
    pub(super) kind: ErrorKind,
    pub(super) text: String,
}

impl Cause {
    pub(super) fn closed(text: impl Display) -> Self {
        Self { kind: ErrorKind::Closed, text: text.to_string() }
    }
}

/// Shared cell with the reason why a session ended, for tasks that wait for replies.
#[derive(Clone, Debug)]
pub(super) struct CloseReason(watch::Sender<Option<Cause>>);

impl CloseReason {
    pub(super) fn new() -> Self {
        Self(watch::Sender::new(None))
    }

    fn set(&self, cause: Cause) {
        self.0.send_if_modified(|reason| {
            let is_first = reason.is_none();
            reason.get_or_insert(cause);
            is_first
        });
    }

    /// Replaces a reason that was only a consequence of this one.
    pub(super) fn replace(&self, cause: String) {
        self.0.send_replace(Some(Cause::closed(cause)));
    }

    pub(super) fn get(&self) -> Option<Cause> {
        self.0.borrow().clone()
    }

    async fn wait(&self) {
        // Cannot fail: `self` holds the sender.
        let _ = self.0.subscribe().wait_for(Option::is_some).await;
    }
}

/// Transport of a client session.
pub(super) struct Stream<R, W, O> {
    reader: R,
    framer: Framer,
    close_reason: CloseReason,
    send_queue: Arc<SendQueue<W>>,
    /// Number of invalid messages in a row.
    invalid: usize,
    /// Requests that wait for a response.
    pending: HashSet<RequestId>,
    /// Requests of the server without a reply.
    unanswered: usize,
    /// Whether the server has announced that its tools have changed.
    tools_changed: bool,
    /// Dropped with the session.
    _owner: O,
}

impl<R, W, O> Stream<R, W, O>
where
    R: AsyncRead + Unpin + Send + 'static,
    W: AsyncWrite + Unpin + Send + 'static,
    O: Send + 'static,
{
    /// Creates a transport that accepts replies of at most `limit` bytes.
    pub(super) fn new(
        reader: R,
        writer: W,
        limit: usize,
        close_reason: CloseReason,
        owner: O,
    ) -> Self {
        let send_queue = Arc::new(SendQueue::new(writer, Some(WRITE_TIMEOUT)));
        Self {
            reader,
            framer: Framer::new(limit, MAX_MEMBERS),
            close_reason,
            send_queue,
            invalid: 0,
            pending: HashSet::new(),
            unanswered: 0,
            tools_changed: false,
            _owner: owner,
        }
    }

    /// Returns whether a message is a notification without news, a response to no pending request, or
    /// a request too many of the server. A flood of them costs no more than parsing the head of each.
    fn is_redundant(&mut self, bytes: &[u8]) -> bool {
        let Some(head) = message::head(bytes) else { return false };
        match (&head.id, head.method()) {
            (None, None | Some(SHUTDOWN_NOTIFICATION)) => false,
            (Some(_), Some(_)) => self.unanswered >= MAX_QUEUED_REPLIES,
            (None, Some(TOOLS_CHANGED)) => std::mem::replace(&mut self.tools_changed, true),
            (None, Some(_)) => true,
            (Some(_), None) => head.request_id().is_some_and(|id| !self.pending.remove(&id)),
        }
    }

    /// Tracks which requests of both sides wait for a response.
    fn track(&mut self, message: &ClientJsonRpcMessage) {
        match message {
            ClientJsonRpcMessage::Request(request) => _ = self.pending.insert(request.id.clone()),
            ClientJsonRpcMessage::Notification(_) => {}
            _reply => self.unanswered = self.unanswered.saturating_sub(1),
        }
        if let Some(id) = message::cancelled_id(message) {
            self.pending.remove(id);
        }
    }

    /// Returns the next buffered message, or `None` until more bytes have been read.
    fn next_buffered(&mut self) -> Option<Result<ServerJsonRpcMessage, Cause>> {
        loop {
            let message = match self.framer.next()? {
                Framed::Value(bytes) if self.is_redundant(&bytes) => continue,
                Framed::Value(bytes) => match parse(&bytes) {
                    Parsed::Message(message) => {
                        let is_request = matches!(*message, ServerJsonRpcMessage::Request(_));
                        self.unanswered += usize::from(is_request);
                        Some(*message)
                    }
                    Parsed::Ignored => continue,
                    Parsed::Invalid => None,
                },
                Framed::TooManyMembers(bytes) => match reply_id(&bytes) {
                    Some(id) if !self.pending.remove(&id) => continue,
                    id => id.map(|id| unreadable(id, "the answer has too many members")),
                },
                Framed::Junk => None,
                Framed::TooLong(_) | Framed::Endless => {
                    let text =
                        format!("a message of the server is over {} bytes", self.framer.limit());
                    return Some(Err(Cause { kind: ErrorKind::TooLarge, text }));
                }
            };
            if let Some(message) = message {
                self.invalid = 0;
                return Some(Ok(message));
            }
            self.invalid += 1;
            if self.invalid > MAX_INVALID {
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

    /// Queues the message at once, so that the cancellation of a call cannot overtake it. A call
    /// holds a permit of the session until it has been sent, so the queue holds no more calls than
    /// the session has permits. The future of a reply waits until the reply has been written.
    fn send(
        &mut self,
        message: ClientJsonRpcMessage,
    ) -> impl Future<Output = io::Result<()>> + Send + 'static {
        let (ticket, is_reply): (Option<Arc<Ticket>>, _) = match &message {
            ClientJsonRpcMessage::Request(request) => {
                (request.request.extensions().get().cloned(), false)
            }
            ClientJsonRpcMessage::Notification(_) => (None, false),
            _ => (None, true),
        };
        self.track(&message);
        let queued = serde_json::to_vec(&message).map_err(io::Error::other);
        let queued = queued.and_then(|bytes| {
            self.send_queue.push(bytes, ticket.map(|ticket| ticket as Arc<dyn SendObserver>))
        });
        let (send_queue, close_reason) = (Arc::clone(&self.send_queue), self.close_reason.clone());
        async move {
            queued?;
            let sent =
                if is_reply { send_queue.flush_and_wait().await } else { send_queue.flush().await };
            sent.inspect_err(|cause| {
                close_reason.set(Cause::closed(format_args!("cannot write: {cause}")))
            })
        }
    }

    /// Cancel safe: rmcp drops the future whenever something else happens, and calls this again.
    async fn receive(&mut self) -> Option<ServerJsonRpcMessage> {
        loop {
            // QUIC streams do not take part in tokio's cooperative budget: a stream that always has
            // more data must not hold the thread.
            tokio::task::consume_budget().await;
            match self.next_buffered() {
                Some(Ok(message)) => return Some(message),
                Some(Err(cause)) => {
                    self.close_reason.set(cause);
                    return None;
                }
                None => {}
            }
            self.framer.buffer().reserve(16 * 1024);
            let read = tokio::select! {
                biased;
                read = self.reader.read_buf(self.framer.buffer()) => read,
                () = self.close_reason.wait() => return None,
            };
            match read {
                Ok(0) => self.close_reason.set(Cause::closed("the other side closed the session")),
                Ok(_) => continue,
                Err(cause) => {
                    self.close_reason.set(Cause::closed(format_args!("cannot read: {cause}")))
                }
            }
            return None;
        }
    }

    async fn close(&mut self) -> io::Result<()> {
        // No task waits for messages that are not sent in time.
        let _ = tokio::time::timeout(CLOSE_TIMEOUT, self.send_queue.finish()).await;
        Ok(())
    }
}

/// What a received value means to a client of tools.
enum Parsed {
    Message(Box<ServerJsonRpcMessage>),
    /// A notification or request in a nonstandard form; it needs no reply.
    Ignored,
    Invalid,
}

/// Parses a message. The parser bounds the nesting depth.
fn parse(bytes: &Bytes) -> Parsed {
    if let Ok(message) = serde_json::from_slice(bytes) {
        return Parsed::Message(Box::new(message));
    }
    match message::head(bytes) {
        Some(head) if head.method().is_some() => Parsed::Ignored,
        // Report the failure now instead of letting the caller wait until its deadline.
        Some(head) => head.request_id().map_or(Parsed::Invalid, |id| {
            Parsed::Message(Box::new(unreadable(id, "the answer is no message of JSON-RPC")))
        }),
        None => Parsed::Invalid,
    }
}

/// Returns the id of the call that a reply belongs to, as far as it can be found.
fn reply_id(bytes: &[u8]) -> Option<RequestId> {
    message::head(bytes).filter(|head| head.method().is_none())?.request_id()
}

#[cfg(test)]
mod tests {
    use std::pin::Pin;
    use std::task::{Context, Poll};

    use tokio::io::ReadBuf;

    use super::*;

    /// Yields redundant notifications on every read while at least one fits in the remaining bytes.
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
    async fn requests_of_the_server_are_read_while_few_are_unanswered() {
        let pings = "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"ping\"}\n".repeat(1_000);
        let close_reason = CloseReason::new();
        let mut stream =
            Stream::new(io::Cursor::new(pings), tokio::io::sink(), 1 << 20, close_reason, ());
        let mut read = 0;
        while let Some(message) = stream.receive().await {
            assert!(matches!(message, ServerJsonRpcMessage::Request(_)), "{message:?}");
            read += 1;
        }
        assert_eq!(read, MAX_QUEUED_REPLIES);
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
