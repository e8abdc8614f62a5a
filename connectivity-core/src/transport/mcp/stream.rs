//! A session's two streams of bytes, as the transport that rmcp runs its client on: the framing, and what bounds a server.

use std::fmt::Display;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use rmcp::RoleClient;
use rmcp::model::{ClientJsonRpcMessage, ErrorCode, ErrorData, GetExtensions, RequestId, ServerJsonRpcMessage};
use rmcp::transport::Transport;
use serde::Deserialize;
use serde::de::IgnoredAny;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;

use super::session::Ticket;
use crate::mcp::framer::{Framed, Framer};

/// How long a server may leave a message unread.
const STALL: Duration = Duration::from_secs(10);

/// How much is written between two looks at the clock.
const PIECE: usize = 64 * 1024;

/// How long what was written last may take to leave.
const GOODBYE: Duration = Duration::from_secs(1);

/// An answer of more commas than this is not parsed: each takes much more memory than its bytes on the wire.
const MAX_MEMBERS: usize = 1 << 20;

/// After so many things in a row that are no messages, a server is given up.
const MAX_JUNK: usize = 1_000;

/// Why a session has ended, for those who wait for answers.
#[derive(Clone, Debug, Default)]
pub(super) struct Why(Arc<Mutex<Option<String>>>);

impl Why {
    fn is(&self, cause: &dyn Display) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert_with(|| cause.to_string());
    }

    /// Takes the place of what only followed from it.
    pub(super) fn is_in_fact(&self, cause: String) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(cause);
    }

    pub(super) fn get(&self) -> Option<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// The transport.
pub(super) struct Stream<R, O> {
    reader: R,
    framer: Framer,
    why: Why,
    outbox: Option<mpsc::UnboundedSender<Outgoing>>,
    writing: Option<JoinHandle<()>>,
    /// Messages in a row that could not be understood.
    junk: usize,
    /// Lives as long as the session does.
    _owner: O,
}

/// A message on its way out.
struct Outgoing {
    bytes: Vec<u8>,
    /// Of a call. It holds one of the session's places, so the outbox has no more calls than a session has places.
    ticket: Option<Arc<Ticket>>,
    /// Tells who has to wait until the message has left.
    written: Option<oneshot::Sender<()>>,
}

impl<R: AsyncRead + Unpin + Send + 'static, O: Send + 'static> Stream<R, O> {
    /// Reads and writes a session; an answer is at most `limit` bytes long.
    pub(super) fn new<W>(reader: R, writer: W, limit: usize, why: Why, owner: O) -> Self
    where
        W: AsyncWrite + Unpin + Send + 'static,
    {
        let (outbox, queue) = mpsc::unbounded_channel();
        let broken = why.clone();
        let writing = tokio::spawn(async move {
            if let Err(cause) = write(queue, writer).await {
                broken.is(&format_args!("cannot write: {cause}"));
            }
        });
        let framer = Framer::new(limit, MAX_MEMBERS);
        Self { reader, framer, why, outbox: Some(outbox), writing: Some(writing), junk: 0, _owner: owner }
    }

    /// Takes an answer that is there already; `None` until more was read.
    fn take(&mut self) -> Option<Result<ServerJsonRpcMessage, String>> {
        loop {
            let message = match self.framer.next()? {
                Framed::Value(bytes) => read(&bytes),
                Framed::TooManyMembers(bytes) => {
                    id_of(&bytes).map(|id| unreadable(id, "the answer has too many members"))
                }
                Framed::Junk => None,
                Framed::TooLong => return Some(Err(format!("a message is over {} bytes", self.framer.limit()))),
            };
            if let Some(message) = message {
                self.junk = 0;
                return Some(Ok(message));
            }
            self.junk += 1;
            if self.junk > MAX_JUNK {
                return Some(Err("the other side does not speak this protocol".to_owned()));
            }
        }
    }
}

impl<R: AsyncRead + Unpin + Send + 'static, O: Send + 'static> Transport<RoleClient> for Stream<R, O> {
    type Error = io::Error;

    /// Puts the message into the outbox at once: a call's cancellation must not overtake it.
    fn send(&mut self, message: ClientJsonRpcMessage) -> impl Future<Output = io::Result<()>> + Send + 'static {
        let (written, left) = oneshot::channel();
        let (ticket, written, left) = match &message {
            ClientJsonRpcMessage::Request(request) => (request.request.extensions().get().cloned(), None, None),
            ClientJsonRpcMessage::Notification(_) => (None, None, None),
            _ => (None, Some(written), Some(left)),
        };
        let bytes = serde_json::to_vec(&message).map_err(io::Error::other);
        let sent = bytes.and_then(|bytes| {
            let outbox = self.outbox.as_ref().ok_or(io::ErrorKind::NotConnected)?;
            outbox.send(Outgoing { bytes, ticket, written }).map_err(|_gone| io::ErrorKind::BrokenPipe.into())
        });
        async move {
            sent?;
            match left {
                Some(left) => left.await.map_err(|_gone| io::ErrorKind::BrokenPipe.into()),
                None => Ok(()),
            }
        }
    }

    /// Can be dropped at an `.await` and begun again: rmcp does so whenever something else happens.
    async fn receive(&mut self) -> Option<ServerJsonRpcMessage> {
        loop {
            match self.take() {
                Some(Ok(message)) => return Some(message),
                Some(Err(cause)) => {
                    self.why.is(&cause);
                    return None;
                }
                None => {}
            }
            self.framer.buffer().reserve(16 * 1024);
            let ended = async {
                match &mut self.writing {
                    Some(writing) => _ = writing.await,
                    None => std::future::pending().await,
                }
            };
            let read = tokio::select! {
                biased;
                read = self.reader.read_buf(self.framer.buffer()) => read,
                () = ended => {
                    self.writing = None;
                    return None;
                }
            };
            match read {
                Ok(0) => self.why.is(&"the other side closed the session"),
                Ok(_) => continue,
                Err(cause) => self.why.is(&format_args!("cannot read: {cause}")),
            }
            return None;
        }
    }

    async fn close(&mut self) -> io::Result<()> {
        self.outbox = None;
        if let Some(mut writing) = self.writing.take()
            && tokio::time::timeout(GOODBYE, &mut writing).await.is_err()
        {
            writing.abort();
        }
        Ok(())
    }
}

/// Understands a message; `None` for one that answers nothing. A parser that bounds the depth reads it.
fn read(bytes: &Bytes) -> Option<ServerJsonRpcMessage> {
    match serde_json::from_slice(bytes) {
        Ok(message) => Some(message),
        // Whoever waits for it is not left to wait until the deadline.
        Err(_cause) => id_of(bytes).map(|id| unreadable(id, "the answer is no message of JSON-RPC")),
    }
}

/// The call that a message answers, as far as that can be told.
fn id_of(bytes: &[u8]) -> Option<RequestId> {
    #[derive(Deserialize)]
    struct Head {
        id: RequestId,
        method: Option<IgnoredAny>,
    }
    let head: Head = serde_json::from_slice(bytes).ok()?;
    head.method.is_none().then_some(head.id)
}

/// The code of what stands for an answer that cannot be read: none of JSON-RPC's, and no server's.
pub(super) const UNREADABLE: ErrorCode = ErrorCode(i32::MIN);

fn unreadable(id: RequestId, why: &'static str) -> ServerJsonRpcMessage {
    ServerJsonRpcMessage::error(ErrorData::new(UNREADABLE, why, None), Some(id))
}

/// Writes messages, each with its newline, until no more come.
async fn write(mut queue: mpsc::UnboundedReceiver<Outgoing>, mut writer: impl AsyncWrite + Unpin) -> io::Result<()> {
    while let Some(Outgoing { mut bytes, ticket, written }) = queue.recv().await {
        if let Some(ticket) = ticket {
            ticket.leaves();
        }
        bytes.push(b'\n');
        for piece in bytes.chunks(PIECE) {
            within(writer.write_all(piece)).await?;
        }
        within(writer.flush()).await?;
        let _ = written.map(|written| written.send(()));
    }
    writer.shutdown().await
}

async fn within(work: impl Future<Output = io::Result<()>>) -> io::Result<()> {
    let stuck = |_elapsed| Err(io::Error::new(io::ErrorKind::TimedOut, "the other side does not read"));
    tokio::time::timeout(STALL, work).await.unwrap_or_else(stuck)
}
