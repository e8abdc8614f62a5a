//! Passes only responses on to the client. Requests of the server are answered here and
//! notifications are dropped, so that a flood of them takes neither memory nor time from calls.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rmcp::RoleClient;
use rmcp::model::{
    ClientJsonRpcMessage, ClientResult, ErrorCode, ErrorData, JsonRpcRequest, ServerJsonRpcMessage,
    ServerNotification, ServerRequest,
};
use rmcp::transport::Transport;
use tokio::sync::watch;

use crate::mcp::protocol::SHUTDOWN_NOTIFICATION;

/// Transport that receives only responses.
pub(super) struct ResponseFilter<T: Transport<RoleClient>> {
    inner: T,
    /// The reply to a server's request that is being sent; `queue` holds the replies behind it.
    sending: Option<Sending<T::Error>>,
    queue: VecDeque<ClientJsonRpcMessage>,
    tools_changed: ToolsChanged,
    drain: DrainSignal,
}

/// Signals that the server takes no more requests on this session.
#[derive(Clone, Debug)]
pub(super) struct DrainSignal(watch::Sender<bool>);

impl DrainSignal {
    pub(super) fn new() -> Self {
        Self(watch::Sender::new(false))
    }

    pub(super) fn set(&self) {
        self.0.send_replace(true);
    }

    pub(super) fn is_set(&self) -> bool {
        *self.0.borrow()
    }

    pub(super) fn wait(&self) -> impl Future<Output = ()> + Send + use<> {
        let mut drain = self.0.subscribe();
        async move {
            // Without a sender the session has ended, which is reported elsewhere.
            if drain.wait_for(|is_set| *is_set).await.is_err() {
                std::future::pending().await
            }
        }
    }
}

/// Maximum number of queued replies. Further requests get no reply.
pub(super) const MAX_QUEUED_REPLIES: usize = 16;

/// Timeout for closing: over HTTP, closing deletes the session.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(6);

/// Whether a server has announced, since its session began, that its tools have changed.
#[derive(Clone, Debug, Default)]
pub(super) struct ToolsChanged(Arc<AtomicBool>);

impl ToolsChanged {
    /// Returns the warning that `inspect` shows.
    pub(super) fn warning(&self) -> Option<String> {
        let text = "the server says that its tools have changed since the session began: see that they are still what is called here";
        self.0.load(Ordering::Relaxed).then(|| text.to_owned())
    }
}

type Sending<E> = Pin<Box<dyn Future<Output = Result<(), E>> + Send>>;

impl<T: Transport<RoleClient>> ResponseFilter<T> {
    pub(super) fn new(inner: T, tools_changed: ToolsChanged, drain: DrainSignal) -> Self {
        tools_changed.0.store(false, Ordering::Relaxed);
        Self { inner, sending: None, queue: VecDeque::new(), tools_changed, drain }
    }
}

impl<T: Transport<RoleClient> + 'static> Transport<RoleClient> for ResponseFilter<T> {
    type Error = T::Error;

    fn send(
        &mut self,
        message: ClientJsonRpcMessage,
    ) -> impl Future<Output = Result<(), T::Error>> + Send + 'static {
        self.inner.send(message)
    }

    /// Cancel safe: the future can be dropped at an `.await` and the method called again.
    async fn receive(&mut self) -> Option<ServerJsonRpcMessage> {
        loop {
            // Yield now and then: a server that never pauses shares the thread with calls of its
            // own session.
            tokio::task::consume_budget().await;
            if self.sending.is_none()
                && let Some(reply) = self.queue.pop_front()
            {
                self.sending = Some(Box::pin(self.inner.send(reply)));
            }
            let message = tokio::select! {
                biased;
                // Ignore the result. The server may refuse the reply; if the transport is broken,
                // the next `receive` reports it.
                () = wait_sent(&mut self.sending) => {
                    self.sending = None;
                    continue;
                }
                // Keep receiving while a reply is being sent: over HTTP, the worker that sends
                // replies also delivers the responses to calls.
                message = self.inner.receive() => message?,
            };
            match message {
                ServerJsonRpcMessage::Request(_) if self.queue.len() >= MAX_QUEUED_REPLIES => {}
                ServerJsonRpcMessage::Request(request) => self.queue.push_back(reply_to(request)),
                ServerJsonRpcMessage::Notification(notification) => match notification.notification
                {
                    ServerNotification::ToolListChangedNotification(_) => {
                        self.tools_changed.0.store(true, Ordering::Relaxed);
                    }
                    ServerNotification::CustomNotification(notification)
                        if notification.method == SHUTDOWN_NOTIFICATION =>
                    {
                        self.drain.set();
                    }
                    _ => {}
                },
                response => return Some(response),
            }
        }
    }

    async fn close(&mut self) -> Result<(), T::Error> {
        self.sending = None;
        tokio::time::timeout(CLOSE_TIMEOUT, self.inner.close()).await.unwrap_or(Ok(()))
    }
}

async fn wait_sent<E>(sending: &mut Option<Sending<E>>) {
    match sending {
        Some(sending) => _ = sending.await,
        None => std::future::pending().await,
    }
}

/// Returns the reply to a request of the server: it may ping the client, and nothing else.
fn reply_to(
    JsonRpcRequest { id, request, .. }: JsonRpcRequest<ServerRequest>,
) -> ClientJsonRpcMessage {
    match request {
        ServerRequest::PingRequest(_) => {
            ClientJsonRpcMessage::response(ClientResult::empty(()), id)
        }
        _ => {
            let refusal =
                ErrorData::new(ErrorCode::METHOD_NOT_FOUND, "this client only calls tools", None);
            ClientJsonRpcMessage::error(refusal, Some(id))
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use serde_json::json;

    use super::*;

    /// Transport that yields these messages and whose sends never complete, or fail.
    struct BusyServer {
        messages: VecDeque<serde_json::Value>,
        send_error: Option<io::ErrorKind>,
    }

    impl Transport<RoleClient> for BusyServer {
        type Error = io::Error;

        fn send(
            &mut self,
            _reply: ClientJsonRpcMessage,
        ) -> impl Future<Output = io::Result<()>> + Send + 'static {
            let send_error = self.send_error;
            async move {
                match send_error {
                    Some(kind) => Err(kind.into()),
                    None => std::future::pending().await,
                }
            }
        }

        async fn receive(&mut self) -> Option<ServerJsonRpcMessage> {
            serde_json::from_value(self.messages.pop_front()?).ok()
        }

        async fn close(&mut self) -> io::Result<()> {
            std::future::pending().await
        }
    }

    #[tokio::test(start_paused = true)]
    async fn answers_to_calls_wait_for_none_of_ours() {
        for send_error in [None, Some(io::ErrorKind::TimedOut)] {
            let ping = |n: u32| json!({ "jsonrpc": "2.0", "id": n, "method": "ping" });
            let response = json!({ "jsonrpc": "2.0", "id": 7, "result": { "content": [] } });
            let messages = (0..100).map(ping).chain([response]).collect();
            let mut response_filter = ResponseFilter::new(
                BusyServer { messages, send_error },
                ToolsChanged::default(),
                DrainSignal::new(),
            );
            let received =
                tokio::time::timeout(Duration::from_secs(10), response_filter.receive()).await;
            assert!(
                matches!(received, Ok(Some(ServerJsonRpcMessage::Response(_)))),
                "{send_error:?}: {received:?}"
            );
            assert!(response_filter.queue.len() <= MAX_QUEUED_REPLIES);
            response_filter.close().await.unwrap();
        }
    }
}
