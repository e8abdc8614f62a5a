//! A session's two streams of bytes, as the transport that rmcp runs it on: the framing, and what bounds a client.

use std::collections::HashSet;
use std::io;
use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rmcp::RoleServer;
use rmcp::model::{ClientJsonRpcMessage, RequestId, ServerJsonRpcMessage};
use rmcp::transport::Transport;
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

use super::MAX_MEMBERS;
use super::framer::{Framed, Framer};
use super::message::{self, INVALID_REQUEST, OVERLOADED, PARSE_ERROR, Read, refusal};

/// Requests of one session at once; what is over it is refused.
pub(super) const MAX_IN_FLIGHT: usize = 128;

/// Answers that wait to be written.
const OUTBOX: usize = 16;

/// How much is written between two looks at the clock.
const PIECE: usize = 64 * 1024;

/// How a session stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd)]
pub(super) enum Stage {
    /// Requests come in.
    Open,
    /// No more come; what is in flight may end.
    Ending,
    /// Nobody waits for an answer any more.
    Gone,
}

/// Why a session took no more requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// Its client has closed it, or it was asked to end.
    Closed,
    /// A message was longer than the limit.
    TooLong,
    /// The stream broke.
    Broken,
}

/// What the transport of a session and whoever serves it share.
#[derive(Debug)]
pub(super) struct Line {
    stage: watch::Sender<Stage>,
    end: Mutex<Option<End>>,
    in_flight: Mutex<HashSet<RequestId>>,
    idle: watch::Sender<usize>,
}

impl Line {
    pub(super) fn new() -> Arc<Self> {
        Arc::new(Self {
            stage: watch::Sender::new(Stage::Open),
            end: Mutex::default(),
            in_flight: Mutex::default(),
            idle: watch::Sender::new(0),
        })
    }

    /// Lets a session end, or ends it.
    pub(super) fn end(&self, stage: Stage) {
        self.stage.send_modify(|now| *now = if stage > *now { stage } else { *now });
    }

    /// Waits until the session is at least at a stage.
    pub(super) async fn reached(&self, stage: Stage) {
        // The sender lives as long as this does.
        let _ = self.stage.subscribe().wait_for(|now| *now >= stage).await;
    }

    pub(super) fn why(&self) -> End {
        self.end.lock().unwrap_or_else(PoisonError::into_inner).unwrap_or(End::Closed)
    }

    fn close(&self, end: End) {
        self.end.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(end);
        self.end(if end == End::Broken { Stage::Gone } else { Stage::Ending });
    }

    fn with<T>(&self, change: impl FnOnce(&mut HashSet<RequestId>) -> T) -> T {
        let mut in_flight = self.in_flight.lock().unwrap_or_else(PoisonError::into_inner);
        let outcome = change(&mut in_flight);
        self.idle.send_replace(in_flight.len());
        outcome
    }

    /// Counts a request, or says why it is refused.
    fn admit(&self, id: &RequestId) -> Result<(), Value> {
        self.with(|in_flight| {
            if in_flight.contains(id) {
                return Err(refusal(Some(id), INVALID_REQUEST, "a request of this id is in flight"));
            }
            if in_flight.len() >= MAX_IN_FLIGHT {
                return Err(refusal(Some(id), OVERLOADED, "too many requests of this session are in flight"));
            }
            in_flight.insert(id.clone());
            Ok(())
        })
    }

    fn answered(&self, id: &RequestId) {
        self.with(|in_flight| in_flight.remove(id));
    }

    async fn is_idle(&self) {
        let _ = self.idle.subscribe().wait_for(|count| *count == 0).await;
    }
}

/// The transport.
pub(super) struct Wire<R> {
    reader: R,
    framer: Framer,
    line: Arc<Line>,
    outbox: Option<mpsc::Sender<Vec<u8>>>,
    writing: Option<JoinHandle<()>>,
    /// An answer of ours that is not in the outbox yet.
    refusal: Option<Vec<u8>>,
    /// Whether a request has come: before that nothing else is understood.
    begun: bool,
}

impl<R: AsyncRead + Unpin + Send + 'static> Wire<R> {
    /// Reads and writes a session. A message is at most `limit` bytes long, and an answer is not left unread for longer than `stall`.
    pub(super) fn new<W>(reader: R, writer: W, line: Arc<Line>, limit: usize, stall: Option<Duration>) -> Self
    where
        W: AsyncWrite + Unpin + Send + 'static,
    {
        let (outbox, queue) = mpsc::channel(OUTBOX);
        let end = Arc::clone(&line);
        let writing = tokio::spawn(async move {
            if let Err(cause) = write(queue, writer, stall).await {
                tracing::debug!(%cause, "a session's answers could not be written");
                end.close(End::Broken);
            }
        });
        let (outbox, writing) = (Some(outbox), Some(writing));
        Self { reader, framer: Framer::new(limit, MAX_MEMBERS), line, outbox, writing, refusal: None, begun: false }
    }

    /// Puts an answer of ours into the outbox; one that was not taken yet is not lost when this is dropped.
    async fn refuse(&mut self) {
        if let (Some(_), Some(outbox)) = (&self.refusal, &self.outbox)
            && let Ok(place) = outbox.reserve().await
            && let Some(refusal) = self.refusal.take()
        {
            place.send(refusal);
        }
        self.refusal = None;
    }

    /// Takes what is there already; `None` until more was read.
    fn take(&mut self) -> Option<ClientJsonRpcMessage> {
        while self.refusal.is_none() && self.line.end.lock().unwrap_or_else(PoisonError::into_inner).is_none() {
            let read = match self.framer.next()? {
                Framed::Value(bytes) => message::read(&bytes),
                Framed::Junk => Read::Refused(refusal(None, PARSE_ERROR, "not JSON")),
                Framed::TooManyMembers(_) => Read::Refused(refusal(None, INVALID_REQUEST, "too many members")),
                Framed::TooLong => {
                    self.line.close(End::TooLong);
                    Read::Refused(refusal(None, INVALID_REQUEST, "the message is too long; the session ends"))
                }
            };
            match read {
                Read::Message(message) => match self.admit(&message) {
                    Ok(true) => return Some(*message),
                    Ok(false) => {}
                    Err(refused) => self.refusal = serde_json::to_vec(&refused).ok(),
                },
                Read::Refused(refused) => self.refusal = serde_json::to_vec(&refused).ok(),
                Read::PassedOver => tracing::debug!("a message that asks nothing was passed over"),
            }
        }
        None
    }

    /// Says whether a message goes on to the session.
    fn admit(&mut self, message: &ClientJsonRpcMessage) -> Result<bool, Value> {
        if let ClientJsonRpcMessage::Request(request) = message {
            self.line.admit(&request.id)?;
            self.begun = true;
        }
        if let Some(id) = message::cancels(message) {
            // Its answer will not be sent.
            self.line.answered(id);
        }
        Ok(self.begun)
    }

    async fn read(&mut self) {
        self.framer.buffer().reserve(16 * 1024);
        let ended = tokio::select! {
            biased;
            () = self.line.reached(Stage::Ending) => return self.line.close(End::Closed),
            read = self.reader.read_buf(self.framer.buffer()) => match read {
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

    fn has_ended(&self) -> bool {
        self.line.end.lock().unwrap_or_else(PoisonError::into_inner).is_some()
    }
}

impl<R: AsyncRead + Unpin + Send + 'static> Transport<RoleServer> for Wire<R> {
    type Error = io::Error;

    fn send(&mut self, message: ServerJsonRpcMessage) -> impl Future<Output = io::Result<()>> + Send + 'static {
        let (outbox, line) = (self.outbox.clone(), Arc::clone(&self.line));
        async move {
            let id = match &message {
                ServerJsonRpcMessage::Response(response) => Some(response.id.clone()),
                ServerJsonRpcMessage::Error(error) => error.id.clone(),
                _ => None,
            };
            let bytes = serde_json::to_vec(&message).map_err(io::Error::other);
            drop(message);
            let sent = match (bytes, outbox) {
                (Ok(bytes), Some(outbox)) => outbox.send(bytes).await.map_err(|_gone| io::ErrorKind::BrokenPipe.into()),
                (Ok(_), None) => Err(io::ErrorKind::NotConnected.into()),
                (Err(cause), _) => Err(cause),
            };
            if let Some(id) = id {
                line.answered(&id);
            }
            sent
        }
    }

    /// Everything in here can be dropped at an `.await` and begun again: rmcp does so whenever something else happens.
    async fn receive(&mut self) -> Option<ClientJsonRpcMessage> {
        loop {
            self.refuse().await;
            if let Some(message) = self.take() {
                return Some(message);
            }
            if self.refusal.is_some() {
                continue;
            }
            if self.has_ended() {
                break;
            }
            self.read().await;
        }
        // rmcp gives answers that are under way a few seconds when this is over; calls have deadlines of their own.
        tokio::select! {
            () = self.line.is_idle() => {}
            () = self.line.reached(Stage::Gone) => {}
        }
        None
    }

    async fn close(&mut self) -> io::Result<()> {
        self.outbox = None;
        if let Some(mut writing) = self.writing.take() {
            let gone = self.line.reached(Stage::Gone);
            tokio::select! {
                _ = &mut writing => {}
                () = gone => writing.abort(),
            }
        }
        Ok(())
    }
}

/// Writes answers, each with its newline, until no more come.
async fn write<W>(mut queue: mpsc::Receiver<Vec<u8>>, writer: W, stall: Option<Duration>) -> io::Result<()>
where
    W: AsyncWrite + Unpin,
{
    let mut writer = pin!(writer);
    while let Some(mut answer) = queue.recv().await {
        answer.push(b'\n');
        for piece in answer.chunks(PIECE) {
            within(stall, writer.write_all(piece)).await?;
        }
        within(stall, writer.flush()).await?;
    }
    writer.shutdown().await
}

async fn within(stall: Option<Duration>, work: impl Future<Output = io::Result<()>>) -> io::Result<()> {
    match stall {
        Some(stall) => tokio::time::timeout(stall, work).await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into())),
        None => work.await,
    }
}
