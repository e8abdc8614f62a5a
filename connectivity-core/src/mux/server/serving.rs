//! Serves one stream: runs its reader and its writer until the client closes it or the drain ends.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};
#[cfg(feature = "unix")]
use tokio::runtime::Handle;

use super::backend::Backend;
use super::inline::StreamCall;
use super::large::Streams;
use super::reading::StreamReader;
use super::stream::Stream;
use crate::context::Peer;
use crate::mux::frame::{Role, WireError, read_preamble};
use crate::mux::read_buffer::ReadBuffer;
use crate::transport::Inbound;
use crate::transport::io::{InlineQueue, IoThread};
use crate::transport::large_requests::LargeRequests;
use crate::transport::{Drain, Origin};

/// The time a client has for the preamble of a stream.
const PREAMBLE_TIMEOUT: Duration = Duration::from_secs(10);

/// The time to write the replies that are ready when the drain ends.
const FINAL_FLUSH: Duration = Duration::from_millis(200);

/// State that all streams of a listener share.
#[derive(Clone)]
pub(crate) struct Serving {
    backend: Backend,
    /// The queue for inline polls, for connections of an IO thread.
    inline_queue: Option<InlineQueue<StreamCall>>,
    large: LargeRequests,
}

impl Serving {
    /// Creates the state of a listener. The current runtime becomes the runtime of its
    /// implementations.
    pub(crate) fn new(inbound: Inbound) -> Self {
        Self { backend: Backend::new(inbound), inline_queue: None, large: LargeRequests::new() }
    }

    /// Returns the state for connections of an IO thread.
    pub(crate) fn on_thread(&self, thread: &IoThread<StreamCall>) -> Self {
        Self { inline_queue: Some(thread.queue()), ..self.clone() }
    }

    /// Returns the runtime of the implementations.
    #[cfg(feature = "unix")]
    pub(crate) fn user(&self) -> &Handle {
        &self.backend.user
    }
}

/// The client of a stream.
#[derive(Clone, Debug)]
pub(crate) struct Client {
    pub(crate) peer: Option<Peer>,
    pub(crate) origin: Origin,
    /// The connection, if it limits its client's streams.
    pub(crate) streams: Option<Arc<dyn Streams>>,
}

/// The first bytes of a stream: its role, and what was received behind the preamble.
pub(crate) struct Beginning {
    role: Role,
    rest: ReadBuffer,
}

impl Beginning {
    /// Reads the preamble. Returns `None` if it is not one of this protocol, or takes too long.
    ///
    /// # Cancel safety
    /// Dropping the future loses the bytes it has read; the stream cannot be used afterwards.
    pub(crate) async fn read(reader: &mut (impl AsyncRead + Unpin)) -> Option<Self> {
        let mut rest = ReadBuffer::default();
        match tokio::time::timeout(PREAMBLE_TIMEOUT, preamble(reader, &mut rest)).await {
            Ok(Ok(role)) => return Some(Self { role, rest }),
            Ok(Err(cause)) => tracing::debug!(%cause, "a stream was not begun"),
            Err(_elapsed) => tracing::debug!("a stream was not begun in time"),
        }
        None
    }

    /// Returns whether the stream carries one call with a large body.
    #[cfg(feature = "unix")]
    pub(crate) fn is_single(&self) -> bool {
        matches!(self.role, Role::Single)
    }
}

/// Serves one stream until the client closes it or the drain ends it.
///
/// # Cancel safety
/// Dropping the future cancels the calls of the stream.
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
    let stream = Arc::new(Stream::new(serving.backend, client.peer));
    let mut stream_reader = match share {
        Some(share) => StreamReader::single(Arc::clone(&stream), share, client.streams),
        None => StreamReader::shared(Arc::clone(&stream), serving.inline_queue),
    };
    // Cancels the remaining calls when the client has gone or this future is dropped.
    let _close = CloseOnDrop(Arc::clone(&stream));
    let mut cutoff = drain.clone();
    let reads = async {
        let ended = stream_reader.run(&mut reader, &mut read_buffer, &mut drain).await;
        stream.send_queue.finish();
        ended
    };
    let writes = stream.send_queue.write_to(writer, || stream.start_backlog());
    let ended = tokio::select! {
        // In this order the writer sees in the same poll what the reader has queued.
        biased;
        ended = read_and_write(reads, writes) => ended,
        () = after_drain(&mut cutoff) => Ok(()),
    };
    if let Err(cause) = ended {
        tracing::debug!(%cause, "a stream ended");
    }
}

/// Reads and writes until both are done or one fails.
async fn read_and_write(
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
                // Replies that precede the peer's protocol error are still written.
                (reading, ended) = (false, read);
            }
            written = &mut writes => return ended.and(written),
        }
    }
}

/// Waits until the rest of a stream must be cut off: shortly after the drain, to let the last
/// replies out.
async fn after_drain(drain: &mut Drain) {
    drain.over().await;
    tokio::time::sleep(FINAL_FLUSH).await;
}

/// Closes the stream when dropped, however it ends.
struct CloseOnDrop(Arc<Stream>);

impl Drop for CloseOnDrop {
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
