//! Serves one session over a stream, from its first message to its end.

use std::sync::Arc;
use std::time::Duration;

use rmcp::ServiceExt;
use tokio::io::{AsyncRead, AsyncWrite};

use super::Inner;
use super::handler::Session;
use super::line::{End, Line, Stage};
use super::wire::Wire;
use crate::context::Peer;
use crate::transport::Drain;

/// Limits of a session.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    /// Timeout for the start of the session, in which the client states its protocol version.
    pub(super) open_timeout: Option<Duration>,
    /// Write timeout: how long a client may leave a reply unread.
    pub(super) write_timeout: Option<Duration>,
    /// Size limit of a message.
    pub(super) max_message: usize,
}

/// Serves a session until its client closes it or the drain ends it. Returns how it ended.
pub(super) async fn serve<R, W>(
    inner: Arc<Inner>,
    peer: Option<Peer>,
    (reader, writer): (R, W),
    limits: Limits,
    drain: Option<Drain>,
) -> End
where
    R: AsyncRead + Unpin + Send + 'static,
    W: AsyncWrite + Unpin + Send + 'static,
{
    let line = Line::new();
    // Dropping this future cancels the calls in flight.
    let _end = EndOfSession(Arc::clone(&line));
    let runtime = inner.work.user().cloned();
    let wire = Wire::new(
        reader,
        writer,
        Arc::clone(&line),
        limits.max_message,
        limits.write_timeout,
        runtime,
    );
    let serving = run(
        &inner,
        Session::new(Arc::clone(&inner), peer, Arc::clone(&line)),
        wire,
        (limits.open_timeout, &line),
    );
    let drained = async {
        match drain {
            Some(mut drain) => {
                drain.begun().await;
                line.advance(Stage::Ending);
                drain.over().await;
                line.advance(Stage::Gone);
                // Leave time to write the replies that are ready.
                tokio::time::sleep(Duration::from_millis(200)).await;
            }
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        () = serving => {}
        () = drained => {}
    }
    line.end_reason()
}

async fn run<R, W>(
    inner: &Inner,
    session: Session,
    wire: Wire<R, W>,
    (open_timeout, line): (Option<Duration>, &Line),
) where
    R: AsyncRead + Unpin + Send + 'static,
    W: AsyncWrite + Unpin + Send + 'static,
{
    let mut changes = inner.catalogue.changes();
    let opened = session.serve(wire);
    // rmcp opens a session without a handshake at its first call, which can come much later, or
    // take long to arrive. The timeout is for the first request of any kind.
    let timed_out = async {
        match open_timeout {
            Some(limit) if tokio::time::timeout(limit, line.begun()).await.is_err() => {}
            _ => std::future::pending().await,
        }
    };
    let opened = tokio::select! {
        biased;
        opened = opened => opened,
        () = timed_out => return tracing::debug!("a session was not begun in time"),
    };
    let running = match opened {
        Ok(running) => running,
        Err(cause) => return tracing::debug!(%cause, "a session was not begun"),
    };
    let client = running.peer().clone();
    let ended = running.waiting();
    let notify = async {
        loop {
            changes.next().await;
            // A client that started without a handshake listens by a request of its own.
            if client.peer_info().is_some() && client.notify_tool_list_changed().await.is_err() {
                return std::future::pending().await;
            }
        }
    };
    tokio::select! {
        _ = ended => {}
        () = notify => {}
    }
}

struct EndOfSession(Arc<Line>);

impl Drop for EndOfSession {
    fn drop(&mut self) {
        self.0.advance(Stage::Gone);
    }
}
