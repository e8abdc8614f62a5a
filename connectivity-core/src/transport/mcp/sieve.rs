//! Lets through what a client of tools has a use for: answers. A server's questions are answered here, its notices passed over, so
//! that no number of them takes memory or time from calls.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rmcp::RoleClient;
use rmcp::model::{
    ClientJsonRpcMessage, ClientResult, ErrorCode, ErrorData, JsonRpcRequest, ServerJsonRpcMessage, ServerNotification,
    ServerRequest,
};
use rmcp::transport::Transport;

/// A transport of which only answers come.
pub(super) struct Sieve<T: Transport<RoleClient>> {
    inner: T,
    /// The answer to a question of the server, until it has left: nothing more is read before.
    answer: Option<Sending<T::Error>>,
    changed: ToolsChanged,
}

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

impl<T: Transport<RoleClient>> Sieve<T> {
    pub(super) fn new(inner: T, changed: ToolsChanged) -> Self {
        changed.0.store(false, Ordering::Relaxed);
        Self { inner, answer: None, changed }
    }
}

impl<T: Transport<RoleClient> + 'static> Transport<RoleClient> for Sieve<T> {
    type Error = T::Error;

    fn send(&mut self, message: ClientJsonRpcMessage) -> impl Future<Output = Result<(), T::Error>> + Send + 'static {
        self.inner.send(message)
    }

    /// Can be dropped at an `.await` and begun again.
    async fn receive(&mut self) -> Option<ServerJsonRpcMessage> {
        loop {
            if let Some(answer) = &mut self.answer {
                let sent = answer.await;
                self.answer = None;
                sent.ok()?;
            }
            match self.inner.receive().await? {
                ServerJsonRpcMessage::Request(request) => {
                    self.answer = Some(Box::pin(self.inner.send(answer_to(request))));
                }
                ServerJsonRpcMessage::Notification(notification) => {
                    let notice = notification.notification;
                    if matches!(notice, ServerNotification::ToolListChangedNotification(_)) {
                        self.changed.0.store(true, Ordering::Relaxed);
                    }
                }
                answer => return Some(answer),
            }
        }
    }

    async fn close(&mut self) -> Result<(), T::Error> {
        self.inner.close().await
    }
}

/// A server may ask whether its client is alive, and nothing else.
fn answer_to(JsonRpcRequest { id, request, .. }: JsonRpcRequest<ServerRequest>) -> ClientJsonRpcMessage {
    match request {
        ServerRequest::PingRequest(_) => ClientJsonRpcMessage::response(ClientResult::empty(()), id),
        _ => {
            let refusal = ErrorData::new(ErrorCode::METHOD_NOT_FOUND, "this client only calls tools", None);
            ClientJsonRpcMessage::error(refusal, Some(id))
        }
    }
}
