//! The other side of one stream: requests in, replies out.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::runtime::Handle;

use super::inline::StreamCall;
use super::large::Streams;
use super::reading::Reading;
use super::stream::Stream;
use crate::context::Peer;
use crate::mux::frame::{Role, WireError, read_preamble};
use crate::mux::read_buffer::ReadBuffer;
use crate::transport::Inbound;
use crate::transport::io::{InlinePolicies, InlineQueue, IoThread};
use crate::transport::large_requests::LargeRequests;
use crate::transport::{Drain, Origin};

/// How long a client may take for the first bytes of a stream.
const PREAMBLE_TIMEOUT: Duration = Duration::from_secs(10);

/// How long the replies that are ready at the end of a drain may take.
const LAST_REPLIES: Duration = Duration::from_millis(200);

/// What all streams of a listener share.
#[derive(Clone)]
pub(crate) struct Serving {
    pub(super) inbound: Inbound,
    /// Where implementations belong: their timers, their sockets, and what they spawn.
    pub(super) user: Handle,
    pub(super) policies: InlinePolicies,
    /// Where calls are polled inline, on a connection of an IO thread.
    pub(super) inline: Option<InlineQueue<StreamCall>>,
    large: LargeRequests,
}

impl Serving {
    /// For a listener that is started on the runtime its implementations belong to.
    pub(crate) fn new(inbound: Inbound) -> Self {
        let (user, policies) = (Handle::current(), InlinePolicies::default());
        Self { inbound, user, policies, inline: None, large: LargeRequests::new() }
    }

    /// For connections of an IO thread.
    pub(crate) fn on(&self, thread: &IoThread<StreamCall>) -> Self {
        Self { inline: Some(thread.queue()), ..self.clone() }
    }

    /// The runtime that implementations belong to.
    #[cfg(feature = "unix")]
    pub(crate) fn user(&self) -> &Handle {
        &self.user
    }
}

/// Who is at the other end of a stream.
#[derive(Clone, Debug)]
pub(crate) struct Client {
    pub(crate) peer: Option<Peer>,
    pub(crate) origin: Origin,
    /// Its connection, where that counts streams.
    pub(crate) streams: Option<Arc<dyn Streams>>,
}

/// The first bytes of a stream: what it is for, and what was read after that.
pub(crate) struct Beginning {
    role: Role,
    rest: ReadBuffer,
}

impl Beginning {
    /// Reads how a stream begins; `None` if it is none of ours, or takes too long.
    pub(crate) async fn read(reader: &mut (impl AsyncRead + Unpin)) -> Option<Self> {
        let mut rest = ReadBuffer::default();
        match tokio::time::timeout(PREAMBLE_TIMEOUT, preamble(reader, &mut rest)).await {
            Ok(Ok(role)) => return Some(Self { role, rest }),
            Ok(Err(cause)) => tracing::debug!(%cause, "a stream was not begun"),
            Err(_elapsed) => tracing::debug!("a stream was not begun in time"),
        }
        None
    }

    /// Returns whether the stream is for one call with a large body.
    #[cfg(feature = "unix")]
    pub(crate) fn is_single(&self) -> bool {
        matches!(self.role, Role::Single)
    }
}

/// Serves one stream until its client closes it, or the drain ends it.
pub(crate) async fn serve<R, W>(
    serving: Serving,
    client: Client,
    beginning: Beginning,
    mut reader: R,
    writer: W,
    mut drain: Drain,
) where
    R: AsyncRead + Unpin + Send,
    W: AsyncWrite + Unpin + Send,
{
    let Beginning { role, rest: mut read_buffer } = beginning;
    let share = matches!(role, Role::Single).then(|| serving.large.share_of(&client.origin));
    let stream = Arc::new(Stream::new(serving, client.peer));
    let mut reading = match share {
        Some(share) => Reading::single(Arc::clone(&stream), share, client.streams),
        None => Reading::shared(Arc::clone(&stream)),
    };
    // When the client has gone, or this future is dropped, nobody waits for what still runs.
    let _end = EndOfCalls(Arc::clone(&stream));
    let mut cut = drain.clone();
    let reads = async {
        let ended = reading.run(&mut reader, &mut read_buffer, &mut drain).await;
        stream.send_queue.finish();
        ended
    };
    let ended = tokio::select! {
        // In this order the writer sees in the same turn what the reader has put into the queue.
        biased;
        ended = both(reads, stream.send_queue.write_to(writer, || stream.begin_backlog())) => ended,
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

/// Waits until what is left of a stream is to be cut: a moment after the drain, for the last
/// replies.
async fn over(drain: &mut Drain) {
    drain.over().await;
    tokio::time::sleep(LAST_REPLIES).await;
}

/// Ends the calls of a stream, whichever way the stream ends.
struct EndOfCalls(Arc<Stream>);

impl Drop for EndOfCalls {
    fn drop(&mut self) {
        self.0.close();
    }
}

async fn preamble(
    reader: &mut (impl AsyncRead + Unpin),
    read_buffer: &mut ReadBuffer,
) -> Result<Role, WireError> {
    loop {
        if let Some(bytes) = read_buffer.preamble() {
            return read_preamble(bytes);
        }
        match read_buffer.fill(reader).await {
            Ok(read) if read > 0 => {}
            _ => return Err(WireError::Preamble),
        }
    }
}
