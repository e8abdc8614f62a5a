//! One session over a stream, from its first message to its end.

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

/// What bounds a session.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    /// How long a client may take to say in which protocol it speaks.
    pub(super) opening: Option<Duration>,
    /// How long a client may leave an answer unread.
    pub(super) stall: Option<Duration>,
    /// The longest message.
    pub(super) message: usize,
}

/// Serves a session until its client closes it, or the drain ends it; says how it ended.
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
    // Whoever drops this future has no use for what is under way.
    let _end = EndOfSession(Arc::clone(&line));
    let user = inner.work.user().cloned();
    let wire = Wire::new(reader, writer, Arc::clone(&line), limits.message, limits.stall, user);
    let serving = run(
        &inner,
        Session::new(Arc::clone(&inner), peer, Arc::clone(&line)),
        wire,
        (limits.opening, &line),
    );
    let ends = async {
        match drain {
            Some(mut drain) => {
                drain.begun().await;
                line.end(Stage::Ending);
                drain.over().await;
                line.end(Stage::Gone);
                // What is ready is still written.
                tokio::time::sleep(Duration::from_millis(200)).await;
            }
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        () = serving => {}
        () = ends => {}
    }
    line.why()
}

async fn run<R, W>(
    inner: &Inner,
    session: Session,
    wire: Wire<R, W>,
    (opening, line): (Option<Duration>, &Line),
) where
    R: AsyncRead + Unpin + Send + 'static,
    W: AsyncWrite + Unpin + Send + 'static,
{
    let mut changes = inner.catalogue.changes();
    let opened = session.serve(wire);
    // rmcp opens a session without a handshake at its first call, which can come much later, or
    // take long to arrive. The time limit is for the first request of any kind.
    let too_late = async {
        match opening {
            Some(limit) if tokio::time::timeout(limit, line.begun()).await.is_err() => {}
            _ => std::future::pending().await,
        }
    };
    let opened = tokio::select! {
        biased;
        opened = opened => opened,
        () = too_late => return tracing::debug!("a session was not begun in time"),
    };
    let running = match opened {
        Ok(running) => running,
        Err(cause) => return tracing::debug!(%cause, "a session was not begun"),
    };
    let client = running.peer().clone();
    let ended = running.waiting();
    let tell = async {
        loop {
            changes.next().await;
            // Who has begun without a handshake listens by a request of its own.
            if client.peer_info().is_some() && client.notify_tool_list_changed().await.is_err() {
                return std::future::pending().await;
            }
        }
    };
    tokio::select! {
        _ = ended => {}
        () = tell => {}
    }
}

struct EndOfSession(Arc<Line>);

impl Drop for EndOfSession {
    fn drop(&mut self) {
        self.0.end(Stage::Gone);
    }
}
