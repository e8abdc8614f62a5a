//! One session with a server, shared by all calls of a link.

use std::sync::Arc;
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
use tokio::sync::{OnceCell, Semaphore, watch};
use tokio::time::Instant;

use super::answer;
use super::response_filter::{DrainSignal, ResponseFilter, ToolsChanged};
use super::stream::Cause;
use super::ticket::Ticket;
use crate::call::BoxFuture;
use crate::error::Sent;
use crate::mcp::protocol::CAPABILITY;
use crate::transport::link::{Connected, DialError};

/// Calls of one session in flight, as many as a server of this crate admits. Further calls wait.
pub(super) const MAX_IN_FLIGHT: usize = 128;

/// Timeout for opening a session. A server that does not know the newest protocol may be silent for
/// 10 s of it.
const OPEN_TIMEOUT: Duration = Duration::from_secs(15);

/// Timeout for the ping that checks whether a server knows a session.
const PING_TIMEOUT: Duration = Duration::from_secs(5);

/// Outcome of a tool call.
pub(super) enum ToolOutcome {
    Result(CallToolResult),
    /// The server refused the request.
    Refused(ErrorData),
    /// The transport failed. The second field is set if the transport knows whether the call may
    /// have run.
    Failed(DynamicTransportError, Option<Sent>),
    /// The server refused the request as it refuses all requests of an unknown session.
    SessionUnknown(Box<Self>),
    /// The server replied with something other than the result of a call.
    Unexpected(&'static str),
    /// The session ended before the request was sent.
    NotSent(String),
    /// The deadline passed before the request started to be sent.
    DeadlineBeforeSend,
    /// The deadline passed after the request started to be sent.
    DeadlineAfterSend,
    /// The session ended while the call waited for its reply: the call may have run.
    SessionLost(Cause),
    /// The response ended without a reply while the session stayed open: the call may have run.
    ResponseIncomplete,
}

/// How the replies of a session arrive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ReplyPath {
    Stream,
    /// Each reply has an HTTP response of its own, which can end without the reply.
    HttpResponses,
}

/// Outcome of a ping.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum PingOutcome {
    Answered,
    /// The server does not know the session, or refuses every ping.
    Refused,
    Unanswered,
}

/// A session with a server.
pub(super) struct Session {
    peer: Peer<RoleClient>,
    permits: Arc<Semaphore>,
    reply_path: ReplyPath,
    drain: DrainSignal,
    /// Whether the server is one of this crate.
    own_server: bool,
    /// Whether the server answers a ping on this session.
    answers_ping: OnceCell<bool>,
    /// Why the session ended, once it has.
    ended: watch::Receiver<Option<Cause>>,
    cancellation: Option<RunningServiceCancellationToken>,
}

impl Session {
    /// Opens a session in whichever era of the protocol the server speaks. `close_reason` returns
    /// why the session ended, if the transport knows.
    ///
    /// # Errors
    /// Fails if the server does not start a session in time or speaks an unknown version. `explain`
    /// maps the errors of rmcp.
    pub(super) async fn open<T: Transport<RoleClient> + 'static>(
        transport: T,
        tools_changed: ToolsChanged,
        reply_path: ReplyPath,
        explain: impl Fn(&ClientInitializeError) -> DialError,
        close_reason: impl Fn() -> Option<Cause> + Send + 'static,
    ) -> Result<Self, DialError> {
        let client = Implementation::new("connectivity", env!("CARGO_PKG_VERSION"));
        let client = ClientConfig::new(ClientCapabilities::default(), client);
        let lifecycle = ClientLifecycleMode::Auto {
            preferred_versions: vec![ProtocolVersion::V_2026_07_28],
            legacy_version: Some(ProtocolVersion::LATEST_WITH_INITIALIZE),
        };
        let drain = DrainSignal::new();
        let opened = client.serve_with_lifecycle(
            ResponseFilter::new(transport, tools_changed, drain.clone()),
            lifecycle,
        );
        let running = match tokio::time::timeout(OPEN_TIMEOUT, opened).await {
            Ok(opened) => opened.map_err(|cause| explain(&cause))?,
            Err(_elapsed) => return Err(DialError::connect("the server does not begin a session")),
        };
        let (peer, cancellation) = (running.peer().clone(), running.cancellation_token());
        check_version(&peer)?;
        let own_server = peer.peer_info().is_some_and(|info| is_own_server(&info.capabilities));
        let (end, ended) = watch::channel(None);
        tokio::spawn(async move {
            let _ = running.waiting().await;
            end.send_replace(Some(
                close_reason().unwrap_or_else(|| Cause::closed("the session has ended")),
            ));
        });
        let permits = Arc::new(Semaphore::new(MAX_IN_FLIGHT));
        Ok(Self {
            peer,
            permits,
            reply_path,
            drain,
            own_server,
            answers_ping: OnceCell::new(),
            ended,
            cancellation: Some(cancellation),
        })
    }

    /// Returns whether the server is one of this crate. What such a server says about a call that
    /// it refuses is trusted.
    pub(super) fn is_own_server(&self) -> bool {
        self.own_server
    }

    /// Calls a tool. Dropping the future cancels the call on the server too.
    pub(super) async fn call(
        &self,
        params: CallToolRequestParams,
        deadline: Option<Instant>,
    ) -> ToolOutcome {
        let permit = Arc::clone(&self.permits).acquire_owned();
        let permit = match deadline {
            Some(deadline) => tokio::time::timeout_at(deadline, permit).await,
            None => Ok(permit.await),
        };
        let Ok(permit) = permit else { return ToolOutcome::DeadlineBeforeSend };
        let Ok(permit) = permit else { return self.not_sent().await };
        let ticket = Arc::new(Ticket::with_permit(permit));
        let mut request = CallToolRequest::new(params);
        request.extensions.insert(Arc::clone(&ticket));
        let request = ClientRequest::CallToolRequest(request);
        let sent =
            self.peer.send_request_with_option(request, PeerRequestOptions::no_options()).await;
        let Ok(handle) = sent else { return self.not_sent().await };
        let call = Some((handle.id.clone(), Arc::clone(&ticket)));
        let mut cancel_on_drop = CancelOnDrop { call, peer: &self.peer };
        let response = handle.await_response();
        let response = match deadline {
            Some(deadline) => tokio::time::timeout_at(deadline, response).await,
            None => Ok(response.await),
        };
        let Ok(response) = response else {
            return if ticket.departure.withdraw() {
                ToolOutcome::DeadlineBeforeSend
            } else {
                ToolOutcome::DeadlineAfterSend
            };
        };
        cancel_on_drop.call = None;
        let outcome = self.outcome(response, &ticket).await;
        if ticket.may_mean_unknown_session() && self.ping().await == PingOutcome::Refused {
            self.drain.set();
            return ToolOutcome::SessionUnknown(Box::new(outcome));
        }
        outcome
    }

    async fn outcome(
        &self,
        response: Result<ServerResult, ServiceError>,
        ticket: &Ticket,
    ) -> ToolOutcome {
        match response {
            Ok(result) => tool_outcome(result),
            // The server has announced its shutdown on this session, so the request did not run.
            Err(ServiceError::McpError(error))
                if self.own_server && self.drain.is_set() && answer::is_draining(&error) =>
            {
                ToolOutcome::NotSent(error.message.into_owned())
            }
            Err(ServiceError::McpError(error)) => ToolOutcome::Refused(error),
            Err(ServiceError::TransportSend(cause))
                if self.reply_path == ReplyPath::HttpResponses =>
            {
                let known_sent =
                    ticket.refusal().and_then(|refusal| refusal.sent).filter(|_| self.own_server);
                let was_sent = ticket.departure.has_begun();
                ToolOutcome::Failed(cause, if was_sent { known_sent } else { Some(Sent::No) })
            }
            Err(_) if !ticket.departure.has_begun() => self.not_sent().await,
            Err(ServiceError::TransportSend(cause)) => ToolOutcome::Failed(cause, None),
            Err(ServiceError::TransportClosed)
                if self.reply_path == ReplyPath::HttpResponses && self.is_usable() =>
            {
                ToolOutcome::ResponseIncomplete
            }
            Err(ServiceError::TransportClosed) => ToolOutcome::SessionLost(self.end_cause().await),
            Err(_) => ToolOutcome::Unexpected("is none that a tool gives"),
        }
    }

    /// Returns whether the server answers a ping on this session.
    pub(super) async fn answers_ping(&self) -> bool {
        *self
            .answers_ping
            .get_or_init(|| async { self.ping().await == PingOutcome::Answered })
            .await
    }

    async fn ping(&self) -> PingOutcome {
        let (ticket, mut ping) = (Arc::<Ticket>::default(), PingRequest::default());
        ping.extensions.insert(Arc::clone(&ticket));
        let response = self.peer.send_request(ClientRequest::PingRequest(ping));
        match tokio::time::timeout(PING_TIMEOUT, response).await {
            _ if ticket.may_mean_unknown_session() => PingOutcome::Refused,
            // An error is an answer too: the server may not implement pings.
            Ok(Ok(_) | Err(ServiceError::McpError(_))) => PingOutcome::Answered,
            _ => PingOutcome::Unanswered,
        }
    }

    async fn not_sent(&self) -> ToolOutcome {
        ToolOutcome::NotSent(self.end_cause().await.text)
    }

    /// Waits for the reason why the session ended. It is set a moment after the session's tasks
    /// end.
    async fn end_cause(&self) -> Cause {
        let mut ended = self.ended.clone();
        let cause =
            tokio::time::timeout(Duration::from_secs(1), ended.wait_for(Option::is_some)).await;
        cause
            .ok()
            .and_then(|cause| cause.ok()?.clone())
            .unwrap_or_else(|| Cause::closed("the session's runtime ended"))
    }
}

fn is_own_server(capabilities: &ServerCapabilities) -> bool {
    capabilities
        .experimental
        .as_ref()
        .is_some_and(|experimental| experimental.contains_key(CAPABILITY))
}

/// Fails if the server chose a protocol version in the handshake that this crate does not know: its
/// messages cannot be understood.
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

fn tool_outcome(result: ServerResult) -> ToolOutcome {
    match result {
        ServerResult::CallToolResult(result) => ToolOutcome::Result(result),
        // A tool result may be empty.
        ServerResult::EmptyResult(_) => ToolOutcome::Result(CallToolResult::default()),
        ServerResult::InputRequiredResult(_) => {
            ToolOutcome::Unexpected("asks for input, which a call cannot give")
        }
        ServerResult::CreateTaskResult(_) => {
            ToolOutcome::Unexpected("is a task to ask for later, which a call cannot do")
        }
        _ => ToolOutcome::Unexpected("is none that a tool gives"),
    }
}

impl Connected for Session {
    fn is_usable(&self) -> bool {
        !self.drain.is_set() && self.ended.has_changed().is_ok() && self.ended.borrow().is_none()
    }

    fn closed(&self) -> Option<String> {
        self.ended.borrow().as_ref().map(|cause| cause.text.clone())
    }

    fn ended(&self) -> BoxFuture<'static, ()> {
        let (mut ended, draining) = (self.ended.clone(), self.drain.wait());
        Box::pin(async move {
            tokio::select! {
                _ = ended.wait_for(Option::is_some) => {}
                () = draining => {}
            }
        })
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        if let Some(cancellation) = self.cancellation.take() {
            cancellation.cancel();
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
            // Release the permit only now: the call that takes it must not reach the server before
            // the cancellation.
            drop(ticket);
        });
    }
}
