//! One session with a server, which all calls of a link share.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use rmcp::RoleClient;
use rmcp::model::{
    CallToolRequest, CallToolRequestParams, CallToolResult, CancelledNotificationParam,
    ClientCapabilities, ClientConfig, ClientRequest, ErrorData, Implementation, PingRequest,
    ProtocolVersion, RequestId, ServerCapabilities, ServerResult,
};
use rmcp::service::{
    ClientInitializeError, ClientLifecycleMode, ClientServiceExt, Peer, PeerRequestOptions,
    RunningServiceCancellationToken, ServiceError,
};
use rmcp::transport::{DynamicTransportError, Transport};
use tokio::sync::{OnceCell, OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::Instant;

use super::answer;
use super::requests::HttpRefusal;
use super::response_filter::{DrainSignal, ResponseFilter, ToolsChanged};
use super::stream::Cause;
use crate::call::BoxFuture;
use crate::error::Sent;
use crate::http::client::Departure;
use crate::mcp::protocol::OURS;
use crate::mcp::protocol::send_queue::SendObserver;
use crate::transport::link::{Connected, DialError};

/// Calls of one session at once, as many as our own server takes; the others wait for their turn.
pub(super) const MAX_IN_FLIGHT: usize = 128;

/// How long a server may take to begin a session; one that does not know the newest protocol may be
/// silent for 10 s of it.
const OPENING: Duration = Duration::from_secs(15);

/// How long a server may take to say whether it knows a session.
const PING: Duration = Duration::from_secs(5);

/// How a call of a tool ended.
pub(super) enum ToolOutcome {
    Result(CallToolResult),
    /// The server refused the request.
    Refused(ErrorData),
    /// The transport could not do it, and may know whether it may have run.
    Failed(DynamicTransportError, Option<Sent>),
    /// The server refused it as it refuses everything of a session that it does not know.
    Unknown(Box<Self>),
    /// The server answered what a call has no use for.
    Odd(&'static str),
    /// The session ended before the request left.
    NotSent(String),
    /// The deadline ended before the request began to leave.
    NoTime,
    /// The deadline ended after that.
    OutOfTime,
    /// The session ended while the call waited: it may have run.
    Lost(Cause),
    /// The response ended without an answer, and the session goes on: it may have run.
    BrokenOff,
}

/// Says of a request whether it left and how it was refused, and holds one of the session's places
/// until it left and nobody waits for its answer.
#[derive(Debug, Default)]
pub(super) struct Ticket {
    pub(super) departure: Departure,
    refusal: OnceLock<HttpRefusal>,
    _place: Option<OwnedSemaphorePermit>,
}

impl Ticket {
    pub(super) fn refused(&self, refusal: HttpRefusal) {
        let _ = self.refusal.set(refusal);
    }

    /// Returns whether a request was refused as one of a session that is not known.
    fn is_unknown(&self) -> bool {
        self.refusal.get().is_some_and(HttpRefusal::may_be_of_session)
    }
}

impl SendObserver for Ticket {
    fn on_sent(&self) -> bool {
        self.departure.start()
    }
}

/// Where the answers of a session come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Answers {
    OnOneStream,
    /// Each has a response of HTTP, which can end without one.
    InResponses,
}

/// What a server makes of a ping.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Pinged {
    Answered,
    /// It does not know the session, or refuses every ping.
    Refused,
    Unanswered,
}

/// A session.
pub(super) struct Session {
    peer: Peer<RoleClient>,
    connection_slots: Arc<Semaphore>,
    answers: Answers,
    leave: DrainSignal,
    /// The server is one of this crate.
    ours: bool,
    /// The server answers a ping on this session.
    known: OnceCell<bool>,
    /// Why it ended, once it has.
    ended: watch::Receiver<Option<Cause>>,
    stop: Option<RunningServiceCancellationToken>,
}

impl Session {
    /// Begins a session in whichever of the protocol's eras the server speaks. `why` tells why it
    /// ended.
    ///
    /// # Errors
    /// As `explain` tells what rmcp met.
    pub(super) async fn open<T: Transport<RoleClient> + 'static>(
        transport: T,
        changed: ToolsChanged,
        answers: Answers,
        explain: impl Fn(&ClientInitializeError) -> DialError,
        why: impl Fn() -> Option<Cause> + Send + 'static,
    ) -> Result<Self, DialError> {
        let us = Implementation::new("connectivity", env!("CARGO_PKG_VERSION"));
        let us = ClientConfig::new(ClientCapabilities::default(), us);
        let eras = ClientLifecycleMode::Auto {
            preferred_versions: vec![ProtocolVersion::V_2026_07_28],
            legacy_version: Some(ProtocolVersion::LATEST_WITH_INITIALIZE),
        };
        let leave = DrainSignal::new();
        let opened =
            us.serve_with_lifecycle(ResponseFilter::new(transport, changed, leave.clone()), eras);
        let running = match tokio::time::timeout(OPENING, opened).await {
            Ok(opened) => opened.map_err(|cause| explain(&cause))?,
            Err(_elapsed) => return Err(DialError::connect("the server does not begin a session")),
        };
        let (peer, stop) = (running.peer().clone(), running.cancellation_token());
        check_version(&peer)?;
        let ours = peer.peer_info().is_some_and(|info| is_ours(&info.capabilities));
        let (end, ended) = watch::channel(None);
        tokio::spawn(async move {
            let _ = running.waiting().await;
            end.send_replace(Some(why().unwrap_or_else(|| Cause::closed("the session has ended"))));
        });
        let connection_slots = Arc::new(Semaphore::new(MAX_IN_FLIGHT));
        Ok(Self {
            peer,
            connection_slots,
            answers,
            leave,
            ours,
            known: OnceCell::new(),
            ended,
            stop: Some(stop),
        })
    }

    /// Returns whether the server is one of this crate: then its words about a call that it refuses
    /// are believed.
    pub(super) fn is_ours(&self) -> bool {
        self.ours
    }

    /// Calls a tool. Dropping the future cancels the call on the other side too.
    pub(super) async fn call(
        &self,
        params: CallToolRequestParams,
        deadline: Option<Instant>,
    ) -> ToolOutcome {
        let place = Arc::clone(&self.connection_slots).acquire_owned();
        let place = match deadline {
            Some(deadline) => tokio::time::timeout_at(deadline, place).await,
            None => Ok(place.await),
        };
        let Ok(place) = place else { return ToolOutcome::NoTime };
        let Ok(place) = place else { return self.not_sent().await };
        let ticket = Arc::new(Ticket { _place: Some(place), ..Ticket::default() });
        let mut request = CallToolRequest::new(params);
        request.extensions.insert(Arc::clone(&ticket));
        let request = ClientRequest::CallToolRequest(request);
        let sent =
            self.peer.send_request_with_option(request, PeerRequestOptions::no_options()).await;
        let Ok(handle) = sent else { return self.not_sent().await };
        let call = Some((handle.id.clone(), Arc::clone(&ticket)));
        let mut cancel = CancelOnDrop { call, peer: &self.peer };
        let answer = handle.await_response();
        let answer = match deadline {
            Some(deadline) => tokio::time::timeout_at(deadline, answer).await,
            None => Ok(answer.await),
        };
        let Ok(answer) = answer else {
            return if ticket.departure.withdraw() {
                ToolOutcome::NoTime
            } else {
                ToolOutcome::OutOfTime
            };
        };
        cancel.call = None;
        let outcome = self.outcome(answer, &ticket).await;
        if ticket.is_unknown() && self.ping().await == Pinged::Refused {
            self.leave.take();
            return ToolOutcome::Unknown(Box::new(outcome));
        }
        outcome
    }

    async fn outcome(
        &self,
        answer: Result<ServerResult, ServiceError>,
        ticket: &Ticket,
    ) -> ToolOutcome {
        match answer {
            Ok(result) => result_of(result),
            // It has said so beforehand, on this session.
            Err(ServiceError::McpError(error))
                if self.ours && self.leave.is_taken() && answer::is_too_late(&error) =>
            {
                ToolOutcome::NotSent(error.message.into_owned())
            }
            Err(ServiceError::McpError(error)) => ToolOutcome::Refused(error),
            Err(ServiceError::TransportSend(cause)) if self.answers == Answers::InResponses => {
                let told =
                    ticket.refusal.get().and_then(|refusal| refusal.sent).filter(|_| self.ours);
                let left = ticket.departure.has_begun();
                ToolOutcome::Failed(cause, if left { told } else { Some(Sent::No) })
            }
            Err(_) if !ticket.departure.has_begun() => self.not_sent().await,
            Err(ServiceError::TransportSend(cause)) => ToolOutcome::Failed(cause, None),
            Err(ServiceError::TransportClosed)
                if self.answers == Answers::InResponses && self.is_usable() =>
            {
                ToolOutcome::BrokenOff
            }
            Err(ServiceError::TransportClosed) => ToolOutcome::Lost(self.why().await),
            Err(_) => ToolOutcome::Odd("is none that a tool gives"),
        }
    }

    /// Returns whether the server answers a ping on this session.
    pub(super) async fn is_known(&self) -> bool {
        *self.known.get_or_init(|| async { self.ping().await == Pinged::Answered }).await
    }

    async fn ping(&self) -> Pinged {
        let (ticket, mut ping) = (Arc::<Ticket>::default(), PingRequest::default());
        ping.extensions.insert(Arc::clone(&ticket));
        let answer = self.peer.send_request(ClientRequest::PingRequest(ping));
        match tokio::time::timeout(PING, answer).await {
            _ if ticket.is_unknown() => Pinged::Refused,
            // One that it does not implement is an answer too.
            Ok(Ok(_) | Err(ServiceError::McpError(_))) => Pinged::Answered,
            _ => Pinged::Unanswered,
        }
    }

    async fn not_sent(&self) -> ToolOutcome {
        ToolOutcome::NotSent(self.why().await.text)
    }

    /// Waits until it is known why the session ended: a moment, since its tasks end before.
    async fn why(&self) -> Cause {
        let mut ended = self.ended.clone();
        let why =
            tokio::time::timeout(Duration::from_secs(1), ended.wait_for(Option::is_some)).await;
        why.ok()
            .and_then(|why| why.ok()?.clone())
            .unwrap_or_else(|| Cause::closed("the session's runtime ended"))
    }
}

fn is_ours(capabilities: &ServerCapabilities) -> bool {
    capabilities.experimental.as_ref().is_some_and(|known| known.contains_key(OURS))
}

/// A server that answers a handshake with a version that nobody knows cannot be understood.
fn check_version(peer: &Peer<RoleClient>) -> Result<(), DialError> {
    match peer.peer_info() {
        Some(info) if !ProtocolVersion::KNOWN_VERSIONS.contains(&info.protocol_version) => {
            let version = crate::name::shown(info.protocol_version.as_str());
            Err(DialError::connect(format_args!(
                "the server speaks version {version} of MCP, which is not known here"
            )))
        }
        _ => Ok(()),
    }
}

fn result_of(result: ServerResult) -> ToolOutcome {
    match result {
        ServerResult::CallToolResult(result) => ToolOutcome::Result(result),
        // A result may be empty.
        ServerResult::EmptyResult(_) => ToolOutcome::Result(CallToolResult::default()),
        ServerResult::InputRequiredResult(_) => {
            ToolOutcome::Odd("asks for input, which a call cannot give")
        }
        ServerResult::CreateTaskResult(_) => {
            ToolOutcome::Odd("is a task to ask for later, which a call cannot do")
        }
        _ => ToolOutcome::Odd("is none that a tool gives"),
    }
}

impl Connected for Session {
    fn is_usable(&self) -> bool {
        !self.leave.is_taken() && self.ended.has_changed().is_ok() && self.ended.borrow().is_none()
    }

    fn closed(&self) -> Option<String> {
        self.ended.borrow().as_ref().map(|cause| cause.text.clone())
    }

    fn ended(&self) -> BoxFuture<'static, ()> {
        let (mut ended, leaves) = (self.ended.clone(), self.leave.taken());
        Box::pin(async move {
            tokio::select! {
                _ = ended.wait_for(Option::is_some) => {}
                () = leaves => {}
            }
        })
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        if let Some(stop) = self.stop.take() {
            stop.cancel();
        }
    }
}

struct CancelOnDrop<'a> {
    call: Option<(RequestId, Arc<Ticket>)>,
    peer: &'a Peer<RoleClient>,
}

impl Drop for CancelOnDrop<'_> {
    fn drop(&mut self) {
        let (Some((call, ticket)), Ok(runtime)) =
            (self.call.take(), tokio::runtime::Handle::try_current())
        else {
            return;
        };
        let peer = self.peer.clone();
        runtime.spawn(async move {
            let params = CancelledNotificationParam::new(
                Some(call),
                Some("nobody waits for it any more".to_owned()),
            );
            let _ = peer.notify_cancelled(params).await;
            // Only now: the call that takes the place must not reach the server first.
            drop(ticket);
        });
    }
}
