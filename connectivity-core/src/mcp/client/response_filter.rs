//! Lets through what a client of tools has a use for: answers. A server's questions are answered
//! here, its notices passed over, so that no number of them takes memory or time from calls.

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

use crate::mcp::protocol::LEAVING;

/// A transport of which only answers come.
pub(super) struct ResponseFilter<T: Transport<RoleClient>> {
    inner: T,
    /// The answer to a question of the server that is leaving, and those behind it.
    answer: Option<Sending<T::Error>>,
    waiting: VecDeque<ClientJsonRpcMessage>,
    changed: ToolsChanged,
    leave: DrainSignal,
}

/// Tells that the server takes no more requests on this session.
#[derive(Clone, Debug)]
pub(super) struct DrainSignal(watch::Sender<bool>);

impl DrainSignal {
    pub(super) fn new() -> Self {
        Self(watch::Sender::new(false))
    }

    pub(super) fn take(&self) {
        self.0.send_replace(true);
    }

    pub(super) fn is_taken(&self) -> bool {
        *self.0.borrow()
    }

    pub(super) fn taken(&self) -> impl Future<Output = ()> + Send + use<> {
        let mut leave = self.0.subscribe();
        async move {
            // Without a sender the session has ended, which is told otherwise.
            if leave.wait_for(|taken| *taken).await.is_err() {
                std::future::pending().await
            }
        }
    }
}

/// Answers that wait to leave; questions beyond get none.
const MAX_WAITING: usize = 16;

/// How long closing may take: over HTTP a session is deleted then.
const GOODBYE: Duration = Duration::from_secs(6);

/// Whether a server has said, since its session began, that its tools are others now.
#[derive(Clone, Debug, Default)]
pub(super) struct ToolsChanged(Arc<AtomicBool>);

impl ToolsChanged {
    /// What `inspect` says of it.
    pub(super) fn warning(&self) -> Option<String> {
        let text = "the server says that its tools have changed since the session began: see that they are still what is called here";
        self.0.load(Ordering::Relaxed).then(|| text.to_owned())
    }
}

type Sending<E> = Pin<Box<dyn Future<Output = Result<(), E>> + Send>>;

impl<T: Transport<RoleClient>> ResponseFilter<T> {
    pub(super) fn new(inner: T, changed: ToolsChanged, leave: DrainSignal) -> Self {
        changed.0.store(false, Ordering::Relaxed);
        Self { inner, answer: None, waiting: VecDeque::new(), changed, leave }
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

    /// Can be dropped at an `.await` and begun again.
    async fn receive(&mut self) -> Option<ServerJsonRpcMessage> {
        loop {
            // A server that never pauses shares the thread with its own session's calls.
            tokio::task::consume_budget().await;
            if self.answer.is_none()
                && let Some(answer) = self.waiting.pop_front()
            {
                self.answer = Some(Box::pin(self.inner.send(answer)));
            }
            let message = tokio::select! {
                biased;
                // Whether the server takes it is its own affair; that the transport is broken, its
                // next answer tells.
                () = leaves(&mut self.answer) => {
                    self.answer = None;
                    continue;
                }
                // Answers to calls do not wait for ours: over HTTP the worker that sends these
                // hands on those.
                message = self.inner.receive() => message?,
            };
            match message {
                ServerJsonRpcMessage::Request(_) if self.waiting.len() >= MAX_WAITING => {}
                ServerJsonRpcMessage::Request(request) => {
                    self.waiting.push_back(answer_to(request))
                }
                ServerJsonRpcMessage::Notification(notification) => match notification.notification
                {
                    ServerNotification::ToolListChangedNotification(_) => {
                        self.changed.0.store(true, Ordering::Relaxed);
                    }
                    ServerNotification::CustomNotification(notice) if notice.method == LEAVING => {
                        self.leave.take();
                    }
                    _ => {}
                },
                answer => return Some(answer),
            }
        }
    }

    async fn close(&mut self) -> Result<(), T::Error> {
        self.answer = None;
        tokio::time::timeout(GOODBYE, self.inner.close()).await.unwrap_or(Ok(()))
    }
}

async fn leaves<E>(answer: &mut Option<Sending<E>>) {
    match answer {
        Some(answer) => _ = answer.await,
        None => std::future::pending().await,
    }
}

/// A server may ask whether its client is alive, and nothing else.
fn answer_to(
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

    /// Gives these messages, and sends nothing, or fails to.
    struct Busy {
        messages: VecDeque<serde_json::Value>,
        sends: Option<io::ErrorKind>,
    }

    impl Transport<RoleClient> for Busy {
        type Error = io::Error;

        fn send(
            &mut self,
            _answer: ClientJsonRpcMessage,
        ) -> impl Future<Output = io::Result<()>> + Send + 'static {
            let fails = self.sends;
            async move {
                match fails {
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
        for sends in [None, Some(io::ErrorKind::TimedOut)] {
            let ask = |n: u32| json!({ "jsonrpc": "2.0", "id": n, "method": "ping" });
            let answer = json!({ "jsonrpc": "2.0", "id": 7, "result": { "content": [] } });
            let messages = (0..100).map(ask).chain([answer]).collect();
            let mut response_filter = ResponseFilter::new(
                Busy { messages, sends },
                ToolsChanged::default(),
                DrainSignal::new(),
            );
            let received =
                tokio::time::timeout(Duration::from_secs(10), response_filter.receive()).await;
            assert!(
                matches!(received, Ok(Some(ServerJsonRpcMessage::Response(_)))),
                "{sends:?}: {received:?}"
            );
            assert!(response_filter.waiting.len() <= MAX_WAITING);
            response_filter.close().await.unwrap();
        }
    }
}
