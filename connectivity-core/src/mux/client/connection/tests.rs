use std::io;
use std::pin::Pin;
use std::sync::Mutex;
use std::sync::atomic::AtomicUsize;
use std::task::{Context as TaskContext, Poll};

use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

use super::*;
use crate::context::Context;
use crate::mux::frame::{Encoder, MAX_SMALL_BODY, PREAMBLE};
use crate::name::Name;

/// Sends whether the owning task panicked, when dropped.
struct Owner(Option<oneshot::Sender<bool>>);

impl Drop for Owner {
    fn drop(&mut self) {
        let _ = self.0.take().map(|ended| ended.send(std::thread::panicking()));
    }
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_the_other_side_closes_ends_in_order() {
    let (ours, mut theirs) = duplex(1024);
    let (reader, writer) = tokio::io::split(ours);
    let (ended, panicked) = oneshot::channel();
    let connection =
        Connection::start(Feed::Socket, (reader, writer), Role::Shared, Owner(Some(ended)));
    // Once the preamble is read the writer waits, and learns of the end from the reader.
    theirs.read_exact(&mut [0; 8]).await.unwrap();
    drop(theirs);
    assert!(!panicked.await.unwrap());
    assert_eq!(connection.closed().unwrap(), "the other side closed the connection");
}

fn outgoing(length: usize) -> Outgoing {
    let (name, body) = (Name::parse("copy").unwrap(), vec![b'x'; length].into());
    Outgoing { name, method: None, codec: None, context: Context::new(), body, max_reply: 2 << 20 }
}

/// Counts how often another task of the runtime is polled.
fn turns() -> Arc<AtomicUsize> {
    let turns = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&turns);
    tokio::spawn(async move {
        loop {
            counted.fetch_add(1, Ordering::Relaxed);
            tokio::task::yield_now().await;
        }
    });
    turns
}

/// A writer that accepts everything, and records with each write how often another task was polled.
#[derive(Clone)]
struct Noted(Arc<Mutex<(Vec<u8>, Vec<usize>)>>, Arc<AtomicUsize>);

impl AsyncWrite for Noted {
    fn poll_write(
        self: Pin<&mut Self>,
        _: &mut TaskContext<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let mut noted = self.0.lock().unwrap();
        noted.0.extend_from_slice(bytes);
        noted.1.push(self.1.load(Ordering::Relaxed));
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut TaskContext<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut TaskContext<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

/// Returns the body lengths of the requests written so far.
fn bodies(written: &[u8]) -> Vec<usize> {
    let mut frames = bytes::BytesMut::from(written.get(PREAMBLE..).unwrap_or_default());
    let frames = std::iter::from_fn(|| Decoder::new(2 << 20).decode(&mut frames).unwrap());
    let body = |frame| if let Frame::Request(request) = frame { request.body.len() } else { 0 };
    frames.map(body).collect()
}

#[tokio::test]
async fn a_large_body_is_written_whole_while_others_have_turns() {
    let noted = Noted(Arc::default(), turns());
    let (reader, theirs) = duplex(64);
    let connection = Connection::start(Feed::Socket, (reader, noted.clone()), Role::Single, ());
    let calls =
        async { tokio::join!(connection.call(outgoing(1 << 20)), connection.call(outgoing(5))) };
    let written = async {
        let bodies = loop {
            let bodies = bodies(&noted.0.lock().unwrap().0);
            if bodies.len() == 2 {
                break bodies;
            }
            tokio::task::yield_now().await;
        };
        drop(theirs);
        bodies
    };
    assert_eq!(tokio::join!(calls, written).1, [1 << 20, 5]);
    let turns = &noted.0.lock().unwrap().1;
    assert!(turns.len() > 16 && turns[16] - turns[0] >= 10, "{turns:?}");
}

#[tokio::test]
async fn a_long_reply_is_read_while_others_have_turns() {
    let (ours, mut theirs) = duplex(4 << 20);
    let (reader, writer) = tokio::io::split(ours);
    let connection = Connection::start(Feed::Socket, (reader, writer), Role::Single, ());
    let turns = turns();
    let served = async {
        theirs.read_buf(&mut Vec::with_capacity(1024)).await.unwrap();
        let (mut encoder, part) = (Encoder::default(), vec![b'x'; MAX_SMALL_BODY]);
        encoder.begin_reply(1, None, false, true, &part);
        (1..16).for_each(|n| encoder.part(1, n < 15, &part));
        theirs.write_all_buf(encoder.buffer()).await.unwrap();
        turns.load(Ordering::Relaxed)
    };
    let (outcome, before) = tokio::join!(connection.call(outgoing(5)), served);
    assert!(matches!(outcome, CallOutcome::Reply { body, .. } if body.len() == 1 << 20));
    let had = turns.load(Ordering::Relaxed) - before;
    assert!(had >= 10, "{had} turns");
}

/// A reader that has pongs whenever it is read, as a QUIC stream has bytes: without a socket no
/// coop budget is consumed. It ends after the given number of pongs.
#[cfg(feature = "quic")]
struct Flood(usize);

#[cfg(feature = "quic")]
impl AsyncRead for Flood {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _: &mut TaskContext<'_>,
        buffer: &mut tokio::io::ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        const PONG: [u8; 16] = [0, 0, 0, 0, 7, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        while buffer.remaining() >= PONG.len() && self.0 > 0 {
            buffer.put_slice(&PONG);
            self.0 -= 1;
        }
        Poll::Ready(Ok(()))
    }
}

#[cfg(feature = "quic")]
#[tokio::test]
async fn a_server_that_never_pauses_leaves_the_thread_to_others() {
    let connection =
        Connection::start(Feed::Task, (Flood(1 << 20), tokio::io::sink()), Role::Shared, ());
    tokio::task::yield_now().await;
    tokio::task::yield_now().await;
    assert_eq!(connection.closed(), None, "all was read in one go");
    connection.ended().await;
}
